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
        let retrieval = report["retrieval"].as_array().unwrap();
        let sets: Vec<_> = retrieval.iter().map(|of| of["set"].as_str().unwrap()).collect();
        assert_eq!(sets, ["test", "fashion-mnist-tenth"]);
        for of in retrieval {
            let areas = ["r_auroc", "r_auroc_reference"].map(|key| of[key].as_f64().unwrap());
            assert!(areas.iter().all(|area| (0.0..=1.0).contains(area)), "{of}");
        }
    }
    let recall = serde_json::from_str::<Value>(&done.out).unwrap()["recall"].clone();
    for of in recall.as_array().unwrap() {
        assert_eq!(of["images"], 24);
        let right = of["recall_at_1"].as_f64().unwrap() * 24.0;
        assert!((right - right.round()).abs() < 1e-9 && right <= 24.0, "{of}");
    }
    let written: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(written["scores"].as_array().unwrap(), &reports);
    let lines = fs::read_to_string(&csv).unwrap();
    assert!(lines.starts_with("score,of_posterior,measure,set,strength,value,standard_error\r\n"));
    // R@1 of two sets; of each score two figures of retrieval for each of these sets.
    assert_eq!(lines.lines().count(), 1 + 2 + 12 * (2 * 2 + 19 + 1 + 2 + 20), "{lines}");
    assert!(lines.contains("\r\n,,recall-at-1,test,,"), "{lines}");
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
    let parts = ["made-noise", "contrast", "log-variance", "probe-doubt*", "AURC", "mean-spread"];
    for part in parts.into_iter().chain(["R@1", "R-AUROC", "of test (20 images of 10 classes)"]) {
        assert!(table.succeeded().contains(part), "{part} is not in\n{}", table.out);
    }
    let quiet = run(&["uncertainty", gaussian, "--count", "20", "--views", "0", "--quiet"]);
    assert_eq!(quiet.succeeded().lines().count(), posterior.len() + baselines.len());
}

#[test]
fn a_head_that_predicts_losses_is_a_score_of_its_own_in_a_run_and_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let head = ["uncertainty.hidden=[8]", "uncertainty.lr=0.01"];
    let out = trained(folder.path(), "run", &head);
    let out = out.to_str().unwrap();
    let few = ["--count", "20", "--views", "0", "--json"];
    let reports = scores(run(&[&["uncertainty", out], &few[..]].concat()).succeeded());
    let found = reports.iter().find(|report| report["score"] == "predicted-loss").unwrap();
    assert_eq!((&found["baseline"], &found["of_posterior"]), (&false.into(), &false.into()));
    let file = folder.path().join("encoder.safetensors");
    let file = file.to_str().unwrap();
    let told = run(&["export", out, "--to", file]);
    assert!(told.succeeded().contains("and 4 of its head that predicts losses"), "{}", told.out);
    let record = folder.path().join("encoder.bpk");
    let told = run(&["export", out, "--to", record.to_str().unwrap()]);
    assert!(told.succeeded().contains("left out"), "{}", told.out);
    let images = ["--images", "data/fashion-mnist-tenth"];
    let done = run(&[&["uncertainty", file], &few[..], &images].concat());
    let expected =
        ["predicted-loss", "feature-norm", "neighbour-distance", "probe-entropy", "probe-doubt"];
    assert_eq!(names(&scores(done.succeeded())), expected);

    // The same images by the run and by its file.
    let column = |encoder: &str, name: &str| {
        let to = folder.path().join(name).display().to_string();
        let split = ["--split", "validation"];
        let told = run(&[&["embed", encoder, "--to", &to, "--json"], &images[..], &split].concat());
        let told: Value = serde_json::from_str(told.succeeded()).unwrap();
        assert_eq!(told["predicted_loss"], true);
        let text = fs::read_to_string(&to).unwrap();
        let mut rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let at = rows.next().unwrap().iter().position(|name| *name == "predicted_loss").unwrap();
        rows.map(|row| row[at].trim().parse::<f32>().unwrap()).collect::<Vec<_>>()
    };
    let (of_run, of_file) = (column(out, "a.csv"), column(file, "b.csv"));
    assert!(!of_run.is_empty() && of_run.iter().all(|loss| *loss > 0.0));
    assert_eq!(of_run.len(), of_file.len());
    // The run has its posterior as well, whose networks are prepared together.
    assert!(of_run.iter().zip(&of_file).all(|(a, b)| (a - b).abs() < 1e-4 * b), "{of_run:?}");
    for name in ["c.parquet", "c.npy", "c.safetensors"] {
        let to = folder.path().join(name).display().to_string();
        let told = run(&["embed", out, "--to", &to]);
        assert!(told.succeeded().contains("predicted loss"), "{}", told.out);
    }
    assert!(folder.path().join("c.predicted_loss.npy").is_file());
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
