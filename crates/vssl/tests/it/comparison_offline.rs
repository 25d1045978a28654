//! The offline column of a table of runs, and the layout of the paper, which has it.

use std::{fs, path::Path};

use serde_json::{Value, json};
use vssl::comparison::{Format, Layout};

use super::comparison::{Made, compare, root, shown};

/// The linear evaluation of the run in `folder`.
fn evaluated(folder: &Path, top1: f64, interrupted: bool) {
    let run = summary_of(folder);
    evaluated_at(folder, &run["steps"], &run["seed"], top1, interrupted);
}

fn summary_of(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("summary.json")).unwrap()).unwrap()
}

/// The same of the encoder after `step` of the run with `seed`.
fn evaluated_at(folder: &Path, step: &Value, seed: &Value, top1: f64, interrupted: bool) {
    let run = summary_of(folder);
    let summary = json!({
        "task": "linear", "encoder": folder, "encoder_step": step, "method": run["method"],
        "pretraining_seed": seed, "seed": 0, "steps": 1, "interrupted": interrupted,
        "train_images": 1, "validation_images": 1, "classes": 1, "seconds": 1.0,
        "peak_rss_mib": null, "commit": null, "version": "0", "replaced_images": 0,
        "chosen": "lr 0.1", "top1": top1, "top5": 99.0, "best_top1": 99.5, "best_top5": 99.0,
        "best_epoch": 1, "heads": [], "notes": [], "folder": folder,
    });
    fs::create_dir_all(folder.join("linear")).unwrap();
    fs::write(folder.join("linear/summary.json"), summary.to_string()).unwrap();
}

#[test]
fn a_linear_evaluation_is_the_offline_column() {
    let root = root();
    for (seed, top1) in [(0, 80.0), (1, 82.0)] {
        let run = Made::new(&root, &seed.to_string(), "byol", seed).with("online_top1", 75.0);
        evaluated(&run.finished(), top1, false);
    }
    evaluated(&Made::new(&root, "c", "vssl", 0).finished(), 99.0, true);
    let table = shown(&root, Format::Markdown);
    assert!(table.contains("offline %") && table.contains("**81.00 ± 1.41**"), "{table}");
    assert!(!table.contains("99.00"), "one that was stopped counts for nothing: {table}");
}

#[test]
fn a_linear_evaluation_of_other_weights_is_not_of_this_run() {
    let root = root();
    let early = Made::new(&root, "early", "byol", 0).finished();
    evaluated_at(&early, &json!(40), &json!(0), 91.5, false);
    let replaced = Made::new(&root, "replaced", "byol", 1).finished();
    evaluated_at(&replaced, &json!(100), &json!(7), 92.5, false);
    let table = shown(&root, Format::Markdown);
    assert!(!table.contains("91.5") && !table.contains("92.5"), "{table}");
    assert!(table.contains("early: linear/summary.json is of step 40, method byol and seed 0"));
    assert!(table.contains("replaced: linear/summary.json is of step 100, method byol and seed 7"));
}

#[test]
fn a_linear_evaluation_of_the_teacher_is_not_of_the_encoder_of_the_run() {
    let root = root();
    let run = Made::new(&root, "a", "byol", 0).finished();
    evaluated(&run, 91.5, false);
    let mut summary = summary_of(&run.join("linear"));
    summary["network"] = json!("teacher");
    fs::write(run.join("linear/summary.json"), summary.to_string()).unwrap();
    let table = shown(&root, Format::Markdown);
    assert!(!table.contains("91.5"), "{table}");
    assert!(table.contains("linear/summary.json is of the teacher: it is left out"), "{table}");
}

#[test]
fn a_damaged_linear_evaluation_is_told() {
    let root = root();
    let run = Made::new(&root, "a", "byol", 0).finished();
    fs::create_dir_all(run.join("linear")).unwrap();
    fs::write(run.join("linear/summary.json"), "{").unwrap();
    let left_out = compare(&root).left_out;
    assert!(left_out[0].reason.starts_with("linear/summary.json: "), "{left_out:?}");
}

#[test]
fn the_layout_of_the_paper_has_online_and_offline_and_published_values_below() {
    let root = root();
    let settings = "data.format = \"cifar10\"";
    for (method, seed, online, offline) in
        [("byol", 0, 90.0, 91.0), ("byol", 1, 92.0, 93.0), ("vssl", 0, 93.0, 92.5)]
    {
        let name = format!("{method}-{seed}");
        let run = Made::new(&root, &name, method, seed).settings(settings);
        evaluated(&run.with("online_top1", online).untrained(1.0, 2.0).finished(), offline, false);
    }
    let comparison = compare(&root);
    let markdown = comparison.write_as(Format::Markdown, Layout::Paper);
    let expected = "\
| method             |            online % |           offline % |
| ------------------ | ------------------: | ------------------: |
| byol               | <u>91.00 ± 1.41</u> | <u>92.00 ± 1.41</u> |
| vssl               |           **93.00** |           **92.50** |
| *byol, solo-learn* |               92.58 |                   - |
| *vssl, paper*      |               93.35 |                   - |
";
    assert!(markdown.starts_with(expected), "{markdown}");
    assert!(markdown.contains("paper: published values") && markdown.contains("2504.04318"));
    let csv = comparison.write_as(Format::Csv, Layout::Paper);
    let first = "method,state,cifar10 online %,cifar10 online % std,cifar10 offline %,";
    assert!(csv.starts_with(first), "{csv}");
    assert!(csv.contains("\n\"vssl, paper\",published,93.35,,,\n"), "{csv}");
    let latex = comparison.write_as(Format::Latex, Layout::Paper);
    assert!(latex.contains(r"vssl & \textbf{93.00} & \textbf{92.50} \\"), "{latex}");
    let html = comparison.write_as(Format::Html, Layout::Paper);
    assert!(html.contains("<th>vssl</th><td><b>93.00</b></td><td><b>92.50</b></td>"), "{html}");
}
