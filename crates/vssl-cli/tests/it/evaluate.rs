//! `vssl evaluate`: the evaluators of recipes on any encoder.

use std::fs;

use serde_json::Value;

use super::{report::trained, run};

#[test]
fn the_figures_are_those_that_the_run_ended_with() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = trained(folder.path(), "run", &[]);
    let summary = fs::read_to_string(run_folder.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let out = run_folder.to_str().unwrap();
    let done = run(&["evaluate", out, "--json"]);
    let event: Value = serde_json::from_str(done.succeeded().trim()).unwrap();
    let figures = event["figures"].as_object().unwrap();
    assert_eq!(figures.keys().collect::<Vec<_>>(), ["knn_top1", "linear_top1"]);
    for (name, value) in figures {
        assert_eq!(value, &summary[name], "{name}");
    }
    assert_eq!((&event["train"], &event["validation"]), (&64.into(), &40.into()));
    let classes = event["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 2);
    for (report, figure) in classes.iter().zip(["knn_top1", "linear_top1"]) {
        assert_eq!((&report["top1"], &report["images"]), (&figures[figure], &40.into()));
        assert_eq!(report["per_class"].as_array().unwrap().len(), 10);
    }

    // An exported file takes the defaults, which are those of this run; the other evaluators are named.
    let file = folder.path().join("encoder.safetensors");
    let file = file.to_str().unwrap();
    run(&["export", out, "--to", file]).succeeded();
    let images = ["--images", "data/fashion-mnist-tenth"];
    let named = ["evaluate", file, "--evaluators", "spectrum,knn", "--k", "1"];
    let done = run(&[&named[..], &images[..]].concat());
    let names: Vec<&str> =
        done.succeeded().lines().skip(2).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names[..4], ["spectrum_rank", "spectrum_spread", "spectrum_cosine", "knn_top1"]);
    assert_eq!(done.out.matches("balanced accuracy ").count(), 1, "{}", done.out);

    run(&["evaluate", file]).refused(2, &["--images"]);
    run(&["evaluate", out, "--evaluators", "knm"])
        .refused(2, &["\"knm\"", "knn, linear, spectrum"]);
    run(&["evaluate", out, "--evaluators", "knn,knn"]).refused(2, &["knn_top1"]);
    run(&["evaluate", out, "--temperature", "0"]).refused(2, &["--temperature", "above 0"]);
}
