//! `vssl report` and `vssl watch`: a page of a run, as people, programs and browsers meet it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{done, root, run, vssl};

/// A run of three steps on a copy of the embedded images, which lie beside it.
pub(super) fn trained(folder: &Path, name: &str, overrides: &[&str]) -> PathBuf {
    let images = folder.join("images");
    if !images.exists() {
        fs::create_dir(&images).unwrap();
        for file in fs::read_dir(root().join("data/fashion-mnist-tenth")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), images.join(file.file_name())).unwrap();
        }
    }
    let out = folder.join(name);
    let path = format!("data.path={}", images.display());
    let mut command = vssl(&["pretrain", "recipes/quickstart.toml", "--quiet", "--out"]);
    command.arg(&out).args(["--set", &path]);
    let small = [
        "data.limit_train=64",
        "data.limit_validation=40",
        "backbone.width=2",
        "vssl.hidden=16",
        "vssl.dim=8",
        "train.batch=16",
        "train.max_steps=3",
        "log.every_steps=1",
        "health.every_steps=1",
        "evaluation.pixels=false",
    ];
    for text in small.iter().chain(overrides) {
        command.args(["--set", text]);
    }
    done(command.output().unwrap()).succeeded();
    out
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The data that a page holds.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_page_holds_results_curves_and_pictures_and_is_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let page = folder.path().join("page.html");
    let report = || run(&["report", text(&out), "--to", text(&page), "--json"]);
    let event: Value = serde_json::from_str(report().succeeded()).unwrap();
    assert_eq!((&event["event"], &event["runs_with_pictures"]), (&"written".into(), &1.into()));
    let html = fs::read_to_string(&page).unwrap();
    assert_eq!(event["bytes"], html.len());
    let found = data(&html);
    let run_data = &found["runs"][0];
    assert_eq!(run_data["state"], "finished");
    assert_eq!(run_data["training"]["steps"], serde_json::json!([1, 2, 3]));
    for series in ["loss", "parts/kl_cross", "health/effective_rank", "time/images_per_s"] {
        assert!(run_data["training"]["series"][series][2].is_number(), "{series}");
    }
    assert!(run_data["summary"]["untrained_knn_top1"].is_number());
    let classes = run_data["classes"][0].as_array().unwrap();
    assert_eq!(classes.len(), 2, "nearest neighbours and the linear classifier");
    assert_eq!(classes[0]["top1"], run_data["summary"]["knn_top1"]);
    assert_eq!(classes[1]["matrix"][0][0], "T-shirt/top");
    assert!(run_data["classes"][1].is_null());
    let pictures = &found["pictures"][0];
    assert_eq!(pictures["names"].as_array().unwrap().len(), 40);
    assert_eq!(pictures["map"]["tsne"].as_array().unwrap().len(), 40);
    for picture in ["thumbnails", "gallery/sheet"] {
        let sheet = pictures.pointer(&format!("/{picture}/jpeg")).unwrap().as_str().unwrap();
        assert!(sheet.len() > 1000, "{picture}");
    }
    report().succeeded();
    assert_eq!(fs::read_to_string(&page).unwrap(), html, "the same run gave another page");
}

#[test]
fn images_that_were_moved_leave_a_page_without_pictures_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    fs::rename(folder.path().join("images"), folder.path().join("elsewhere")).unwrap();
    let page = folder.path().join("page.html");
    let report = run(&["report", text(&out), "--to", text(&page)]);
    report.succeeded();
    assert!(
        report.error.contains("no pictures") && report.error.contains("images"),
        "{}",
        report.error
    );
    let found = data(&fs::read_to_string(&page).unwrap());
    assert!(found["pictures"][0].is_null());
    assert!(found["missing"][0].as_str().unwrap().contains("images"), "{}", found["missing"]);
    // Below another data root they are found again.
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::rename(folder.path().join("elsewhere"), folder.path().join("data/images")).unwrap();
    let root = folder.path().join("data");
    run(&["report", text(&out), "--to", text(&page), "--data", text(&root)]).succeeded();
    assert!(data(&fs::read_to_string(&page).unwrap())["pictures"][0].is_object());
}

#[test]
fn damaged_and_missing_figures_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let metrics = out.join("metrics.jsonl");
    let page = folder.path().join("page.html");
    let report = || run(&["report", text(&out), "--curves", "--to", text(&page)]);
    let lines = fs::read_to_string(&metrics).unwrap();
    let damaged = lines.replacen("\"step\":2", "\"step\":oops", 1);
    fs::write(&metrics, damaged).unwrap();
    let shown = report();
    shown.succeeded();
    assert!(shown.error.contains("metrics.jsonl: line 2"), "{}", shown.error);
    fs::remove_file(&page).unwrap();
    fs::remove_file(&metrics).unwrap();
    report().refused(1, &["metrics.jsonl is missing"]);
    assert!(!page.exists(), "a page was written all the same");
    run(&["report", "recipes"]).refused(1, &["recipes: not a run folder"]);
    run(&["report"]).refused(2, &["<RUN>"]);
}

#[test]
fn several_runs_share_a_page_and_the_projector_takes_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = trained(folder.path(), "first", &[]);
    trained(folder.path(), "second", &["seed=1"]);
    let page = folder.path().join("page.html");
    run(&["report", text(folder.path()), "--curves", "--to", text(&page)]).succeeded();
    let found = data(&fs::read_to_string(&page).unwrap());
    let names: Vec<_> = found["runs"].as_array().unwrap().iter().map(|run| &run["name"]).collect();
    assert_eq!(names, ["first", "second"]);

    let projector = folder.path().join("features");
    let arguments = ["--projector", text(&projector), "--to", text(&page)];
    run(&[&["report", text(folder.path())], &arguments[..]].concat()).refused(2, &["one run"]);
    run(&[&["report", text(&first)], &arguments[..]].concat()).succeeded();
    let rows = |name: &str| fs::read_to_string(projector.join(name)).unwrap().lines().count();
    assert_eq!((rows("tensors.tsv"), rows("metadata.tsv")), (40, 41));
    assert!(fs::read(projector.join("sprite.png")).unwrap().starts_with(b"\x89PNG"));
}

/// `vssl watch` on a free port, ended with the test.
struct Watching {
    child: Child,
    address: String,
}

impl Watching {
    fn start(run: &Path) -> Self {
        let mut child = vssl(&["watch", text(run), "--port", "0", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        let address = event["address"].as_str().unwrap();
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { child, address }
    }

    /// Status and body of a request that names `host`.
    fn get(&self, path: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // The older version, so that long answers come in one piece.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path, &self.address);
        assert!(status == 200 || status == 500, "{path}: {status}");
        serde_json::from_str(&body).unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
#[test]
fn a_run_is_watched_from_before_its_first_step_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut watching = Watching::start(&folder.path().join("run"));
    assert_eq!(watching.json("/run.json?seen=")["run"]["state"], "waiting");
    let (status, page) = watching.get("/", "localhost:1");
    assert!(status == 200 && page.contains("id=\"data\""));

    let out = trained(folder.path(), "run", &[]);
    let news = watching.json("/run.json?seen=old");
    assert_eq!(news["run"]["state"], "finished", "{news}");
    let version = news["version"].as_str().unwrap();
    let (status, _) = watching.get(&format!("/run.json?seen={version}"), &watching.address);
    assert_eq!(status, 204, "nothing changed");

    let began = Instant::now();
    let pictures = loop {
        let pictures = watching.json("/pictures.json?seen=");
        if pictures["pictures"].is_object() {
            break pictures;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no pictures came: {pictures}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(
        (&pictures["version"], &pictures["missing"]),
        (&"step-00000003".into(), &Value::Null)
    );

    fs::write(out.join("metrics.jsonl"), "oops\n").unwrap();
    let error = watching.json("/run.json?seen=");
    assert!(error["run"]["remarks"][0].as_str().unwrap().contains("line 1"), "{error}");

    let id = watching.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(watching.child.wait().unwrap().code(), Some(0));
}

#[test]
fn only_this_machine_is_answered_and_a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let watching = Watching::start(folder.path());
    assert!(watching.address.starts_with("127.0.0.1:"));
    assert_eq!(watching.get("/", "elsewhere.example:80").0, 403);
    assert_eq!(watching.get("/no", "127.0.0.1").0, 404);
    let port = watching.address.rsplit(':').next().unwrap();
    run(&["watch", text(folder.path()), "--port", port]).refused(1, &[port, "in use", "--port 0"]);
    run(&["watch", "Cargo.toml"]).refused(1, &["Cargo.toml", "expected the folder"]);
}

#[test]
fn a_run_that_has_not_logged_a_step_is_to_be_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    for name in ["metrics.jsonl", "summary.json"] {
        fs::remove_file(out.join(name)).unwrap();
    }
    fs::remove_dir_all(out.join("checkpoints")).unwrap();
    let page = folder.path().join("page.html");
    run(&["report", text(&out), "--to", text(&page)])
        .refused(1, &["nothing in metrics.jsonl", "vssl watch"]);
}
