//! `vssl embed` and `vssl search`: from a run to a file of features, and back to the images.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Done, report::trained, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(done: &Done) -> Value {
    serde_json::from_str(done.succeeded()).unwrap()
}

/// Twelve plain pictures in two folders, as BMP: a header and the pixels.
pub fn photographs(folder: &Path) -> PathBuf {
    let root = folder.join("photos");
    for at in 0..12_u8 {
        let class = root.join(if at < 6 { "dark" } else { "light" });
        fs::create_dir_all(&class).unwrap();
        let (side, mut pixels) = (16_u32, Vec::new());
        for pixel in 0..side * side {
            pixels.extend([at * 20, (pixel % 16) as u8 * at, (pixel / 16) as u8 * 3]);
        }
        let mut bytes = b"BM".to_vec();
        bytes.extend((54 + pixels.len() as u32).to_le_bytes());
        bytes.extend([0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0]);
        bytes.extend([side.to_le_bytes(), side.to_le_bytes()].concat());
        bytes.extend([1, 0, 24, 0]);
        bytes.extend([0; 24]);
        bytes.extend(pixels);
        fs::write(class.join(format!("{at:02}.bmp")), bytes).unwrap();
    }
    root
}

#[test]
fn an_image_is_found_in_the_index_that_was_made_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let photos = photographs(folder.path());
    let at = |name: &str| folder.path().join(name);
    for name in ["index.parquet", "index.safetensors"] {
        let index = at(name);
        let images = ["--images", text(&photos), "--to", text(&index), "--json"];
        let done = json(&run(&[&["embed", text(&out)], &images[..]].concat()));
        assert_eq!((&done["images"], &done["dim"]), (&12.into(), &16.into()), "{done}");
        assert_eq!(done["posterior"]["dim"], 8, "{done}");
        let query = photos.join("light/08.bmp");
        let picture = at("found.png");
        let options = ["--k", "4", "--draw", text(&picture), "--json"];
        let done = json(&run(&[&["search", text(&index), text(&query)], &options[..]].concat()));
        let nearest = done["nearest"].as_array().unwrap();
        assert_eq!(nearest.len(), 4);
        assert_eq!(
            (&nearest[0]["path"], &nearest[0]["class"]),
            (&"light/08.bmp".into(), &"light".into())
        );
        assert!(nearest[0]["similarity"].as_f64().unwrap() > 0.999_99);
        let bytes = fs::read(&picture).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
        // Width and height of five squares of 96 pixels and the gaps between them.
        assert_eq!(bytes[16..24], [[0, 0, 1, 252], [0, 0, 0, 96]].concat());
    }
    // Images without files are drawn from their set.
    let index = at("set.parquet");
    run(&["embed", text(&out), "--to", text(&index), "--split", "validation"]).succeeded();
    let query = photos.join("dark/01.bmp");
    let words = run(&["search", text(&index), text(&query), "--draw", text(&at("set.png"))]);
    assert!(words.succeeded().contains("nearest of 40 images"), "{}", words.out);
    assert!(at("set.png").exists());
    let quiet = run(&["search", text(&index), text(&query), "--k", "3", "--quiet"]);
    assert_eq!(quiet.succeeded().lines().count(), 3);

    // The exported encoder has the same weights; that of another run has not.
    let (index, export) = (at("index.parquet"), at("encoder.safetensors"));
    run(&["export", text(&out), "--to", text(&export)]).succeeded();
    let found = ["search", text(&index), text(&query), "--encoder", text(&export), "--quiet"];
    assert_eq!(run(&found).succeeded().lines().next(), Some("dark/01.bmp"));
    let other = trained(folder.path(), "other", &["seed=5"]);
    let found = ["search", text(&index), text(&query), "--encoder", text(&other)];
    run(&found).refused(1, &["index.parquet", "its weights differ", "vssl embed"]);
    fs::remove_dir_all(&out).unwrap();
    run(&["search", text(&index), text(&query)]).refused(1, &["--encoder", "not there any more"]);
}

#[test]
fn what_cannot_be_embedded_or_searched_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let photos = photographs(folder.path());
    let at = |name: &str| folder.path().join(name);
    let (index, out) = (at("index.parquet"), text(&out).to_owned());
    let embed = |more: &[&str]| run(&[&["embed", &out], more].concat());
    let to = ["--to", text(&index)];
    embed(&["--to", "features.txt"]).refused(2, &["features.txt", ".parquet", "--to-format"]);
    embed(&[&["--images", "no/such/folder"], &to[..]].concat()).refused(1, &["no/such/folder"]);
    embed(&[&["--batch", "0"], &to[..]].concat()).refused(2, &["--batch"]);
    embed(&["--to", text(&at("no/folder/a.npy"))]).refused(1, &["no/folder/a.npy"]);
    embed(&[&["--images", text(&photos), "--split", "val"], &to[..]].concat())
        .refused(1, &["no validation images"]);
    run(&["embed", "no/such/run", "--to", "a.npy"]).refused(1, &["no/such/run"]);
    fs::write(photos.join("dark/text.png"), "no picture").unwrap();
    let images = ["--images", text(&photos), "--to", text(&index)];
    embed(&images).refused(1, &["dark/text.png", "--skip-unreadable"]);
    assert!(!index.exists());
    let done = embed(&[&images[..], &["--skip-unreadable", "--features-only"]].concat());
    assert!(done.succeeded().contains("12 images, features of 16; 1 left out"), "{}", done.out);
    assert!(done.error.contains("dark/text.png"), "{}", done.error);

    let query = text(&photos.join("dark/01.bmp")).to_owned();
    let search = |index: &Path, image: &str, more: &[&str]| {
        run(&[&["search", text(index), image], more].concat())
    };
    search(&index, text(&photos.join("dark/text.png")), &[]).refused(1, &["dark/text.png"]);
    search(&index, "no/such.png", &[]).refused(1, &["no/such.png"]);
    search(&at("no.parquet"), &query, &[]).refused(1, &["no.parquet"]);
    search(&at("a.npy"), &query, &[]).refused(1, &["a.npy", ".parquet or .safetensors"]);
    search(&index, &query, &["--draw", "a.jpg"]).refused(2, &["a.jpg", ".png"]);
    search(&index, &query, &["--k", "0"]).refused(2, &["--k"]);
    fs::remove_file(photos.join("light/07.bmp")).unwrap();
    let draw = ["--k", "12", "--draw", text(&at("a.png"))].map(str::to_owned);
    let draw: Vec<&str> = draw.iter().map(String::as_str).collect();
    let done = search(&index, &query, &draw);
    done.succeeded();
    assert!(
        done.error.contains("1 image could not be drawn, the first is light/07.bmp"),
        "{}",
        done.error
    );
    assert!(fs::read(at("a.png")).unwrap().starts_with(b"\x89PNG"));
    fs::rename(&photos, at("gone")).unwrap();
    fs::rename(at("gone/dark/01.bmp"), at("query.bmp")).unwrap();
    let moved = search(&index, text(&at("query.bmp")), &draw);
    moved.refused(1, &["photos", "--images-root"]);
    assert!(moved.out.contains("dark/"), "what was found is told: {}", moved.out);
    let gone = at("gone");
    let found = [&draw[..], &["--images-root", text(&gone)]].concat();
    search(&index, text(&at("query.bmp")), &found).succeeded();
}
