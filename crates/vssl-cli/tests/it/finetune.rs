//! `vssl finetune` on a run of seconds: its results, its refusals, and kills in the middle.

use std::{fs, path::Path};

use serde_json::Value;

use super::{killed, killed::text, report::trained, run};

/// Settings for the 64 images of the run.
const SHORT: [&str; 6] =
    ["--set", "train.epochs=2", "--set", "train.batch=10", "--set", "optimizer.lr=0.01"];

#[test]
fn the_folder_is_called_after_the_share_of_labels() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let with = |more: &[&str]| run(&[&["finetune", text(&out)][..], &SHORT[..], more].concat());
    with(&["--labels", "0.5", "--quiet"]).succeeded();
    with(&["--set", "labels=0.25", "--quiet"]).succeeded();
    with(&["--quiet"]).succeeded();
    for (name, most) in [("finetune-50", 40), ("finetune-25", 20), ("finetune-100", 64)] {
        let summary = fs::read_to_string(out.join(name).join("summary.json")).unwrap();
        let summary: Value = serde_json::from_str(&summary).unwrap();
        let images = summary["train_images"].as_u64().unwrap();
        assert!(images > most / 3 && images <= most, "{name}: {images} images");
        assert_eq!(summary["task"], "finetune");
    }
    with(&["--labels", "0.5"]).refused(1, &["--force", "--resume"]);
    // The same words with --resume mean the same folder.
    with(&["--set", "labels=0.25", "--resume", "--quiet"]).succeeded();
    with(&["--labels", "0.57", "--quiet"]).succeeded();
    assert!(out.join("finetune-57").is_dir(), "57 is written as it is read");
}

#[test]
fn a_fine_tuned_network_is_an_encoder_without_its_classifier() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let at = |name: &str| folder.path().join(name);
    let tuned = at("tuned");
    let command = ["finetune", text(&out), "--out", text(&tuned), "--quiet"];
    run(&[&command[..], &SHORT].concat()).succeeded();
    let taken = "a fine-tuned network: its backbone is taken, its classifier is left out";
    let (file, graph) = (at("tuned.safetensors"), at("tuned.onnx"));
    for to in [&file, &graph] {
        let done = run(&["export", text(&tuned), "--to", text(to)]);
        let expected = "tensors of the fine-tuned network's backbone after step 12";
        assert!(done.succeeded().contains(expected), "{}", done.out);
        assert!(done.error.contains(taken), "{}", done.error);
    }
    // The file and the folder are one network, which is not the one that it began with.
    let images = ["--images", text(&at("images")), "--json"].map(str::to_owned);
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let of = |encoder: &Path| {
        let done = run(&[&["knn", text(encoder), "--k", "5"][..], &images].concat());
        done.succeeded().to_owned()
    };
    assert_eq!(of(&tuned), of(&file));
    assert_ne!(of(&tuned), of(&out));
    let to = at("features.npy");
    let embed = ["embed", text(&tuned), "--to", text(&to)];
    run(&embed).refused(2, &["tuned does not name its images", "--images"]);
    run(&[&embed[..], &images].concat()).succeeded();
    run(&[&["evaluate", text(&tuned)][..], &images].concat()).succeeded();
    run(&["export", text(&tuned), "--network", "teacher", "--to", text(&file)])
        .refused(1, &["tuned: this is one network"]);

    // Without its description the encoder that it began with tells the architecture, as long as it is there.
    fs::remove_file(tuned.join("encoder.json")).unwrap();
    assert_eq!(of(&tuned), of(&file));
    fs::rename(&out, at("elsewhere")).unwrap();
    run(&["export", text(&tuned), "--to", text(&file)])
        .refused(1, &["fine-tuned by an earlier version", "run"]);
    fs::rename(at("elsewhere"), &out).unwrap();

    let short = ["--set", "train.epochs=1", "--set", "train.batch=16", "--quiet"];
    run(&[&["linear", text(&out)][..], &short].concat()).succeeded();
    let linear = out.join("linear");
    run(&["export", text(&linear), "--to", text(&file)])
        .refused(1, &["classifiers on a frozen encoder", "name the encoder", "run"]);
}

#[test]
fn a_share_below_one_image_of_each_class_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let short = ["--labels", "0.05", "--set", "train.epochs=1"];
    let done = run(&[&["finetune", text(&out)][..], &short].concat());
    let expected = "this share of 64 images is 3, which leaves classes without an image; one image of each class";
    assert!(done.succeeded().contains(expected), "{}", done.out);
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let with = |more: &[&str]| run(&[&["finetune", text(&out)][..], more].concat());
    with(&["--labels", "0"]).refused(2, &["labels", "above 0"]);
    with(&["--labels", "1.5"]).refused(2, &["labels", "at most 1"]);
    with(&["--labels", "half"]).refused(2, &["--labels", "half"]);
    with(&["--set", "optimizer.momentum=2"]).refused(2, &["optimizer.momentum", "2"]);
    with(&["--set", "mixup=-1"]).refused(2, &["mixup", "-1"]);
    with(&["--labels", "0.1", "--set", "train.batch=256"]).refused(2, &["train.batch = 256"]);
    with(&["--resume"]).refused(2, &["nothing to go on with"]);
    run(&["finetune", "no/such/run"]).refused(1, &["no/such/run"]);
    assert!(!out.join("finetune-100").exists() && !out.join("finetune-10").exists());
}

#[test]
fn a_training_killed_in_the_middle_ends_as_one_that_never_was() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let command = [
        "finetune",
        text(&out),
        "--labels",
        "0.5",
        "--set",
        "train.epochs=60",
        "--set",
        "train.batch=10",
        "--set",
        "mixup=0.2",
        "--set",
        "layer_decay=0.7",
        "--set",
        "optimizer.lr=0.01",
        "--set",
        "checkpoint.every_steps=1",
        "--set",
        "log.every_steps=1",
        "--set",
        "train.evaluate_every=10",
    ];
    killed::ends_as_one_that_never_was(&command, folder.path());
    let labels = |name: &str| fs::read(folder.path().join(name).join("labels.json")).unwrap();
    assert_eq!(labels("killed"), labels("whole"));
}
