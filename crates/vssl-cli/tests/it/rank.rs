//! `vssl rank`: the order of checkpoints and runs without labels.

use std::{fs, path::Path};

use serde_json::Value;

use super::{report::trained, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn ranked(arguments: &[&str]) -> Value {
    let done =
        run(&[&["rank", "--json", "--lidar-images", "12", "--views", "4"], arguments].concat());
    serde_json::from_str(done.succeeded().trim()).unwrap()
}

/// The figure `name` of every encoder, in order.
fn column(event: &Value, name: &str) -> Vec<f64> {
    let encoders = event["sets"][0]["encoders"].as_array().unwrap();
    encoders.iter().map(|one| one[name].as_f64().unwrap()).collect()
}

#[test]
fn runs_are_ordered_by_figures_that_need_no_labels_and_compared_with_their_accuracies() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    for seed in 0..3 {
        let seed = format!("seed={seed}");
        trained(folder.path(), &format!("runs/{}", seed.replace('=', "-")), &[&seed]);
    }
    let event = ranked(&[text(&runs)]);
    assert_eq!((&event["by"], event["sets"].as_array().unwrap().len()), (&"lidar".into(), 1));
    let lidar = column(&event, "lidar");
    assert!(lidar.len() == 3 && lidar.is_sorted_by(|a, b| a >= b), "{lidar:?}");
    let by_alpha = ranked(&[text(&runs), "--by", "alpha_req"]);
    let from_one: Vec<f64> =
        column(&by_alpha, "alpha_req").into_iter().map(|alpha| (alpha - 1.0).abs()).collect();
    assert!(from_one.is_sorted(), "{from_one:?}");

    // They are the figures of the evaluators, and the accuracies of the runs.
    for one in event["sets"][0]["encoders"].as_array().unwrap() {
        let own = one["encoder"].as_str().unwrap();
        let done = run(&["evaluate", own, "--evaluators", "quality,spectrum", "--json"]);
        let evaluated: Value = serde_json::from_str(done.succeeded().trim()).unwrap();
        for (ours, theirs) in
            [("rankme", "rankme"), ("effective_rank", "spectrum_rank"), ("alpha_req", "alpha_req")]
        {
            let difference =
                one[ours].as_f64().unwrap() - evaluated["figures"][theirs].as_f64().unwrap();
            assert!(difference.abs() < 1e-9, "{ours} of {own}");
        }
        let summary = fs::read_to_string(Path::new(own).join("summary.json")).unwrap();
        let summary: Value = serde_json::from_str(&summary).unwrap();
        assert_eq!(one["knn_top1"], summary["knn_top1"]);
        assert_eq!((&one["images"], &one["lidar_images"]), (&40.into(), &12.into()));
    }
    let correlations = event["sets"][0]["correlations"].as_array().unwrap();
    assert_eq!(correlations.len(), 4 * 2);
    assert!(correlations.iter().all(|one| one["count"] == 3), "{correlations:?}");

    // Views and images are drawn by their address: neither threads nor the order of runs change a figure.
    let again = ranked(&[text(&runs), "--threads", "1"]);
    assert_eq!(event["sets"], again["sets"]);
    let other = ranked(&[text(&runs), "--seed", "1"]);
    assert_ne!(column(&event, "lidar"), column(&other, "lidar"));
    assert_eq!(
        {
            let mut ranks = column(&event, "rankme");
            ranks.sort_by(f64::total_cmp);
            ranks
        },
        {
            let mut ranks = column(&other, "rankme");
            ranks.sort_by(f64::total_cmp);
            ranks
        }
    );

    // A run that cannot be read is named, and the others are ordered.
    fs::remove_dir_all(runs.join("seed-1/checkpoints")).unwrap();
    let shown = run(&["rank", text(&runs), "--lidar-images", "0"]);
    let table = shown.succeeded();
    assert!(table.contains("best first by RankMe"), "{table}");
    assert!(table.contains("it needs 3 encoders") && table.contains("2 have here"), "{table}");
    assert!(shown.error.contains("1 encoder could not be judged"), "{}", shown.error);
    assert!(shown.error.contains("seed-1"), "{}", shown.error);
    let lost = run(&["rank", text(&runs.join("seed-1"))]);
    lost.refused(1, &["no encoder could be judged", "seed-1"]);
}

#[test]
fn every_checkpoint_of_a_run_and_a_file_with_images_are_ordered() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["checkpoint.every_steps=1", "checkpoint.keep=5"];
    let out = trained(folder.path(), "run", &settings);
    let event = ranked(&[text(&out), "--checkpoints", "--by", "effective_rank"]);
    let mut steps = column(&event, "step");
    steps.sort_by(f64::total_cmp);
    assert_eq!(steps, [1.0, 2.0, 3.0]);
    assert!(column(&event, "effective_rank").is_sorted_by(|a, b| a >= b));

    // The same weights from a file, on the same images and views, have the same figures.
    let file = folder.path().join("encoder.safetensors");
    run(&["export", text(&out), "--to", text(&file)]).succeeded();
    run(&["rank", text(&file)]).refused(2, &["--images"]);
    let images = folder.path().join("images");
    let both = ranked(&[
        text(&out),
        text(&file),
        "--images",
        text(&images),
        "--recipe",
        text(&out),
        "--limit",
        "64",
    ]);
    for name in ["lidar", "rankme", "effective_rank", "alpha_req"] {
        let values = column(&both, name);
        assert_eq!(values[0], values[1], "{name}");
    }
    assert_eq!(both["sets"][0]["encoders"][0]["images"], 64);
    run(&["rank", text(&out), "--by", "lidar", "--lidar-images", "0"])
        .refused(2, &["--by lidar", "--lidar-images 0"]);
    run(&["rank", text(&out), "--checkpoints", "--checkpoint", "best"])
        .refused(2, &["--checkpoint"]);
    run(&["rank", text(&folder.path().join("none"))]).refused(1, &["none: does not exist"]);
}
