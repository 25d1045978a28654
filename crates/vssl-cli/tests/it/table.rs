//! `vssl table` on runs of seconds, and grids of them that fail, are stopped and are killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Done, done, run, vssl};

/// A study in a folder of its own.
struct Study(tempfile::TempDir);

impl Study {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A recipe of few steps on the images that ship.
    fn recipe(&self, name: &str, method: &str, data: &str, steps: u32) -> String {
        let text = format!(
            "method = \"{method}\"\n\
             data = {{ format = \"idx\", path = \"{data}\", limit_train = 64, limit_validation = 32 }}\n\
             backbone = {{ width = 2, stem = \"cifar\" }}\n\
             views = [{{ count = 2, size = 16 }}]\n\
             optimizer = {{ name = \"sgd\", lr = 0.01 }}\n\
             train = {{ batch = 16, epochs = 100, max_steps = {steps} }}\n\
             checkpoint.every_steps = 1\n\
             log.every_steps = 1\n\
             health.every_steps = 1\n\
             evaluation.pixels = false\n\
             [{method}]\nprojector_hidden = 16\npredictor_hidden = 16\ndim = 8\n"
        );
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A grid of these recipes with seed 0.
    fn grid(&self, recipes: &[&String]) -> String {
        let text = format!("recipes = {recipes:?}\nseeds = [0]\nout = {:?}\n", self.path("out"));
        let path = self.path("grid.toml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

const IMAGES: &str = "data/fashion-mnist-tenth";

fn table(done: &Done) -> Value {
    assert_eq!(done.out.lines().count(), 1, "{}", done.out);
    serde_json::from_str(&done.out).unwrap()
}

/// Steps whose line is in the metrics of a run.
fn steps(run: &Path) -> Vec<u64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["kind"] == "step").map(|line| line["step"].as_u64().unwrap()).collect()
}

/// Waits until a run has logged `count` steps.
fn wait_for_steps(run: &Path, count: usize) {
    let began = Instant::now();
    while steps(run).len() < count {
        assert!(began.elapsed() < Duration::from_secs(60), "{} gets nowhere", run.display());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_methods_are_two_rows_with_all_their_figures() {
    let study = Study::new();
    for (method, steps) in [("byol", 3), ("simsiam", 4)] {
        let recipe = study.recipe(&format!("{method}.toml"), method, IMAGES, steps);
        run(&["pretrain", &recipe, "--quiet", "--out", &study.text(&format!("runs/{method}"))])
            .succeeded();
    }
    let runs = study.text("runs");
    let shown = run(&["table", &runs]);
    let text = shown.succeeded();
    for part in
        ["| byol ", "| simsiam ", "| *untrained encoder* ", "**", "train.max_steps is 3 (byol)"]
    {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let json = run(&["table", &runs, "--json"]);
    assert_eq!(json.succeeded(), run(&["table", &runs, "--format", "json"]).succeeded());
    let value = table(&json);
    assert_eq!(value["datasets"][0], "fashion-mnist-tenth");
    for (row, method) in [(0, "byol"), (1, "simsiam")] {
        let summary =
            fs::read_to_string(study.path(&format!("runs/{method}/summary.json"))).unwrap();
        let summary: Value = serde_json::from_str(&summary).unwrap();
        let result = &value["rows"][row]["results"][0];
        for key in ["knn_top1", "linear_top1", "online_top1", "seconds", "images_per_s"] {
            assert_eq!(result[key]["mean"], summary[key], "{key} of {method}");
        }
        assert!(result["effective_rank"]["mean"].as_f64().unwrap() >= 1.0);
    }
    let file = study.text("table.tex");
    run(&["table", &runs, "--format", "latex", "--out", &file]).succeeded();
    assert!(fs::read_to_string(&file).unwrap().starts_with(r"\begin{tabular}"));
    run(&["table", &runs, "--out", &study.text("no/such/table.md")])
        .refused(1, &["no/such/table.md"]);
    run(&["table", &runs, "--json", "--format", "csv"]).refused(2, &["--json", "--format"]);
}

#[test]
fn a_table_of_damaged_runs_alone_fails() {
    let folder = tempfile::tempdir().unwrap();
    let out = super::report::trained(folder.path(), "run", &[]);
    fs::write(out.join("summary.json"), "{").unwrap();
    let table = run(&["table", out.to_str().unwrap()]);
    table.refused(1, &["no run could be compared: 1 run is damaged", "summary.json"]);
    assert!(table.out.contains("damaged"), "it is in the table all the same: {}", table.out);
    let page = folder.path().join("page.html");
    let report = run(&["report", out.to_str().unwrap(), "--to", page.to_str().unwrap()]);
    report.succeeded();
    assert!(report.error.contains("the result is left out"), "{}", report.error);
    assert!(!report.error.contains("remove the file to leave"), "{}", report.error);
}

#[test]
fn folders_without_runs_and_files_that_are_no_grid_are_refused() {
    let study = Study::new();
    run(&["table", "recipes"]).refused(1, &["recipes", "not a run folder"]);
    run(&["table", "no/such"]).refused(1, &["no/such"]);
    fs::write(study.path("grid.toml"), "recipes = [\"a.toml\"]\nruns = 3\n").unwrap();
    run(&["table", "--grid", &study.text("grid.toml")])
        .refused(2, &["grid.toml", "line 2", "runs"]);
    run(&["table", "--grid", "no/such.toml"]).refused(2, &["no/such.toml"]);
}

#[test]
fn a_grid_goes_on_where_a_run_was_killed_and_past_one_that_fails() {
    let study = Study::new();
    let killed = study.recipe("killed.toml", "byol", IMAGES, 40);
    let bad = study.recipe("bad.toml", "byol", "no/such/images", 3);
    let good = study.recipe("good.toml", "simsiam", IMAGES, 3);
    let half_done = study.path("out/killed-0");
    let mut command = vssl(&["pretrain", &killed, "--quiet", "--out"]);
    let mut child = command.arg(&half_done).stdout(Stdio::null()).spawn().unwrap();
    wait_for_steps(&half_done, 3);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert!(!half_done.join("summary.json").exists(), "it was done before it was killed");

    let grid = study.grid(&[&killed, &bad, &good]);
    let first = run(&["table", "--grid", &grid]);
    assert_eq!(first.code, Some(1), "{}{}", first.out, first.error);
    for part in
        ["1/3 killed-0 goes on", "no/such/images", "3/3 good-0 begins", "1 of 3 runs failed: bad-0"]
    {
        assert!(first.error.contains(part), "{part:?} is not in\n{}", first.error);
    }
    for part in ["| byol ", "| simsiam ", "bad-0 (seed 0): failed: data.path"] {
        assert!(first.out.contains(part), "{part:?} is not in\n{}", first.out);
    }
    assert_eq!(steps(&half_done), (1..=40).collect::<Vec<_>>(), "each step once");
    let record = fs::read_to_string(study.path("out/grid.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let states: Vec<_> = record["cells"].as_array().unwrap().iter().map(|c| &c["state"]).collect();
    assert_eq!(states, ["finished", "failed", "finished"]);

    study.recipe("bad.toml", "byol", IMAGES, 3);
    let before = fs::read(half_done.join("log.txt")).unwrap();
    let second = run(&["table", "--grid", &grid, "--json"]);
    second.succeeded();
    assert_eq!(
        table(&second)["rows"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|r| r["reference"] == false)
            .count(),
        3
    );
    assert_eq!(
        fs::read(half_done.join("log.txt")).unwrap(),
        before,
        "a finished run is left alone"
    );

    study.recipe("good.toml", "simsiam", IMAGES, 5);
    let third = run(&["table", "--grid", &grid, "--quiet"]);
    third.refused(1, &["good-0"]);
    assert!(third.out.contains("train.max_steps: 3 -> 5"), "{}", third.out);
    assert!(!third.out.contains("| simsiam"), "figures of another recipe\n{}", third.out);
}

/// A file-size limit stands in for a full disk.
#[test]
fn a_cell_with_an_adapted_batch_is_finished_when_the_grid_is_given_again() {
    let study = Study::new();
    let recipe = study.recipe("a.toml", "byol", IMAGES, 1);
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, text.replace("batch = 16, ", "")).unwrap();
    let grid = study.grid(&[&recipe]);
    let first = run(&["table", "--grid", &grid]);
    assert_eq!(first.code, Some(0), "{}", first.error);
    let again = run(&["table", "--grid", &grid]);
    assert_eq!(again.code, Some(0), "{}", again.error);
    assert!(again.error.contains("is finished already"), "{}", again.error);
}

#[test]
fn a_table_that_cannot_be_written_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = super::report::trained(folder.path(), "run", &[]);
    let table = folder.path().join("table.md");
    std::fs::write(&table, "the old table").unwrap();
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "bash"]);
    command.args([env!("CARGO_BIN_EXE_vssl"), "table", "--out"]).arg(&table).arg(&out);
    done(command.output().unwrap()).refused(1, &["writing the table", "table.md"]);
    assert_eq!(std::fs::read_to_string(&table).unwrap(), "the old table");
}

#[cfg(unix)]
#[test]
fn a_grid_that_is_stopped_or_killed_goes_on() {
    let study = Study::new();
    let recipes =
        [study.recipe("a.toml", "byol", IMAGES, 60), study.recipe("b.toml", "simsiam", IMAGES, 3)];
    let grid = study.grid(&recipes.each_ref());
    let run_folder = study.path("out/a-0");
    let start = || -> Command {
        let mut command = vssl(&["table", "--grid", &grid]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let stopped = start().spawn().unwrap();
    wait_for_steps(&run_folder, 3);
    let id = stopped.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let stopped = done(stopped.wait_with_output().unwrap());
    assert_eq!(stopped.code, Some(130), "{}", stopped.error);
    assert!(stopped.out.contains("interrupted: stopped on request after step"), "{}", stopped.out);
    assert!(
        stopped.error.contains("the same command does the 2 runs that are left"),
        "{}",
        stopped.error
    );
    assert!(stopped.out.contains("b-0 (seed 0): unfinished: not begun yet"), "{}", stopped.out);

    let reached = steps(&run_folder).len();
    let mut killed = start().spawn().unwrap();
    wait_for_steps(&run_folder, reached + 3);
    killed.kill().unwrap(); // SIGKILL: the run that it started ends by itself
    killed.wait().unwrap();
    let last = done(start().output().unwrap());
    assert_eq!(last.code, Some(0), "{}{}", last.out, last.error);
    assert!(last.out.contains("| byol ") && last.out.contains("| simsiam "), "{}", last.out);
    assert_eq!(steps(&run_folder), (1..=60).collect::<Vec<_>>(), "each step once");
}

#[test]
fn one_run_folder_has_one_process() {
    let study = Study::new();
    let recipe = study.recipe("a.toml", "byol", IMAGES, 4000);
    let run_folder = study.path("run");
    let mut command = vssl(&["pretrain", &recipe, "--quiet", "--out"]);
    let mut child = command.arg(&run_folder).stdout(Stdio::null()).spawn().unwrap();
    wait_for_steps(&run_folder, 2);
    let resumed = run(&["pretrain", "--resume", run_folder.to_str().unwrap()]);
    let replaced = run(&["pretrain", &recipe, "--force", "--out", run_folder.to_str().unwrap()]);
    child.kill().unwrap();
    child.wait().unwrap();
    resumed.refused(1, &["another process"]);
    replaced.refused(1, &["another process"]);
}
