//! `vssl uncertainty`: the figures of a run, in every form.

use std::fs;

use serde_json::Value;

use super::{report::trained, run};

/// Areas of all sets, by score.
fn scores(text: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(value["event"], "uncertainty");
    value["scores"].as_array().unwrap().clone()
}

fn names(scores: &[Value]) -> Vec<&str> {
    scores.iter().map(|report| report["score"].as_str().unwrap()).collect()
}

#[test]
fn every_score_is_asked_about_every_set_and_twice_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let out = out.to_str().unwrap();
    let [json, csv, svg] =
        ["a.json", "a.csv", "a.svg"].map(|name| folder.path().join(name).display().to_string());
    let few = ["--count", "24", "--views", "2", "--k", "5"];
    let ood = ["--ood", "data/fashion-mnist-tenth"];
    let mut arguments = vec!["uncertainty", out, "--json"];
    arguments.extend(few.iter().chain(&ood));
    let again = run(&arguments);
    arguments.extend(["--out", &json, "--out", &csv, "--out", &svg]);
    let done = run(&arguments);
    assert_eq!(done.succeeded(), again.succeeded());
    let reports = scores(&done.out);
    assert_eq!(
        names(&reports),
        [
            "divergence",
            "view-divergence",
            "mean-gap",
            "variance-gap",
            "variance-norm",
            "noise-ratio",
            "mean-spread",
            "feature-spread",
            "feature-norm",
            "neighbour-distance",
            "probe-entropy",
            "probe-doubt",
        ]
    );
    for report in &reports {
        let sets = report["sets"].as_array().unwrap();
        // One given, three generated, three corruptions of five strengths.
        assert_eq!(sets.len(), 1 + 3 + 15);
        assert_eq!(sets[0]["set"], "fashion-mnist-tenth");
        for set in sets {
            let (area, error) = (set["auroc"].as_f64().unwrap(), set["standard_error"].as_f64());
            assert!((0.0..=1.0).contains(&area) && error.unwrap() >= 0.0, "{set}");
            assert_eq!(set["images"], 24);
        }
        assert_eq!(report["risk"]["curve"].as_array().unwrap().len(), 20);
    }
    let written: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(written["scores"].as_array().unwrap(), &reports);
    let lines = fs::read_to_string(&csv).unwrap();
    assert!(lines.starts_with("score,of_posterior,measure,set,strength,value,standard_error\r\n"));
    assert_eq!(lines.lines().count(), 1 + 12 * (19 + 1 + 2 + 20), "{lines}");
    let picture = fs::read_to_string(&svg).unwrap();
    assert_eq!(picture.matches("<polyline").count(), 12);
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));

    let other = run(&[&arguments[..arguments.len() - 6], &["--seed", "1"]].concat());
    assert_ne!(other.succeeded(), again.out, "the seed draws other noise");
}

#[test]
fn a_gaussian_run_has_an_entropy_and_others_have_what_features_alone_have() {
    let folder = tempfile::tempdir().unwrap();
    let few = ["--count", "20", "--views", "0", "--json"];
    let gaussian = trained(folder.path(), "gaussian", &["vssl.objective=\"gaussian\""]);
    let gaussian = gaussian.to_str().unwrap();
    let done = run(&[&["uncertainty", gaussian], &few[..]].concat());
    let reports = scores(done.succeeded());
    let posterior =
        ["divergence", "mean-gap", "variance-gap", "log-variance", "prior-log-variance"];
    let baselines = ["feature-norm", "neighbour-distance", "probe-entropy", "probe-doubt"];
    assert_eq!(names(&reports), [&posterior[..], &baselines].concat());

    let file = folder.path().join("encoder.safetensors");
    let file = file.to_str().unwrap();
    run(&["export", gaussian, "--to", file]).succeeded();
    let images = ["--images", "data/fashion-mnist-tenth"];
    let done = run(&[&["uncertainty", file], &few[..], &images].concat());
    assert_eq!(names(&scores(done.succeeded())), baselines);
    run(&["uncertainty", file]).refused(2, &["--images"]);

    let table = run(&["uncertainty", gaussian, "--count", "20", "--views", "1"]);
    for part in ["made-noise", "contrast", "log-variance", "probe-doubt*", "AURC", "mean-spread"] {
        assert!(table.succeeded().contains(part), "{part} is not in\n{}", table.out);
    }
    let quiet = run(&["uncertainty", gaussian, "--count", "20", "--views", "0", "--quiet"]);
    assert_eq!(quiet.succeeded().lines().count(), posterior.len() + baselines.len());
}

#[test]
fn what_cannot_be_judged_is_named() {
    let run_of = |more: &[&str]| run(&[&["uncertainty", "no/such/run"], more].concat());
    run_of(&[]).refused(1, &["no/such/run"]);
    run_of(&["--out", "a.png"]).refused(2, &["a.png", ".svg"]);
    run_of(&["--out", "no/such/folder/a.csv"]).refused(1, &["no/such/folder is not a folder"]);
    run_of(&["--count", "1"]).refused(2, &["--count"]);
    run_of(&["--k", "0"]).refused(2, &["--k"]);
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let missing = run(&["uncertainty", out.to_str().unwrap(), "--ood", "no/such/images"]);
    missing.refused(1, &["no/such/images"]);
}
