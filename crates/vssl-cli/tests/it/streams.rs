//! Streams that cannot be written, folders that move, sizes that no machine has: what a command does when the
//! world around it does not play along.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{done, pretrain, run, vssl};

/// The run of seconds, with a checkpoint after every step.
fn small(out: &Path, settings: &[&str]) -> Command {
    pretrain::small(out, &[&["checkpoint.every_steps=1"], settings].concat())
}

fn finished(out: &Path) -> PathBuf {
    done(small(out, &["train.max_steps=2"]).output().unwrap()).succeeded();
    out.to_owned()
}

#[cfg(target_os = "linux")]
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// The writing end of a pipe that nobody reads.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_is_full_is_an_error_and_a_closed_pipe_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let failed = done(small(&out, &["train.max_steps=2"]).stdout(full()).output().unwrap());
    failed.refused(1, &["writing to standard output"]);
    assert!(out.join("summary.json").exists(), "the run itself is whole");
    let out = out.to_str().unwrap();
    let calls: [&[&str]; 8] = [
        &["--help"],
        &["--version"],
        &["methods"],
        &["config", "recipes/quickstart.toml"],
        &["pretrain", "--resume", out],
        &["knn", out],
        &["table", out],
        &["linear", out, "--cached", "--force"],
    ];
    for call in calls {
        let status = vssl(call).stdout(full()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{call:?}");
        let status = vssl(call).stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(status.code(), Some(0), "{call:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_error_that_cannot_be_printed_keeps_its_exit_code() {
    let calls: [(&[&str], i32); 6] = [
        (&["pretran"], 2),
        (&["pretrain", "recipes/quickstart.toml", "--set", "train.epochs=0"], 2),
        (&["knn", "no/such/run"], 1),
        (&["table", "no/such/run"], 1),
        (&["data", "check", "no/such/folder"], 1),
        (&["import", "no/such/file.pth", "--to", "x.safetensors"], 1),
    ];
    for (call, code) in calls {
        for stderr in [full().into(), closed()] {
            let status = vssl(call).stdout(closed()).stderr(stderr).status().unwrap();
            assert_eq!(status.code(), Some(code), "{call:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_whose_name_is_not_unicode_works_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join(OsStr::from_bytes(b"r\xe9sultats"));
    let out = finished(&below.join("run"));
    let summary: Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert!(summary["run"].as_str().unwrap().contains("sultats"), "{summary}");
    for call in ["knn", "linear", "report", "embed", "export"] {
        let mut command = vssl(&[call]);
        command.arg(&out);
        match call {
            "linear" => command.arg("--cached"),
            "report" => command.arg("--to").arg(below.join("page.html")),
            "embed" => command.arg("--to").arg(below.join("features.parquet")),
            "export" => command.arg("--to").arg(below.join("encoder.safetensors")),
            _ => &mut command,
        };
        done(command.output().unwrap()).succeeded();
    }
}

#[test]
fn sizes_that_no_machine_has_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let recipe = |name: &str| format!("recipes/cifar10-small/{name}.toml");
    let here = "data.path=data/fashion-mnist-tenth";
    for (name, setting) in [
        ("vssl", "backbone.width=1000000000"),
        ("vssl", "backbone.width=9000000000000000000"),
        ("vssl", "vssl.hidden=1000000000000"),
        ("byol", "byol.dim=100000000000"),
        ("swav", "swav.prototypes=1000000000000"),
        ("mocov2plus", "mocov2plus.queue=1024000000000000"),
        ("vssl", "data.prefetch=1000000000000"),
    ] {
        let recipe = recipe(name);
        let mut command = vssl(&["pretrain", &recipe, "--set", "data.format=idx", "--set", here]);
        command.args(["--set", setting, "--out"]).arg(&out);
        let refused = done(command.output().unwrap());
        refused.refused(2, &["this machine has"]);
        assert!(!out.exists(), "{setting}");
    }
    run(&["bench", "step", "--batch", "65535", "--size", "1024"]).refused(2, &["this machine has"]);
}

#[test]
fn a_recorded_file_of_absurd_width_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cpu.safetensors");
    let path = file.to_str().unwrap();
    run(&["bench", "agreement", "--method", "simclr", "--store", path, "--batch", "4"]).succeeded();
    let bytes = fs::read(&file).unwrap();
    // The header is JSON, padded with blanks: a larger number takes the place of some of them.
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
    let wide = header.replacen("\\\"width\\\":8", "\\\"width\\\":800000000", 1);
    assert_ne!(wide, header);
    let mut changed = (wide.len() as u64).to_le_bytes().to_vec();
    changed.extend(wide.as_bytes());
    changed.extend(&bytes[8 + length..]);
    fs::write(&file, changed).unwrap();
    run(&["bench", "agreement", "--against", path]).refused(2, &["this machine has"]);
}

#[test]
fn settings_that_fail_leave_the_run_that_they_would_replace() {
    let folder = tempfile::tempdir().unwrap();
    let out = finished(&folder.path().join("run"));
    let before = fs::read(out.join("summary.json")).unwrap();
    let rule = "optimizer.groups=[{ pattern = \"nothing.*\", lr = 1.0 }]";
    for (setting, code) in [(rule, 2), ("vssl.hidden=1000000000000", 2), ("data.path=no/such", 1)] {
        let refused = done(small(&out, &[setting]).arg("--force").output().unwrap());
        assert_eq!(refused.code, Some(code), "{}", refused.error);
        assert_eq!(fs::read(out.join("summary.json")).unwrap(), before, "{setting}");
    }
}

#[test]
fn a_run_that_fails_says_so_in_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let settings = ["optimizer.lr=1e30", "train.max_steps=8", "schedule.name=constant"];
    let failed = done(small(&out, &settings).output().unwrap());
    failed.refused(1, &["not a finite number"]);
    let events = fs::read_to_string(out.join("events.jsonl")).unwrap();
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "failed", "{last}");
    assert!(last["message"].as_str().unwrap().contains("finite"), "{last}");
    assert!(fs::read_to_string(out.join("log.txt")).unwrap().contains("failed after step"));
}

/// A run that would go on for hours, once it has saved for the first time.
fn begun(out: &Path) -> Child {
    let mut command = small(out, &["train.epochs=1000000", "knn.every_epochs=0"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while !out.join("checkpoints/latest").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "no checkpoint in a minute");
        thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn a_run_whose_folder_moves_saves_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for removes in [false, true] {
        let child = begun(&out);
        let moved = folder.path().join("moved");
        let id = child.id().to_string();
        let signal = |name: &str| {
            assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
        };
        // The run may be in the middle of a checkpoint.
        signal("-STOP");
        match removes {
            true => fs::remove_dir_all(&out).unwrap(),
            false => fs::rename(&out, &moved).unwrap(),
        }
        signal("-CONT");
        let ended = done(child.wait_with_output().unwrap());
        ended.refused(1, &["moved or removed", "--resume"]);
        let saved = if removes { &out } else { &moved };
        let mut command = vssl(&["pretrain", "--resume"]);
        command.arg(saved).args(["--set", "vssl.dim=4", "--quiet"]);
        // That another network is refused shows that the checkpoint was read.
        done(command.output().unwrap()).refused(2, &["vssl.dim", "8 -> 4", "another --out"]);
        fs::remove_dir_all(saved).unwrap();
    }
}

#[test]
fn a_signal_ends_a_command_that_saves_nothing() {
    // A shell shows them as 143 and 130.
    for (name, number) in [("-TERM", 15), ("-INT", 2)] {
        let mut command = vssl(&["bench", "knn", "--train", "200000", "--queries", "20000"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::from_millis(500));
        let id = child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.signal(), Some(number), "{}", ended.status);
        assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[test]
fn one_damaged_run_does_not_cost_the_page_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let good = finished(&folder.path().join("good"));
    let broken = folder.path().join("broken");
    done(small(&broken, &["train.max_steps=2"]).output().unwrap()).succeeded();
    fs::write(broken.join("summary.json"), "{ no json").unwrap();
    let metrics = broken.join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, text.replacen("\"step\":1,", "\"step\":oops,", 1)).unwrap();
    let young = folder.path().join("young");
    fs::create_dir(&young).unwrap();
    fs::copy(good.join("recipe.toml"), young.join("recipe.toml")).unwrap();
    let page = folder.path().join("page.html");
    let mut command = vssl(&["report", folder.path().to_str().unwrap(), "--curves", "--to"]);
    let written = done(command.arg(&page).output().unwrap());
    written.succeeded();
    for part in ["summary.json", "metrics.jsonl: line 1", "young"] {
        assert!(written.error.contains(part), "{}", written.error);
    }
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("good") && html.contains("broken"));
}

#[test]
fn a_copied_run_says_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let out = finished(&folder.path().join("run"));
    let moved = folder.path().join("elsewhere");
    fs::rename(&out, &moved).unwrap();
    let again = run(&["pretrain", "--resume", moved.to_str().unwrap()]);
    let said = again.succeeded();
    assert!(said.contains("elsewhere") && !said.contains("/run "), "{said}");
}

#[test]
fn defaults_that_are_impossible_adapt_and_what_was_typed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = finished(&folder.path().join("run"));
    let run_ = out.to_str().unwrap();
    let few = run(&["finetune", run_, "--labels", "0.2", "--set", "train.epochs=1"]);
    assert!(few.succeeded().contains("train.batch is 13"), "{}", few.out);
    run(&["finetune", run_, "--labels", "0.3", "--set", "train.batch=256"])
        .refused(2, &["train.batch = 256", "--set train.batch="]);
    let text = "method = \"vssl\"\n[data]\nformat = \"idx\"\npath = \"data/fashion-mnist-tenth\"\n\
                limit_train = 70\nlimit_validation = 20\n[[views]]\nsize = 28\ncount = 2\n\
                [backbone]\nwidth = 2\n[vssl]\nhidden = 8\ndim = 4\n[train]\nepochs = 1\n";
    let recipe = super::recipe(folder.path(), text);
    let mut command = vssl(&["pretrain", &recipe, "--out"]);
    let adapted = done(command.arg(folder.path().join("adapted")).output().unwrap());
    let said = adapted.succeeded();
    assert!(
        said.contains("train.batch is 64") && said.contains("warm-up takes 0.1 epochs"),
        "{said}"
    );
    run(&["config", "recipes/cifar10/vssl.toml", "--set", "train.epochs=1"]).refused(
        2,
        &["schedule.warmup_epochs is 10", "train.epochs", "--set schedule.warmup_epochs=0.1"],
    );
}

#[test]
fn what_has_no_effect_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let out = finished(&folder.path().join("run"));
    let few = run(&["knn", out.to_str().unwrap(), "--k", "5,1000"]);
    few.succeeded();
    assert!(few.error.contains("--k 1000: only 64 images"), "{}", few.error);
    let quiet = run(&["knn", out.to_str().unwrap(), "--k", "5,1000", "--quiet"]);
    assert!(quiet.error.is_empty(), "{}", quiet.error);
    let late = ["schedule={ name = \"steps\", milestones = [1, 90] }", "train.max_steps=1"];
    let late = done(small(&folder.path().join("late"), &late).output().unwrap());
    assert!(late.succeeded().contains("after epoch 90"), "{}", late.out);
    run(&["knn", out.to_str().unwrap(), "--temperature", "0"]).refused(2, &["above 0"]);
    run(&["bench", "step", "--backbone", "vit-tiny", "--stem", "cifar"]).refused(2, &["--stem"]);
}
