//! No command that writes a file by a name of the user's writes over a file of a run, or over one that it
//! reads.

use std::{collections::BTreeMap, fs, path::Path};

use super::{embed::photographs, report::trained, run};

/// The files below `folder` with their bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn no_command_writes_over_a_file_of_a_run_or_over_its_own_input() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let photos = photographs(folder.path());
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (run_folder, photos, index) =
        (at("run"), photos.to_str().unwrap().to_owned(), at("i.parquet"));
    let query = format!("{photos}/dark/01.bmp");
    run(&["embed", &run_folder, "--images", &photos, "--to", &index]).succeeded();
    run(&["export", &run_folder, "--to", &at("encoder.safetensors")]).succeeded();
    fs::write(at("grid.toml"), "recipes = [\"a.toml\"]\nout = \"grid\"\n").unwrap();
    fs::copy(&query, at("query.png")).unwrap();
    std::os::unix::fs::symlink(out.join("summary.json"), at("link.json")).unwrap();
    let own = |name: &str| at(&format!("run/{name}"));
    let checkpoint = own("checkpoints/step-00000003/student.safetensors");
    let (summary, recipe, link) = (own("summary.json"), own("recipe.toml"), at("link.json"));
    let (grid, query_png) = (at("grid.toml"), at("query.png"));
    let [metrics, confusion, inside] =
        ["metrics.jsonl", "confusion.csv", "checkpoints/inside"].map(own);
    let encoder = at("encoder.safetensors");
    let before = files(folder.path());
    let [of_run, of_input] = ["one of the files of the run", "the command reads this file"];
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (vec!["table", &run_folder, "--out", &summary], of_run),
        (vec!["table", &run_folder, "--out", &link], of_run),
        (vec!["table", "--grid", &grid, "--out", &grid, "--format", "csv"], of_input),
        (vec!["embed", &run_folder, "--to", &recipe, "--to-format", "csv"], of_run),
        (vec!["embed", &run_folder, "--to", &checkpoint], of_run),
        (vec!["embed", &encoder, "--images", &photos, "--to", &encoder], of_input),
        (vec!["search", &index, &query_png, "--draw", &query_png], of_input),
        (vec!["export", &run_folder, "--to", &checkpoint], of_run),
        (vec!["export", &run_folder, "--to", &recipe, "--format", "onnx"], of_run),
        (vec!["export", &encoder, "--to", &encoder], of_input),
        (vec!["import", &encoder, "--to", &checkpoint], of_run),
        (vec!["import", &encoder, "--to", &encoder], of_input),
        (vec!["uncertainty", &run_folder, "--out", &summary], of_run),
        (vec!["new-recipe", "byol", "--data", &photos, "--out", &recipe, "--force"], of_run),
        (vec!["bench", "agreement", "--store", &summary], of_run),
        (vec!["data", "show", &query_png, "--to", &query_png], of_input),
        (vec!["knn", &run_folder, "--confusion", &metrics], of_run),
        (vec!["knn", &run_folder, "--confusion", &confusion], of_run),
        (vec!["report", &run_folder, "--projector", &inside], of_run),
        (vec!["pretrain", "recipes/quickstart.toml", "--out", &inside], of_run),
        (vec!["linear", &run_folder, "--out", &inside], of_run),
    ];
    for (arguments, part) in cases {
        run(&arguments).refused(2, &[part]);
        assert!(files(folder.path()) == before, "{arguments:?} changed a file");
    }
    let page = own("checkpoints/page.html");
    run(&["report", &run_folder, "--curves", "--to", &page]).refused(2, &[of_run]);
    run(&["report", &run_folder, "--curves", "--to", &summary]).refused(2, &["ends in .html"]);
    run(&["table", &run_folder, "--out", &at("a.xlsx")]).refused(2, &["a.xlsx", ".csv"]);
    run(&["table", &run_folder, "--out", &at("a.csv"), "--format", "latex"])
        .refused(2, &["--format"]);
    run(&["embed", &run_folder, "--to", &at("a.npy"), "--to-format", "csv"])
        .refused(2, &["--to-format"]);
    assert!(files(folder.path()) == before);
    for _ in 0..2 {
        let weights = own("encoder.weights");
        run(&["export", &run_folder, "--to", &weights, "--format", "safetensors"]).succeeded();
    }
    // What is written beside the files of a run is welcome, and its ending is its format.
    run(&["table", &run_folder, "--out", &own("table.csv")]).succeeded();
    assert!(fs::read_to_string(own("table.csv")).unwrap().starts_with("dataset,method,"));
    run(&["report", &run_folder, "--curves", "--to", &own("page.html")]).succeeded();
}
