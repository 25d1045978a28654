//! `vssl linear` on a run of seconds: its results, its refusals, and kills in the middle.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{killed, killed::text, report::trained, run, vssl};

#[test]
fn results_go_into_the_run_and_are_told_to_programs() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let run_folder = text(&out);
    let short = ["--set", "train.epochs=2", "--set", "train.batch=16", "--set", "rates=[0.1,1]"];
    let done = run(&[&["linear", run_folder, "--json"][..], &short[..]].concat());
    let last: Value = serde_json::from_str(done.succeeded().lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "finished");
    let written = fs::read_to_string(out.join("linear/summary.json")).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(last["summary"], written);
    assert_eq!(written["heads"].as_array().unwrap().len(), 2);
    assert_eq!((&written["steps"], &written["train_images"]), (&8.into(), &64.into()));

    let again = [&["linear", run_folder][..], &short[..]].concat();
    run(&again).refused(1, &["--force", "--resume"]);
    run(&[&again[..], &["--force", "--quiet"]].concat()).succeeded();
    let fast = run(&["linear", run_folder, "--cached", "--set", "cached.l2=[0.1]"]);
    assert!(fast.succeeded().contains("linear-cached"), "{}", fast.out);
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let run_folder = text(&out);
    let with = |more: &[&str]| run(&[&["linear", run_folder][..], more].concat());
    with(&["--set", "rate=1"]).refused(2, &["rate", "rates"]);
    with(&["--set", "rates=[]"]).refused(2, &["rates", "at least one"]);
    with(&["--set", "train.epochs=0"]).refused(2, &["train.epochs", "at least 1"]);
    with(&["--set", "train.batch=65"]).refused(2, &["train.batch = 65", "64 images"]);
    with(&["--resume"]).refused(2, &["nothing to go on with", "--resume"]);
    with(&["--resume", "--force"]).refused(2, &["--resume", "--force"]);
    with(&["--cached", "--resume"]).refused(2, &["--cached", "--resume"]);
    with(&["--out", run_folder]).refused(2, &["folder of a pretraining run", "--out"]);
    with(&["--config", "no/such.toml"]).refused(1, &["no/such.toml"]);
    with(&["--images", "no/such/images"]).refused(2, &["--images", "--out"]);
    run(&["linear", "no/such/run"]).refused(1, &["no/such/run"]);
    let file = folder.path().join("encoder.safetensors");
    run(&["export", run_folder, "--to", text(&file)]).succeeded();
    let images = ["--images", "data/fashion-mnist-tenth"];
    run(&[&["linear", text(&file)][..], &images[..]].concat()).refused(2, &["--out"]);
    let missing = folder.path().join("out");
    run(&["linear", text(&file), "--out", text(&missing)]).refused(2, &["--images"]);
    assert!(!missing.exists() && !out.join("linear").exists(), "a refusal leaves nothing behind");
}

#[test]
fn a_training_killed_in_the_middle_ends_as_one_that_never_was() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let command = [
        "linear",
        text(&out),
        "--set",
        "train.epochs=100",
        "--set",
        "train.batch=16",
        "--set",
        "rates=[0.1,3]",
        "--set",
        "checkpoint.every_steps=1",
        "--set",
        "log.every_steps=1",
        "--set",
        "train.evaluate_every=5",
    ];
    killed::ends_as_one_that_never_was(&command, folder.path());
    // Once done there is nothing to go on with but the settings, and these have to be the same.
    let whole = folder.path().join("whole");
    let resume = ["linear", text(&out), "--out", text(&whole), "--resume"];
    run(&[&resume[..], &["--set", "rates=[0.1]"]].concat()).refused(2, &["rates", "0.1", "3"]);
    run(&[&resume[..], &["--set", "data.workers=1"]].concat()).succeeded();
}

#[test]
fn a_signal_ends_the_fast_evaluation_and_leaves_nothing_in_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let made = out.join("linear-cached");
    // So many penalties take minutes on all images.
    let all = ["--images", "data/fashion-mnist-tenth", "--json"];
    let penalties: Vec<String> = (1..10_000).map(|at| format!("{at}e-9")).collect();
    let penalties = format!("cached.l2=[{}]", penalties.join(","));
    let mut command = vssl(&["linear", text(&out), "--cached", "--set", &penalties]);
    command.args(all).args(["--out", text(&made)]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut phases = lines.map(|line| line.unwrap()).filter(|line| line.contains("\"phase\""));
    assert!(phases.any(|line| line.contains("logistic regression")));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(2), "{error}");
    assert_eq!(error, "stopped before the end: nothing was written\n");
    assert!(!made.exists());

    // Earlier versions made the folder first.
    fs::create_dir(&made).unwrap();
    fs::write(made.join("settings.toml"), "").unwrap();
    let fast = run(&["linear", text(&out), "--cached", "--set", "cached.l2=[0.1]"]);
    assert!(fast.succeeded().contains("linear-cached"), "{}", fast.out);
    assert!(!fast.error.contains("train.batch"), "it has no batches: {}", fast.error);
    let again = run(&["linear", text(&out), "--cached"]);
    again.refused(1, &["linear-cached", "already something here", "--out", "--force"]);
    assert!(!again.error.contains("--resume"), "{}", again.error);
}

#[test]
fn a_finished_training_says_so_without_its_images() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let short = ["--set", "train.epochs=1", "--set", "train.batch=16", "--quiet"];
    for command in ["linear", "finetune"] {
        run(&[&[command, text(&out)][..], &short].concat()).succeeded();
    }
    fs::remove_dir_all(folder.path().join("images")).unwrap();
    for command in ["linear", "finetune"] {
        let done = run(&[command, text(&out), "--resume"]);
        assert!(done.succeeded().contains("of 64 images"), "{}", done.out);
        assert!(done.error.contains("finished before"), "{}", done.error);
        let longer = [command, text(&out), "--resume", "--set", "train.epochs=2"];
        run(&longer).refused(1, &["images"]);
    }
}
