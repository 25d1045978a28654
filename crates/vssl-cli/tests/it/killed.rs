//! Trainings on labels that are killed and go on: called by the tests of `vssl linear` and
//! `vssl finetune`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{run, vssl};

/// How often it is killed.
const KILLS: u64 = 6;

/// Runs `command` as it is, then killed several times, and compares all that the two leave.
#[track_caller]
pub(super) fn ends_as_one_that_never_was(command: &[&str], folder: &Path) {
    let [whole, killed] = ["whole", "killed"].map(|name| folder.join(name));
    run(&[command, &["--out", text(&whole)]].concat()).succeeded();
    let begin = [command, &["--out", text(&killed)]].concat();
    // The settings are those in the folder.
    let resume = [&command[..2], &["--out", text(&killed), "--resume"]].concat();
    for kill in 0..KILLS {
        let before = latest(&killed);
        let arguments = if kill == 0 { &begin } else { &resume };
        let mut child = vssl(arguments).stdout(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while latest(&killed) == before && child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(60), "no checkpoint in a minute");
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(Duration::from_millis(kill * 7 % 20));
        assert!(
            child.try_wait().unwrap().is_none(),
            "done before kill {kill}: too short a training"
        );
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        assert!(!killed.join("summary.json").exists(), "done before kill {kill}");
    }
    run(&resume).succeeded();
    assert_eq!(lines(&killed), lines(&whole));
    assert_eq!(summary(&killed), summary(&whole));
    assert_eq!(
        fs::read(killed.join("settings.toml")).ok(),
        fs::read(whole.join("settings.toml")).ok()
    );
    let (got, expected) = (tensors(&killed), tensors(&whole));
    assert!(!expected.is_empty());
    let names =
        |all: &[(String, Vec<u8>)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&got), names(&expected));
    for ((name, got), (_, expected)) in got.iter().zip(&expected) {
        assert!(got == expected, "{name} differs after {KILLS} kills");
    }
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn latest(folder: &Path) -> Option<PathBuf> {
    let checkpoints = folder.join("checkpoints");
    let name = fs::read_to_string(checkpoints.join("latest")).ok()?;
    Some(checkpoints.join(name.trim()))
}

/// Lines of metrics without what depends on the clock.
fn lines(folder: &Path) -> Vec<Value> {
    let all = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("time");
        line
    };
    all.lines().map(line).collect()
}

/// The result without what depends on the clock, the machine and the folder.
fn summary(folder: &Path) -> Value {
    let all = fs::read_to_string(folder.join("summary.json")).unwrap();
    let mut summary: Value = serde_json::from_str(&all).unwrap();
    for key in ["seconds", "peak_rss_mib", "folder"] {
        summary.as_object_mut().unwrap().remove(key).unwrap();
    }
    summary
}

/// Files of tensors in the last checkpoint, byte for byte.
fn tensors(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(latest(folder).unwrap()).unwrap().map(|file| file.unwrap().path());
    let mut tensors: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect();
    tensors.sort();
    tensors
}
