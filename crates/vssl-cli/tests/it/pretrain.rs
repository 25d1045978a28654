//! `vssl pretrain` on a few images, as people, programs and signals meet it.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{done, embed::photographs, run, vssl};

/// What makes a run of seconds: few images, a very narrow network.
const SMALL: [&str; 7] = [
    "data.limit_train=64",
    "data.limit_validation=32",
    "backbone.width=2",
    "vssl.hidden=16",
    "vssl.dim=8",
    "train.batch=16",
    "log.every_steps=1",
];

pub(super) fn small(out: &Path, overrides: &[&str]) -> Command {
    let mut command = vssl(&["pretrain", "recipes/quickstart.toml", "--out"]);
    command.arg(out);
    for text in SMALL.iter().chain(overrides) {
        command.args(["--set", text]);
    }
    command
}

fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn an_image_that_cannot_be_read_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let photos = photographs(folder.path());
    fs::write(photos.join("dark/05.bmp"), "no picture").unwrap();
    let path = format!("data.path={:?}", photos.to_str().unwrap());
    let settings = ["data.format=\"folder\"", path.as_str(), "train.batch=12", "train.max_steps=1"];
    let out = folder.path().join("run");
    let failed = done(small(&out, &settings).output().unwrap());
    failed.refused(1, &["dark/05.bmp", "help:", "vssl data check", "data.on_bad_image"]);
    let settings = [&settings[..], &["data.on_bad_image=\"skip\""]].concat();
    done(small(&out, &settings).arg("--force").output().unwrap()).succeeded();
}

#[test]
fn a_run_from_an_encoder_says_so_and_measures_what_was_before() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    done(small(&at("first"), &["train.max_steps=3"]).output().unwrap()).succeeded();
    let (run_path, encoder) = (at("first"), at("encoder.safetensors"));
    let (run_path, encoder) = (run_path.to_str().unwrap(), encoder.to_str().unwrap());
    run(&["export", run_path, "--to", encoder]).succeeded();

    let from = |out: &Path, start: &str, settings: &[&str]| {
        let mut command = small(out, settings);
        done(command.args(["--from", start]).output().unwrap())
    };
    let settings = ["train.max_steps=3", "init.freeze_epochs=1", "optimizer.layer_decay=0.5"];
    let second = from(&at("second"), encoder, &settings);
    let text = second.succeeded();
    for part in ["trained encoder", "encoder before", "raw pixels"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("untrained"), "{text}");
    let said = format!("{text}{}", second.error);
    assert!(said.contains("starts from") && said.contains("SHA-256"), "{said}");
    let summary = fs::read_to_string(at("second/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["init"]["from"], encoder);
    assert!(summary["before_knn_top1"].is_number() && summary["untrained_knn_top1"].is_null());

    // The width in the recipe is another one.
    let wider = from(&at("third"), encoder, &["backbone.width=4"]);
    wider.refused(2, &["backbone.width: 2 -> 4", "disagree"]);
    from(&at("third"), "no/such.pth", &[]).refused(1, &["no/such.pth", "not found", "vssl export"]);
    let mut replacing = small(&at("first"), &[]);
    done(replacing.args(["--from", run_path, "--force"]).output().unwrap())
        .refused(2, &["--force would remove", "first", "another --out"]);
    assert!(at("first/summary.json").exists());
    let odd = ["init.checkpoint=\"../first\""];
    from(&at("third"), run_path, &odd).refused(2, &["init.checkpoint", "latest, best or step-N"]);
    let junk = at("junk.pth");
    fs::write(&junk, "no weights").unwrap();
    from(&at("third"), junk.to_str().unwrap(), &[]).refused(1, &["junk.pth", "torch.save"]);
    assert!(!at("third").exists());

    let recipe = "recipes/quickstart.toml";
    let shown = run(&["config", recipe, "--from", encoder, "--set", "backbone="]);
    let text = shown.succeeded();
    assert!(text.contains("width = 2") && text.contains("[init]"), "{text}");
    let of_width = text.lines().find(|line| line.starts_with("width = 2")).unwrap();
    assert!(of_width.ends_with("# the encoder"), "{of_width}");
    let digest = text.lines().find(|line| line.starts_with("digest")).unwrap();
    assert!(digest.ends_with("# the encoder"), "{digest}");
    let other = format!("init.from={run_path:?}");
    for command in ["pretrain", "config"] {
        run(&[command, recipe, "--from", encoder, "--set", &other])
            .refused(2, &["--from", "init.from", "give one of them"]);
        run(&[command, recipe, "--teacher", encoder, "--set", "teacher.from=x"])
            .refused(2, &["--teacher", "teacher.from", "give one of them"]);
    }
    let checkpoint = ["config", recipe, "--from", encoder, "--set", "backbone=", "--set"];
    run(&[&checkpoint[..], &["init.checkpoint=best"]].concat())
        .refused(2, &["init.checkpoint", "encoder.safetensors", "is a file"]);
    let both = ["pretrain", "--resume", run_path, "--from", encoder];
    run(&both).refused(2, &["--from", "--resume"]);
}

#[test]
fn a_short_run_ends_with_the_table_and_what_to_type_next() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let finished = done(small(&out, &["train.max_steps=3"]).output().unwrap());
    let text = finished.succeeded();
    for part in ["trained encoder", "untrained encoder", "raw pixels", "linear", "vssl export"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains(['\x1b', '\r']), "control characters in a pipe: {text:?}");
    for name in ["recipe.toml", "metrics.jsonl", "summary.json", "log.txt", "checkpoints/latest"] {
        assert!(out.join(name).exists(), "{name} is missing");
    }
    done(small(&out, &[]).output().unwrap()).refused(1, &["--force", "--resume"]);

    let target = folder.path().join("encoder.safetensors");
    let (run_path, to) = (out.to_str().unwrap(), target.to_str().unwrap());
    let exported = run(&["export", run_path, "--to", to, "--json"]);
    let value = event(exported.succeeded());
    assert_eq!((&value["step"], &value["network"]), (&3.into(), &"student".into()));
    let bytes = fs::read(&target).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    for name in ["conv1.weight", "bn1.running_mean", "layer2.0.downsample.0.weight"] {
        assert!(header[name]["shape"].is_array(), "{name} is not in {header}");
    }
    let student = fs::read(&target).unwrap();
    run(&["export", run_path, "--to", to, "--network", "teacher"]).succeeded();
    assert_ne!(fs::read(&target).unwrap(), student, "teacher and student are the same");
    let missing = run(&["export", run_path, "--to", to, "--checkpoint", "step-2"]);
    missing.refused(1, &["no checkpoint step-2", "step-00000003"]);

    let resumed = run(&["pretrain", "--resume", run_path, "--set", "optimizer.lr=0.5"]);
    resumed.refused(2, &["optimizer.lr: 0.003 -> 0.5"]);
}

#[test]
fn quiet_prints_the_table_alone_and_json_prints_events() {
    let folder = tempfile::tempdir().unwrap();
    let limit = ["train.max_steps=2"];
    let quiet = done(small(&folder.path().join("a"), &limit).arg("--quiet").output().unwrap());
    assert!(quiet.succeeded().starts_with("top-1 accuracy"), "{}", quiet.out);
    assert!(quiet.error.is_empty(), "{}", quiet.error);

    let json = done(small(&folder.path().join("b"), &limit).arg("--json").output().unwrap());
    let events: Vec<Value> = json.succeeded().lines().map(event).collect();
    assert_eq!(events.first().unwrap()["event"], "started");
    assert_eq!(events.iter().filter(|event| event["event"] == "step").count(), 2);
    let last = events.last().unwrap();
    assert_eq!(last["event"], "finished");
    assert!(last["summary"]["knn_top1"].is_number(), "{last}");
}

#[cfg(unix)]
#[test]
fn a_first_signal_stops_after_a_checkpoint() {
    use std::{
        io::{BufRead, BufReader},
        process::Stdio,
    };

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = small(&out, &["train.epochs=100000"]);
    let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    let (mut seen, mut signalled) = (Vec::new(), false);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event = event(&line.unwrap());
        if event["event"] == "step" && !signalled {
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
            signalled = true;
        }
        seen.push(event);
    }
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let summary = &seen.last().unwrap()["summary"];
    assert_eq!(summary["interrupted"], true, "{summary}");
    let step = summary["steps"].as_u64().unwrap();
    assert!(out.join(format!("checkpoints/step-{step:08}")).exists());
}

#[test]
fn a_run_that_another_process_stops_does_not_end_as_if_it_were_done() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = small(&out, &["train.epochs=100000"]);
    let ended = command.arg("--stop-at-eof").stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(ended.status.code(), Some(143));
    let summary = std::fs::read_to_string(out.join("summary.json")).unwrap();
    assert!(summary.contains("\"interrupted\": true"), "{summary}");
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_at_once() {
    use std::{
        io::{BufRead, BufReader},
        process::Stdio,
        time::Duration,
    };

    let folder = tempfile::tempdir().unwrap();
    // Steps so long that the second signal comes while the first waits for the end of one.
    let slow = ["train.epochs=100000", "backbone.width=32", "train.batch=64"];
    let mut command = small(&folder.path().join("run"), &slow);
    let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut events = lines.map(|line| event(&line.unwrap()));
    events.find(|event| event["event"] == "step").unwrap();
    let id = child.id().to_string();
    for _ in 0..2 {
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!events.any(|event| event["event"] == "finished"));
    // A shell shows it as 130.
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2), "{status}");
}

#[test]
fn data_that_are_not_there_are_named_and_no_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    done(small(&out, &["data.path=no/such"]).output().unwrap()).refused(1, &["no/such"]);
    assert!(!out.exists(), "a run folder was made for a run that cannot start");
}

#[test]
fn a_batch_larger_than_the_set_is_a_wrong_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let refused = done(small(&folder.path().join("run"), &["train.batch=128"]).output().unwrap());
    refused.refused(2, &["train.batch = 128", "64 images"]);
}

#[test]
fn what_is_no_run_cannot_be_resumed() {
    run(&["pretrain", "--resume", "no/such/run"]).refused(1, &["no/such/run"]);
    run(&["pretrain", "--resume", "recipes"]).refused(1, &["recipes: not a run folder"]);
}
