//! `vssl knn`: a grid over the features of a run or of a file.

use std::fs;

use serde_json::Value;

use super::{report::trained, run};

#[test]
fn the_grid_holds_the_accuracy_that_the_run_ended_with() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let summary = fs::read_to_string(out.join("summary.json")).unwrap();
    let out = out.to_str().unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let done = run(&["knn", out, "--k", "1,20", "--temperature", "0.07,1", "--json"]);
    let cells: Vec<Value> =
        done.succeeded().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Two of k for two temperatures of the cosine, and for the Euclidean distance.
    assert_eq!(cells.len(), 6);
    let asked = |cell: &&Value| cell["k"] == 20 && cell["temperature"] == 0.07;
    let found = cells.iter().find(asked).unwrap();
    assert_eq!(found["top1"], summary["knn_top1"]);
    assert_eq!((&found["train"], &found["test"]), (&64.into(), &40.into()));

    // The exported file knows the encoder and its input, not the images.
    let file = folder.path().join("encoder.safetensors");
    let file = file.to_str().unwrap();
    run(&["export", out, "--to", file]).succeeded();
    run(&["knn", file]).refused(2, &["--images"]);
    let quiet = ["knn", file, "--images", "data/fashion-mnist-tenth", "--k", "20", "--quiet"];
    let best: f64 = run(&quiet).succeeded().trim().parse().unwrap();
    assert!((0.0..=100.0).contains(&best), "{best}");
}

#[test]
fn what_cannot_be_searched_is_named() {
    run(&["knn", "no/such/run"]).refused(1, &["no/such/run"]);
    run(&["knn", "recipes", "--k", "0"]).refused(2, &["--k"]);
}
