//! Folders of a user's own images: images that cannot be read, splits, names, and sets of one name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Done, run};

const BMP_HEADER: usize = 54;

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A picture of 16 × 16 pixels as BMP.
pub(super) fn picture(file: &Path, level: u8) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let side = 16_u32;
    let size = BMP_HEADER as u32 + side * side * 3;
    let mut bytes = b"BM".to_vec();
    bytes.extend(size.to_le_bytes());
    bytes.extend([0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0]);
    bytes.extend([side.to_le_bytes(), side.to_le_bytes()].concat());
    bytes.extend([1, 0, 24, 0]);
    bytes.extend([0; 24]);
    bytes.extend((0..side * side).flat_map(|at| [level, at as u8, (at / 16) as u8 * level]));
    fs::write(file, bytes).unwrap();
}

/// `each` pictures in each of the classes in each of the folders.
pub(super) fn pictures(root: &Path, folders: &[&str], classes: &[&str], each: u8) {
    for folder in folders {
        for (at, class) in classes.iter().enumerate() {
            for number in 0..each {
                let file = root.join(folder).join(class).join(format!("{number}.bmp"));
                picture(&file, number * 9 + at as u8 * 80);
            }
        }
    }
}

/// A run of one epoch on the images.
pub(super) fn trained(images: &Path, out: &Path, settings: &[&str]) {
    let recipe = out.with_extension("toml");
    let body = format!(
        "method = \"simclr\"\ndata.path = {images:?}\ndata.workers = 1\nviews = [{{ count = 2, size = 16 }}]\n\
         backbone = {{ width = 2, stem = \"cifar\" }}\ntrain = {{ epochs = 1, batch = 4 }}\n\
         schedule.name = \"constant\"\nknn.k = 2\nevaluation.pixels = false\n\
         evaluation.untrained = false\nevaluation.evaluators = [\"knn\"]\n"
    );
    fs::create_dir_all(recipe.parent().unwrap()).unwrap();
    fs::write(&recipe, body).unwrap();
    let mut arguments = vec!["pretrain", text(&recipe), "--out", text(out), "--quiet"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    run(&arguments).succeeded();
}

fn last(done: &Done) -> Value {
    serde_json::from_str(done.succeeded().lines().last().unwrap()).unwrap()
}

/// The only cell of a grid of `vssl knn`; the accuracies of classes are on the line behind it.
fn cell(done: &Done) -> Value {
    serde_json::from_str(done.succeeded().lines().next().unwrap()).unwrap()
}

#[test]
fn what_a_run_does_about_bad_images_holds_for_all_that_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (images, out) = (at("images"), at("run"));
    pictures(&images, &["train", "val"], &["a", "b"], 4);
    for file in ["train/a/bad.png", "val/b/bad.png"] {
        fs::write(images.join(file), "no picture").unwrap();
    }
    trained(&images, &out, &["data.on_bad_image=\"skip\""]);
    let out = text(&out);

    let knn = ["knn", out, "--k", "2", "--distance", "euclidean"];
    let done = run(&knn);
    done.succeeded();
    assert!(done.error.contains("note: 2 images could not be read"), "{}", done.error);
    let cell = cell(&run(&[&knn[..], &["--json"]].concat()));
    assert_eq!((&cell["train"], &cell["test"]), (&8.into(), &8.into()));
    let stop = ["--on-bad-image", "stop"];
    run(&[&knn[..], &stop].concat()).refused(1, &["train/a/bad.png", "--on-bad-image skip"]);

    let evaluated = last(&run(&["evaluate", out, "--json"]));
    assert_eq!((&evaluated["train"], &evaluated["validation"]), (&8.into(), &8.into()));
    run(&[&["evaluate", out], &stop[..]].concat()).refused(1, &["train/a/bad.png", "skip"]);

    let few = ["uncertainty", out, "--count", "20", "--views", "0", "--k", "2", "--json"];
    let found = last(&run(&few));
    assert_eq!((&found["train_images"], &found["test_images"]), (&8.into(), &8.into()));
    let notes = found["notes"].to_string();
    assert!(notes.contains("2 images could not be read"), "{notes}");
    run(&[&few[..], &stop].concat()).refused(1, &["bad.png", "--on-bad-image skip"]);

    let small = ["--set", "train.epochs=1", "--set", "train.batch=4"];
    for command in ["linear", "finetune"] {
        let arguments = [&[command, out, "--json"], &small[..]].concat();
        let summary = last(&run(&arguments))["summary"].clone();
        assert_eq!(summary["validation_images"], 8, "{summary}");
        assert!(summary["notes"].to_string().contains("1 image could not be read"), "{summary}");
        let force = [&arguments[..], &["--force"], &stop].concat();
        run(&force).refused(1, &["bad.png", "--on-bad-image skip"]);
    }
    let cached = last(&run(&["linear", out, "--cached", "--json"]))["summary"].clone();
    assert!(cached["notes"].to_string().contains("2 images could not be read"), "{cached}");

    let table = at("features.csv");
    let embed = ["embed", out, "--to", text(&table), "--json"];
    assert_eq!(last(&run(&embed))["left_out"], 1);
    run(&[&embed[..], &stop].concat()).refused(1, &["train/a/bad.png"]);

    let page = at("page.html");
    let done = run(&["report", out, "--to", text(&page)]);
    done.succeeded();
    assert!(done.error.contains("1 image could not be read"), "{}", done.error);
    assert!(!done.error.contains("no pictures"), "{}", done.error);

    // A file of an encoder has no run whose settings would hold.
    let file = at("encoder.safetensors");
    run(&["export", out, "--to", text(&file)]).succeeded();
    let other = ["knn", text(&file), "--images", text(&images), "--k", "2"];
    run(&other).refused(1, &["bad.png", "--on-bad-image skip"]);
    run(&[&other[..], &["--on-bad-image", "skip"]].concat()).succeeded();
}

#[test]
fn one_bad_picture_costs_neither_the_page_nor_the_drawing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (images, out, index) = (at("images"), at("run"), at("index.parquet"));
    pictures(&images, &["train", "val"], &["a", "b"], 4);
    trained(&images, &out, &[]);
    run(&["embed", text(&out), "--to", text(&index)]).succeeded();
    fs::write(images.join("train/b/1.bmp"), "no picture").unwrap();
    fs::write(images.join("val/b/1.bmp"), "no picture").unwrap();
    let done = run(&["report", text(&out), "--to", text(&at("page.html")), "--json"]);
    assert_eq!(last(&done)["runs_with_pictures"], 1);
    let query = images.join("train/a/0.bmp");
    let drawn = at("drawn.png");
    let arguments = ["search", text(&index), text(&query), "--draw", text(&drawn)];
    let done = run(&arguments);
    done.succeeded();
    assert!(done.error.contains("1 image could not be drawn"), "{}", done.error);
    assert!(done.error.contains("train/b/1.bmp") && drawn.exists(), "{}", done.error);
}

#[test]
fn test_images_are_judged_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    pictures(&images, &["Train", "Valid"], &["a", "b"], 4);
    pictures(&images, &["Test"], &["a", "b"], 3);
    trained(&images, &out, &[]);
    let summary = fs::read_to_string(out.join("summary.json")).unwrap();
    assert!(summary.contains("validation images: Valid/; not used: Test/"), "{summary}");
    let knn = |split: &str| {
        let grid = ["--k", "2", "--distance", "euclidean", "--split", split, "--json"];
        cell(&run(&[&["knn", text(&out)], &grid[..]].concat()))["test"].clone()
    };
    assert_eq!((knn("validation"), knn("test")), (8.into(), 6.into()));
    let evaluated = last(&run(&["evaluate", text(&out), "--split", "test", "--json"]));
    assert_eq!(evaluated["validation"], 6);
    let small = ["--set", "train.epochs=1", "--set", "train.batch=4", "--json"];
    for (command, place) in [("linear", "linear"), ("finetune", "finetune-100")] {
        for (split, images) in [("validation", 8), ("test", 6)] {
            let done = run(&[&[command, text(&out), "--split", split], &small[..]].concat());
            assert_eq!(last(&done)["summary"]["validation_images"], images, "{command}");
        }
        let places = [place.to_owned(), format!("{place}-test")];
        assert!(places.iter().all(|place| out.join(place).join("summary.json").exists()));
    }
    let table = folder.path().join("test.csv");
    let embed = run(&["embed", text(&out), "--split", "test", "--to", text(&table), "--json"]);
    assert_eq!(last(&embed)["images"], 6);
}

#[test]
fn a_class_that_loses_its_images_and_files_of_other_formats_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    pictures(&images, &["train", "val"], &["a", "b"], 2);
    fs::create_dir(images.join("train/c")).unwrap();
    for number in 0..3 {
        fs::write(images.join(format!("train/c/{number}.heic")), "II*").unwrap();
    }
    let check = ["data", "check", text(&images)];
    let done = run(&check);
    done.refused(1, &["class folders without an image that can be read: train/c/"]);
    for part in ["training images: train/", "left out: 3 files", "3 .heic, such as train/c/0.heic"]
    {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    let found = run(&[&check[..], &["--json"]].concat());
    let found: Value = serde_json::from_str(found.out.lines().next().unwrap()).unwrap();
    let found = &found["found"];
    assert_eq!(found["lost_classes"], serde_json::json!(["train/c/"]));
    assert_eq!(
        (&found["left_out"][0]["kind"], &found["left_out"][0]["count"]),
        (&".heic".into(), &3.into())
    );
    let recipe = folder.path().join("mine.toml");
    run(&["new-recipe", "simclr", "--data", text(&images), "--out", text(&recipe)])
        .refused(1, &["train/c", "3 .heic", "missing_classes"]);
}

#[test]
fn two_sets_whose_folders_have_one_name_have_columns_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    pictures(&at("A/images"), &["train", "val"], &["a", "b", "c"], 4);
    pictures(&at("B/images"), &["train", "val"], &["a", "b"], 6);
    pictures(&at("C/images"), &["train", "val"], &["a", "b"], 6);
    let runs = at("runs");
    trained(&at("A/images"), &runs.join("a0"), &[]);
    trained(&at("B/images"), &runs.join("b0"), &[]);
    trained(&at("B/images"), &runs.join("b1"), &["seed=1"]);
    // The same images elsewhere are the same set.
    trained(&at("C/images"), &runs.join("c2"), &["seed=2"]);
    let table = last(&run(&["table", text(&runs), "--json"]));
    let [a, b] = ["images (12 in 3 classes)", "images (12 in 2 classes)"];
    assert_eq!(table["datasets"], serde_json::json!([b, a]));
    let results = table["rows"][0]["results"].as_array().unwrap();
    let seeds = |dataset: &str| {
        let result = results.iter().find(|result| result["dataset"] == dataset);
        result.unwrap()["seeds"].clone()
    };
    assert_eq!((seeds(a), seeds(b)), (serde_json::json!([0]), serde_json::json!([0, 1, 2])));
    assert_eq!(table["left_out"], serde_json::json!([]));
    assert!(!table["notes"].to_string().contains("data.path"), "{}", table["notes"]);

    // Results of earlier versions do not say what the images were.
    for name in ["a0", "b0", "b1", "c2"] {
        let file = runs.join(name).join("summary.json");
        let mut summary: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert!(summary.as_object_mut().unwrap().remove("images").is_some());
        fs::write(&file, summary.to_string()).unwrap();
    }
    let table = last(&run(&["table", text(&runs), "--json"]));
    assert_eq!(table["datasets"], serde_json::json!(["images"]));
}

#[test]
fn a_finished_run_whose_images_are_gone_says_that_it_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    pictures(&images, &["train", "val"], &["a", "b"], 4);
    trained(&images, &out, &[]);
    fs::rename(&images, folder.path().join("gone")).unwrap();
    let done = run(&["pretrain", "--resume", text(&out)]);
    done.succeeded();
    assert!(done.error.contains("finished before; nothing is left to do"), "{}", done.error);
    let other = run(&["pretrain", "--resume", text(&out), "--set", "log.every_steps=2"]);
    other.refused(1, &["images", "not found"]);
}

#[test]
fn sets_without_a_common_class_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, kind: &str, shape: &str, values: Vec<u8>| {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        let bytes = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &values].concat();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        text(&path).to_owned()
    };
    let rows: Vec<u8> = (0..8).flat_map(|x| (x as f32 * 0.3 - 1.0).to_le_bytes()).collect();
    let labels = |values: [i64; 4]| values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let features = file("x.npy", "<f4", "(4, 2)", rows);
    let known = file("y.npy", "<i8", "(4,)", labels([5, 6, 7, 7]));
    let knn = |name: &str, asked: [i64; 4]| {
        let asked = file(name, "<i8", "(4,)", labels(asked));
        let files = ["--features", &features, "--labels", &known, "--queries", &features];
        run(&[&["knn", "--k", "1"], &files[..], &["--query-labels", &asked]].concat())
    };
    knn("none.npy", [0, 1, 2, 2]).refused(1, &["(0, 1, 2)", "(5, 6, 7)", "the same classes"]);
    let some = knn("some.npy", [5, 1, 2, 2]);
    some.succeeded();
    assert!(some.error.contains("3 of 4 images have classes without known"), "{}", some.error);
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text_lose_nothing() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = tempfile::tempdir().unwrap();
    let name = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
    let root = folder.path().join(name(b"im\xe9"));
    let images = folder.path().join("images");
    for split in ["train", "val"] {
        for (class, level) in [(&b"a\xe9"[..], 0), (b"a\xea", 90)] {
            for (number, file) in [&b"1\xe9.bmp"[..], b"1\xea.bmp", b"2.bmp"].iter().enumerate() {
                let class = images.join(split).join(OsStr::from_bytes(class));
                picture(&class.join(OsStr::from_bytes(file)), level + number as u8);
            }
        }
    }
    let (out, page) = (folder.path().join("run"), folder.path().join("page.html"));
    trained(&images, &out, &[]);
    let links: [PathBuf; 2] = [images.clone(), root.clone()];
    std::os::unix::fs::symlink(&links[0], &links[1]).unwrap();
    let table = folder.path().join("features.csv");
    let done = run(&["embed", text(&out), "--to", text(&table), "--json"]);
    assert_eq!(last(&done)["images"], 6);
    let rows = fs::read_to_string(&table).unwrap();
    for path in ["train/a\\xE9/1\\xE9.bmp", "train/a\\xE9/1\\xEA.bmp", "train/a\\xEA/1\\xE9.bmp"] {
        assert_eq!(rows.matches(path).count(), 1, "{path}: {rows}");
    }
    run(&["report", text(&out), "--to", text(&page)]).succeeded();
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.contains(r"a\\xE9") && page.contains(r"a\\xEA"));

    // A folder with such a name is embedded from there, into every form.
    for form in ["npy", "parquet", "safetensors"] {
        let to = folder.path().join("all").with_extension(form);
        let mut command =
            super::vssl(&["embed", text(&out), "--to", text(&to), "--json", "--images"]);
        command.arg(&root);
        let done = super::done(command.output().unwrap());
        assert_eq!(last(&done)["images"], 6, "{form}");
    }
}

#[test]
fn images_that_were_left_out_are_counted_for_programs_and_on_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (images, out, page) = (at("images"), at("run"), at("page.html"));
    pictures(&images, &["train", "val"], &["a", "b"], 4);
    for file in ["train/a/bad.png", "val/b/bad.png"] {
        fs::write(images.join(file), "no picture").unwrap();
    }
    trained(&images, &out, &["data.on_bad_image=\"skip\""]);
    let done = run(&["knn", text(&out), "--k", "2", "--json"]);
    let cell: Value = serde_json::from_str(done.succeeded().lines().next().unwrap()).unwrap();
    assert_eq!((&cell["event"], &cell["left_out"]), (&"knn".into(), &2.into()));
    assert_eq!(last(&run(&["evaluate", text(&out), "--json"]))["left_out"], 2);
    run(&["report", text(&out), "--to", text(&page)]).succeeded();
    assert!(fs::read_to_string(&page).unwrap().contains("\"left_out\":1,"));
}

#[test]
fn images_that_a_run_read_without_labels_are_its_own_in_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let (set, out) = (folder.path().join("set"), folder.path().join("run"));
    pictures(&set, &["train", "val"], &["a", "b"], 4);
    trained(&set, &out, &["data.labels=\"none\""]);
    let judge = |more: &[&str]| {
        let fixed = ["linear", text(&out), "--images", text(&set), "--force"];
        let changes = ["--set", "train.epochs=1", "--set", "train.batch=4"];
        run(&[&fixed[..], &changes, more].concat())
    };
    judge(&[]).succeeded();
    let table = run(&["table", text(&out)]);
    assert!(!table.error.contains("other validation images"), "{}", table.error);

    // One image that cannot be read is said, and none that can be read is an error.
    fs::write(set.join("val/a/0.bmp"), "text").unwrap();
    let done = judge(&["--on-bad-image", "skip"]);
    assert!(done.error.contains("1 image could not be read and was left out"), "{}", done.error);
    for file in ["a/1", "a/2", "a/3", "b/0", "b/1", "b/2", "b/3"] {
        fs::write(set.join("val").join(format!("{file}.bmp")), "text").unwrap();
    }
    let done = judge(&["--on-bad-image", "skip"]);
    assert!(done.error.contains("no validation image could be read"), "{}", done.error);
    let done = run(&["knn", text(&out), "--images", text(&set), "--on-bad-image", "skip"]);
    assert!(done.error.contains("none of the images to classify"), "{}", done.error);
}
