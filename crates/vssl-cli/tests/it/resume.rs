//! Runs that are killed, damaged or changed, and what becomes of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{done, vssl};

const STEPS: u64 = 24;

/// A run of a second or two on the images that ship, with a checkpoint after every step.
fn start(out: &Path) -> Command {
    let mut command = vssl(&["pretrain", "recipes/quickstart.toml", "--out"]);
    command.arg(out);
    let steps = format!("train.max_steps={STEPS}");
    for setting in [
        steps.as_str(),
        "data.limit_train=128",
        "data.limit_validation=32",
        "train.batch=16",
        "train.epochs=3",
        "backbone.width=4",
        "vssl.hidden=16",
        "vssl.dim=8",
        "views.0.size=16",
        "checkpoint.every_steps=1",
        "checkpoint.keep=2",
        "log.every_steps=1",
        "health.every_steps=5",
        "knn.every_epochs=1",
        "evaluation.pixels=false",
    ] {
        command.args(["--set", setting]);
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn resume(out: &Path) -> Command {
    let mut command = vssl(&["pretrain", "--resume"]);
    command.arg(out).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn finished(out: &Path) -> PathBuf {
    let done = done(start(out).output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.error);
    out.to_owned()
}

/// Lines of metrics without what depends on the clock.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("time");
        line
    });
    lines.collect()
}

fn latest(run: &Path) -> PathBuf {
    let folder = run.join("checkpoints");
    let name = fs::read_to_string(folder.join("latest")).unwrap();
    folder.join(name.trim())
}

/// Every tensor of the last checkpoint, byte for byte.
fn weights(run: &Path) -> Vec<(String, Vec<u8>)> {
    ["student", "memory", "optimizer", "probe"]
        .map(|kind| {
            let file = format!("{kind}.safetensors");
            let bytes = fs::read(latest(run).join(&file)).unwrap();
            (file, bytes)
        })
        .into()
}

#[test]
fn a_run_killed_at_any_moment_ends_as_one_that_never_was() {
    let folder = tempfile::tempdir().unwrap();
    killed_ends_as_whole(folder.path(), &start);
}

/// The heads train alone in the first of three epochs.
#[test]
fn so_does_a_run_that_starts_from_an_encoder_which_is_needed_only_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let first = finished(&folder.path().join("first"));
    let from = |out: &Path| {
        let mut command = start(out);
        command.args(["--set", "init.freeze_epochs=1", "--from"]).arg(&first);
        command
    };
    killed_ends_as_whole(folder.path(), &from);
    let kept = |run: &str| fs::read(folder.path().join(run).join("start.safetensors")).unwrap();
    assert!(kept("killed") == kept("whole"));
}

/// 18 images in tar shards, made by webdataset, and in a Parquet file, made by datasets. Steps of
/// four images are short, so there are more of them.
#[test]
fn so_do_runs_on_tar_and_parquet_shards() {
    for (name, format) in [("tar_cls", "tar"), ("parquet_snappy_pages", "parquet")] {
        let folder = tempfile::tempdir().unwrap();
        let images = format!("crates/vssl-data/tests/shards/{name}");
        let (path, format) = (format!("data.path={images:?}"), format!("data.format={format:?}"));
        let on_shards = |out: &Path| {
            let mut command = start(out);
            let longer = ["train.max_steps=120", "train.epochs=40", "train.batch=4", "knn.k=3"];
            for setting in [path.as_str(), &format].into_iter().chain(longer) {
                command.args(["--set", setting]);
            }
            command
        };
        killed_ends_as_whole(folder.path(), &on_shards);
    }
}

/// Runs the command of `start` as it is, and killed at many moments, and compares what the two leave.
#[track_caller]
fn killed_ends_as_whole(folder: &Path, start: &dyn Fn(&Path) -> Command) {
    let [whole, killed] = ["whole", "killed"].map(|name| folder.join(name));
    assert_eq!(done(start(&whole).output().unwrap()).code, Some(0));
    // Saving takes about half of each step here, so that many of these hit a checkpoint write.
    // The moments come from the address space's own noise and the machine's load; the sequence
    // only makes sure that they differ.
    let mut kills = 0;
    for attempt in 0..40_u64 {
        let has_folder = killed.join("recipe.toml").exists();
        let mut command = if has_folder { resume(&killed) } else { start(&killed) };
        if !has_folder && killed.exists() {
            fs::remove_dir_all(&killed).unwrap();
        }
        let mut child = command.spawn().unwrap();
        thread::sleep(Duration::from_millis(60 + attempt * 97 % 340));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap(); // SIGKILL
            kills += 1;
        }
        child.wait().unwrap();
        if killed.join("summary.json").exists() {
            break;
        }
    }
    let last = done(resume(&killed).output().unwrap());
    assert_eq!(last.code, Some(0), "{}", last.error);
    assert!(kills >= 3, "only {kills} starts were killed: make the run longer");
    assert_eq!(metrics(&killed), metrics(&whole));
    for ((file, got), (_, expected)) in weights(&killed).into_iter().zip(weights(&whole)) {
        assert!(got == expected, "{file} differs after {kills} kills");
    }
}

#[test]
fn a_finished_run_is_evaluated_again_only_if_a_setting_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(&folder.path().join("run"));
    let files = ["summary.json", "metrics.jsonl", "log.txt"].map(|name| run.join(name));
    let before = files.clone().map(|file| fs::read(file).unwrap());
    let again = done(vssl(&["pretrain", "--resume"]).arg(&run).output().unwrap());
    assert_eq!(again.code, Some(0), "{}", again.error);
    assert!(again.error.contains("finished before"), "{}", again.error);
    assert!(again.out.contains("trained encoder"), "its result is shown: {}", again.out);
    assert!(files.iter().map(|file| fs::read(file).unwrap()).eq(before));
    let mut command = resume(&run);
    command.args(["--set", "evaluation.pixels="]);
    let done = done(command.output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.error);
    let summary: Value = serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap();
    assert!(summary["pixels_knn_top1"].is_number(), "{summary}");
    // What a missing value did is told: it may come from a variable that is not set.
    let note = "evaluation.pixels is removed by --set: it is true, the default";
    assert!(summary["notes"].to_string().contains(note), "{summary}");
}

#[test]
fn what_is_no_run_is_refused_and_what_was_meant_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    done(resume(&missing).output().unwrap())
        .refused(1, &["missing", "does not exist", "run folder"]);
    let recipe = done(vssl(&["pretrain"]).arg(folder.path()).output().unwrap());
    recipe.refused(2, &["a folder", "--resume"]);
    let encoder = done(vssl(&["knn"]).arg(&missing).output().unwrap());
    encoder.refused(1, &["does not exist", "vssl export"]);
}

#[test]
fn a_finished_run_without_checkpoints_is_shown_and_a_killed_one_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(&folder.path().join("run"));
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let summary = fs::read(run.join("summary.json")).unwrap();
    let shown = done(vssl(&["pretrain", "--resume"]).arg(&run).output().unwrap());
    assert!(shown.succeeded().contains("trained encoder"), "{}", shown.out);
    let mut command = resume(&run);
    command.args(["--set", "evaluation.pixels=true"]);
    done(command.output().unwrap()).refused(1, &["checkpoints are gone", "--out", "--force"]);
    assert_eq!(fs::read(run.join("summary.json")).unwrap(), summary);

    fs::remove_file(run.join("summary.json")).unwrap();
    fs::remove_file(run.join("events.jsonl")).unwrap();
    let again = done(vssl(&["pretrain", "--resume"]).arg(&run).output().unwrap());
    let said = again.succeeded();
    assert!(said.contains("no checkpoint was saved yet: the run starts again"), "{said}");
    assert_eq!(metrics(&run).len(), STEPS as usize + 3, "no line is there twice");
}

#[test]
fn without_latest_the_newest_checkpoint_is_taken_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(&folder.path().join("run"));
    fs::remove_file(run.join("checkpoints/latest")).unwrap();
    let to = folder.path().join("encoder.safetensors");
    let mut command = vssl(&["export"]);
    let exported = done(command.arg(&run).arg("--to").arg(&to).output().unwrap());
    let name = format!("step-{STEPS:08}");
    assert!(exported.succeeded().contains(&format!("step {STEPS}")), "{}", exported.out);
    let expected = format!("latest is missing: takes {name}, the newest whole checkpoint");
    assert!(exported.error.contains(&expected), "{}", exported.error);
    let resumed = done(vssl(&["pretrain", "--resume"]).arg(&run).output().unwrap());
    assert_eq!(resumed.code, Some(0), "{}", resumed.error);
    assert!(resumed.error.contains("finished before"), "{}", resumed.error);
}

#[test]
fn a_flipped_bit_or_a_cut_file_is_named_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(&folder.path().join("run"));
    for file in ["student.safetensors", "optimizer.safetensors", "checkpoint.json"] {
        let path = latest(&run).join(file);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for damaged in [&flipped[..], &whole[..middle], &[]] {
            fs::write(&path, damaged).unwrap();
            let done = done(resume(&run).output().unwrap());
            done.refused(1, &[file, "damaged", "move it away to go on from step-"]);
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(done(resume(&run).output().unwrap()).code, Some(0));
}

#[test]
fn a_damaged_recipe_in_a_run_folder_is_no_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(&folder.path().join("run"));
    let recipe = run.join("recipe.toml");
    let whole = fs::read_to_string(&recipe).unwrap();
    for damaged in [&whole.replacen("method", "methud", 1)[..], "method = \"no such\"\n"] {
        fs::write(&recipe, damaged).unwrap();
        done(resume(&run).output().unwrap()).refused(1, &["recipe.toml"]);
    }
    fs::write(&recipe, &whole).unwrap();
    let mut command = resume(&run);
    command.args(["--set", "optimizer.lr=\"fast\""]);
    done(command.output().unwrap()).refused(2, &["optimizer.lr"]);
}

#[test]
fn a_changed_recipe_is_refused_with_the_keys_that_differ() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(&folder.path().join("run"));
    let mut command = resume(&run);
    command.args(["--set", "optimizer.lr=0.5", "--set", "backbone.width=8"]);
    let changed = done(command.output().unwrap());
    changed.refused(2, &["optimizer.lr", "0.5", "backbone.width", "4", "8"]);
    let mut command = resume(&run);
    command.args(["--precision", "bf16"]);
    let changed = done(command.output().unwrap());
    changed.refused(2, &["train.precision", "f32", "bf16"]);
    let mut command = resume(&run);
    command.args(["--set", "data.workers=1"]);
    assert_eq!(done(command.output().unwrap()).code, Some(0), "workers change no number");
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (run, other) = (folder.path().join("run"), folder.path().join("other"));
    finished(&run);
    let mut command = start(&other);
    command.args(["--set", "vssl.dim=4"]);
    assert_eq!(done(command.output().unwrap()).code, Some(0));
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    fs::rename(other.join("checkpoints"), run.join("checkpoints")).unwrap();
    done(resume(&run).output().unwrap()).refused(2, &["vssl.dim", "4", "8"]);
}

#[test]
fn other_images_are_refused_unless_they_are_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let out = crate::report::trained(folder.path(), "run", &[]);
    let labels = folder.path().join("images/train-labels-idx1-ubyte.gz");
    fs::remove_file(&labels).unwrap();
    // The run is finished: its result needs no images.
    let shown = done(vssl(&["pretrain", "--resume"]).arg(&out).output().unwrap());
    assert!(shown.succeeded().contains("trained encoder"), "{}", shown.out);
    for part in ["training images: 64 as before", "finished before; nothing is left to do"] {
        assert!(shown.error.contains(part), "{part:?} is not in\n{}", shown.error);
    }
    let mut longer = resume(&out);
    longer.args(["--set", "train.max_steps=5"]);
    let refused = done(longer.output().unwrap());
    refused.refused(1, &["training images: 64 as before", "--allow-changed-data"]);
    let mut command = resume(&out);
    command.args(["--allow-changed-data", "--set", "train.max_steps=5"]);
    let allowed = done(command.output().unwrap());
    assert_eq!(allowed.code, Some(0), "{}", allowed.error);
    done(vssl(&["pretrain", "a.toml", "--allow-changed-data"]).output().unwrap())
        .refused(2, &["--allow-changed-data", "cannot be used with"]);
}

#[test]
fn a_run_that_goes_on_says_what_is_missing_or_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(&folder.path().join("run"));
    let file = run.join("metrics.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&file, format!("{}\nhalf a li\n{}\n", lines[..4].join("\n"), lines[4..].join("\n")))
        .unwrap();
    let again = |more: &[&str]| {
        let mut command = vssl(&["pretrain", "--resume"]);
        done(command.arg(&run).args(more).output().unwrap())
    };
    let shown = again(&[]);
    shown.succeeded();
    assert!(shown.error.contains("metrics.jsonl: line 5 is damaged"), "{}", shown.error);
    let longer = again(&["--set", "train.max_steps=26", "--set", "train.epochs=4"]);
    assert!(
        longer
            .succeeded()
            .contains("line 5 is damaged, and its figures are lost; they are removed")
    );
    fs::remove_file(&file).unwrap();
    fs::write(run.join("summary.json"), "{\"method\":").unwrap();
    let again = again(&[]);
    let said = again.succeeded();
    assert!(said.contains("metrics.jsonl is missing: the figures of all steps so far"), "{said}");
    assert!(said.contains("summary.json is damaged") && said.contains("trained encoder"), "{said}");
}

#[test]
fn a_run_folder_is_not_overwritten_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(&folder.path().join("run"));
    let before = fs::read(run.join("metrics.jsonl")).unwrap();
    done(start(&run).output().unwrap()).refused(1, &["--force", "--resume"]);
    assert_eq!(fs::read(run.join("metrics.jsonl")).unwrap(), before);
    let note = run.join("my-notes.txt");
    fs::write(&note, "mine").unwrap();
    let linear = run.join("linear");
    fs::create_dir(&linear).unwrap();
    fs::write(linear.join("settings.toml"), "").unwrap();
    assert_eq!(done(start(&run).arg("--force").output().unwrap()).code, Some(0));
    assert!(note.exists(), "--force removes the files of a run and nothing else");
    assert!(!linear.exists(), "it was of the encoder that is gone");
}

#[test]
fn force_leaves_a_folder_alone_that_is_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    let weights = project.join("checkpoints/epoch-3.pth");
    fs::create_dir_all(weights.parent().unwrap()).unwrap();
    fs::write(&weights, "mine").unwrap();
    let expected = ["project", "not a run", "--out"];
    done(start(&project).arg("--force").output().unwrap()).refused(1, &expected);
    assert_eq!(fs::read_to_string(&weights).unwrap(), "mine");
    assert_eq!(fs::read_dir(&project).unwrap().count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let out = Path::new("/proc/vssl-run");
    done(start(out).output().unwrap()).refused(1, &["/proc/vssl-run"]);
}

/// A file-size limit stands in for a full disk: writes fail half-way with an error of the system.
#[cfg(unix)]
#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(&folder.path().join("run"));
    let summary = fs::read(run.join("summary.json")).unwrap();
    let kept = latest(&run);
    let before = weights(&run);
    // The same run with a longer head start: go back one checkpoint and try to save again.
    let earlier = format!("step-{:08}", STEPS - 1);
    fs::write(run.join("checkpoints/latest"), format!("{earlier}\n")).unwrap();
    fs::remove_dir_all(&kept).unwrap();
    let student = run.join("checkpoints").join(&earlier).join("student.safetensors");
    let blocks = fs::metadata(student).unwrap().len() / 1024 / 2;
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_vssl"), "pretrain", "--resume"]);
    let failed = done(command.arg(&run).stdout(Stdio::null()).output().unwrap());
    failed.refused(1, &["could not be written", &earlier, "--resume"]);
    assert!(!kept.exists(), "half a checkpoint stays under its name");
    let again = done(resume(&run).output().unwrap());
    assert_eq!(again.code, Some(0), "{}", again.error);
    assert!(weights(&run) == before, "the run went on from the whole checkpoint");
    assert!(!summary.is_empty());
}
