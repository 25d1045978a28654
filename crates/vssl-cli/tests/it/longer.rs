//! Runs that go on with another number of epochs, and `--continue`.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{Done, done, recipe, report::trained, root, vssl};

fn resume(run: &Path, more: &[&str]) -> Done {
    let mut command = vssl(&["pretrain", "--resume"]);
    done(command.arg(run).args(more).output().unwrap())
}

fn summary(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("summary.json")).unwrap()).unwrap()
}

#[test]
fn a_finished_run_is_trained_longer_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), "run", &[]);
    let first = summary(&run);
    let steps = first["steps"].as_u64().unwrap();
    let longer = format!("train.max_steps={}", 2 * steps);
    let done = resume(&run, &["--set", &longer]);
    assert_eq!(done.code, Some(0), "{}", done.error);
    let said = format!("{}{}", done.out, done.error);
    assert!(said.contains("by the earlier schedule"), "{said}");
    assert_eq!(summary(&run)["steps"], 2 * steps);
    let notes = summary(&run)["notes"].to_string();
    assert!(notes.contains("not that of one training"), "{notes}");
    // The same command again has nothing to do, and a plain resume neither.
    for more in [&["--set", longer.as_str()][..], &[]] {
        let again = resume(&run, more);
        assert_eq!(again.code, Some(0), "{}", again.error);
        assert!(again.error.contains("finished before"), "{}", again.error);
    }
    resume(&run, &["--set", "train.max_steps=1"]).refused(2, &["steps are done", "--out"]);
}

/// The quick start, cut short, in the folder `run`.
fn script(run: &Path, more: &[&str]) -> Command {
    let mut command = vssl(&["pretrain", "recipes/quickstart.toml", "--continue", "--out"]);
    command.arg(run);
    for setting in [
        "data.limit_train=64",
        "data.limit_validation=20",
        "train.batch=16",
        "train.epochs=2",
        "schedule.warmup_epochs=0",
        "backbone.width=2",
        "vssl.hidden=8",
        "vssl.dim=4",
        "checkpoint.every_steps=1",
        "evaluation.enabled=false",
    ] {
        command.args(["--set", setting]);
    }
    command.args(more);
    command
}

#[test]
fn a_script_that_is_submitted_again_starts_resumes_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // A start that was killed before it wrote its recipe leaves an empty log.
    fs::create_dir(&run).unwrap();
    fs::write(run.join("log.txt"), "").unwrap();
    let first = done(script(&run, &[]).output().unwrap());
    assert_eq!(first.code, Some(0), "{}", first.error);
    assert_eq!(summary(&run)["steps"], 8);
    let again = done(script(&run, &[]).output().unwrap());
    assert_eq!(again.code, Some(0), "{}", again.error);
    assert!(again.error.contains("finished before"), "{}", again.error);

    // As after a kill between two checkpoints.
    fs::remove_file(run.join("summary.json")).unwrap();
    fs::write(run.join("checkpoints/latest"), "step-00000007\n").unwrap();
    let workers = ["--set", "data.workers=1"];
    let resumed = done(script(&run, &workers).output().unwrap());
    assert_eq!(resumed.code, Some(0), "{}", resumed.error);
    assert_eq!(summary(&run)["steps"], 8);
    let events = fs::read_to_string(run.join("events.jsonl")).unwrap();
    assert!(events.contains("\"event\":\"started\",\"step\":7,\"steps\":8"), "{events}");
}

#[test]
fn another_recipe_is_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    assert_eq!(done(script(&run, &[]).output().unwrap()).code, Some(0));
    let before = fs::read(run.join("summary.json")).unwrap();
    let other = ["--set", "vssl.dim=8", "--set", "train.epochs=4"];
    let refused = done(script(&run, &other).output().unwrap());
    refused.refused(2, &["vssl.dim: 4 -> 8", "train.epochs: 2 -> 4", "--out"]);
    assert!(!refused.error.contains("--resume"), "{}", refused.error);
    let longer = done(script(&run, &["--set", "train.epochs=4"]).output().unwrap());
    longer.refused(2, &["train.epochs: 2 -> 4", "--resume", "--set train.epochs=N"]);
    assert_eq!(fs::read(run.join("summary.json")).unwrap(), before);
    done(script(&run, &["--force"]).output().unwrap()).refused(2, &["--continue", "--force"]);
    let mut bare = vssl(&["pretrain", "--continue", "--resume", "runs/a"]);
    done(bare.output().unwrap()).refused(2, &["--continue"]);
    // What is there and is no run is left alone.
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("mine.txt"), "mine").unwrap();
    done(script(&other, &[]).output().unwrap()).refused(1, &["already something here"]);
}

/// A recipe whose run adapts the batch and, with few epochs, the warm-up.
fn without_batch(folder: &Path, epochs: u32) -> String {
    let text = format!(
        "method = \"vssl\"\n[data]\nformat = \"idx\"\npath = \"data/fashion-mnist-tenth\"\n\
         limit_train = 100\nlimit_validation = 20\n[[views]]\nsize = 28\ncount = 2\n[backbone]\nwidth = 2\n\
         [vssl]\nhidden = 8\ndim = 4\n[train]\nepochs = {epochs}\nmax_steps = 2\n[evaluation]\nenabled = false\n"
    );
    recipe(folder, &text)
}

#[test]
fn a_run_with_adapted_defaults_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = (without_batch(folder.path(), 2), folder.path().join("run"));
    let start = |more: &[&str]| {
        let mut command = vssl(&["pretrain", &recipe, "--continue", "--out"]);
        done(command.arg(&run).args(more).output().unwrap())
    };
    let first = start(&[]);
    assert!(first.succeeded().contains("train.batch is 64"), "{}", first.out);
    let again = start(&[]);
    assert_eq!(again.code, Some(0), "{}", again.error);
    assert!(again.error.contains("finished before"), "{}", again.error);
    start(&["--set", "train.batch=32"]).refused(2, &["train.batch: 64 -> 32"]);
}

#[test]
fn a_run_is_not_made_shorter_than_its_warm_up_and_the_help_can_be_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = (without_batch(folder.path(), 20), folder.path().join("run"));
    done(vssl(&["pretrain", &recipe, "--out"]).arg(&run).output().unwrap()).succeeded();
    let shorter = resume(&run, &["--set", "train.epochs=8"]);
    shorter.refused(2, &["schedule.warmup_epochs is 10", "keeps its warm-up", "train.epochs"]);
    assert!(!shorter.error.contains("--set schedule.warmup_epochs"), "{}", shorter.error);
    assert_eq!(resume(&run, &["--set", "train.epochs=10"]).code, Some(0));
}

#[test]
fn evaluations_on_labels_are_continued_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), "run", &[]);
    let linear = |more: &[&str]| {
        let mut command = vssl(&["linear"]);
        let settings = ["--continue", "--set", "train.epochs=1", "--set", "train.batch=32"];
        done(command.arg(&run).args(settings).args(more).current_dir(root()).output().unwrap())
    };
    let first = linear(&[]).succeeded().to_owned();
    let again = linear(&[]);
    assert!(first.ends_with(again.succeeded()), "{}", again.out);
    assert!(again.error.contains("finished before"), "{}", again.error);
    linear(&["--set", "momentum=0.5"]).refused(2, &["momentum: 0.9 -> 0.5", "--out"]);
    linear(&["--cached"]).refused(2, &["--cached", "--continue"]);
    let mut longer = vssl(&["linear", "--resume", "--set", "train.epochs=2"]);
    let longer = done(longer.arg(&run).output().unwrap());
    assert!(longer.succeeded().contains("linear of 64 images"), "{}", longer.out);
    assert_eq!(summary(&run.join("linear"))["steps"], 4);
}
