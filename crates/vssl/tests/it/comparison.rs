//! Tables of runs that were never trained: the folders are written by the tests.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use vssl::comparison::{Comparison, ComparisonError, Format, NoteKind, State};

/// A run folder in the making.
pub(super) struct Made {
    folder: PathBuf,
    method: String,
    seed: u64,
    settings: String,
    summary: Value,
}

impl Made {
    pub(super) fn new(root: &TempDir, name: &str, method: &str, seed: u64) -> Self {
        let summary = json!({
            "method": method, "seed": seed, "steps": 100, "interrupted": false, "seconds": 60.0,
            "images_per_s": 400.0, "peak_rss_mib": null, "commit": null, "version": "0.1.0",
            "replaced_images": 0, "knn_top1": null, "linear_top1": null, "online_top1": null,
            "untrained_knn_top1": null, "untrained_linear_top1": null, "pixels_knn_top1": null,
            "notes": [], "run": name,
        });
        let settings = "data.format = \"cifar10\"\ntrain.batch = 128\n".to_owned();
        Self { folder: root.path().join(name), method: method.to_owned(), seed, settings, summary }
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.summary[key] = value.into();
        self
    }

    fn accuracies(self, knn: f64, linear: f64, online: f64) -> Self {
        self.with("knn_top1", knn).with("linear_top1", linear).with("online_top1", online)
    }

    pub(super) fn untrained(self, knn: f64, linear: f64) -> Self {
        self.with("untrained_knn_top1", knn).with("untrained_linear_top1", linear)
    }

    /// Replaces the settings, which are TOML.
    pub(super) fn settings(mut self, settings: &str) -> Self {
        self.settings = settings.to_owned();
        self
    }

    fn unfinished(self) -> PathBuf {
        fs::create_dir_all(&self.folder).unwrap();
        let Self { method, seed, settings, .. } = &self;
        let recipe = format!("method = \"{method}\"\nseed = {seed}\n{settings}");
        fs::write(self.folder.join("recipe.toml"), recipe).unwrap();
        // The last line is cut short, as a kill leaves it.
        let line = |step: u64, rank: Option<f64>| {
            let health = json!({ "effective_rank": rank });
            format!("{}\n", json!({ "kind": "step", "step": step, "epoch": 0, "health": health }))
        };
        let whole = [(50, Some(9.0)), (90, Some(12.5)), (100, None)];
        let mut metrics: String = whole.map(|(step, rank)| line(step, rank)).concat();
        metrics.push_str("{\"kind\":\"st");
        fs::write(self.folder.join("metrics.jsonl"), metrics).unwrap();
        self.folder.clone()
    }

    pub(super) fn finished(self) -> PathBuf {
        let text = self.summary.to_string();
        let folder = self.unfinished();
        fs::write(folder.join("summary.json"), text).unwrap();
        folder
    }
}

pub(super) fn root() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(super) fn compare(root: &TempDir) -> Comparison {
    Comparison::of(&[root.path().to_owned()]).unwrap()
}

/// The text without the folder that the tests write to.
pub(super) fn shown(root: &TempDir, format: Format) -> String {
    compare(root).write(format).replace(&format!("{}/", root.path().display()), "")
}

#[test]
fn a_run_that_was_trained_longer_is_not_taken_for_one_long_run_in_silence() {
    let root = root();
    Made::new(&root, "a", "byol", 0).accuracies(70.0, 80.0, 75.0).finished();
    let note = "train.epochs = 4 instead of train.epochs = 2 since step 9: …, and the result is not that of \
                one training of train.epochs = 4";
    let notes = json!([note, "the images have no labels"]);
    Made::new(&root, "b", "byol", 1).accuracies(72.0, 80.0, 75.0).with("notes", notes).finished();
    let found = compare(&root).notes;
    let found: Vec<_> = found.iter().filter(|note| note.kind == NoteKind::Course).collect();
    assert_eq!(found.len(), 1);
    assert!(found[0].text.ends_with(&format!("b: {note}")), "{}", found[0].text);
    assert!(shown(&root, Format::Markdown).contains("not that of one training"));
}

/// Two methods with two seeds, one with one, a tie, a run that was stopped and one that was killed.
fn study() -> TempDir {
    let root = root();
    Made::new(&root, "byol-0", "byol", 0)
        .accuracies(70.0, 80.0, 75.5)
        .untrained(30.0, 40.0)
        .finished();
    Made::new(&root, "deep/down/byol-1", "byol", 1)
        .accuracies(72.0, 81.0, 76.5)
        .untrained(32.0, 41.0)
        .finished();
    Made::new(&root, "barlow-0", "barlow", 0)
        .accuracies(71.0, 70.0, 60.0)
        .untrained(30.0, 40.0)
        .finished();
    Made::new(&root, "simsiam-0", "simsiam", 0).accuracies(65.0, 79.0, 50.0).finished();
    Made::new(&root, "vssl-0", "vssl", 0).accuracies(60.0, 75.0, 40.0).finished();
    Made::new(&root, "vssl-1", "vssl", 1).with("interrupted", true).finished();
    Made::new(&root, "vssl-2", "vssl", 2).unfinished();
    root
}

#[test]
fn markdown_has_a_padded_row_for_each_method_and_lists_what_is_not_finished() {
    let expected = "\
| method              |            kNN % |         linear % |         online % |  eff. rank |    seconds |    images/s | seeds |
| ------------------- | ---------------: | ---------------: | ---------------: | ---------: | ---------: | ----------: | ----: |
| barlow              |        **71.00** |            70.00 |     <u>60.00</u> |       12.5 |       60.0 |       400.0 |     1 |
| byol                | **71.00 ± 1.41** | **80.50 ± 0.71** | **76.00 ± 0.71** | 12.5 ± 0.0 | 60.0 ± 0.0 | 400.0 ± 0.0 |     2 |
| simsiam             |     <u>65.00</u> |     <u>79.00</u> |     <u>50.00</u> |       12.5 |       60.0 |       400.0 |     1 |
| vssl                |            60.00 |     <u>75.00</u> |            40.00 |       12.5 |       60.0 |       400.0 |     1 |
| *untrained encoder* |     31.00 ± 1.41 |     40.50 ± 0.71 |                - |          - |          - |           - |     2 |

Not in the table:

- vssl-1 (vssl, seed 1): interrupted: stopped on request after step 100
- vssl-2 (vssl, seed 2): unfinished: no summary.json: it is running or was killed; its last logged step is 100
";
    assert_eq!(shown(&study(), Format::Markdown), expected);
}

#[test]
fn csv_has_means_and_deviations_apart_and_unrounded() {
    let expected = "\
dataset,method,state,seeds,knn_top1,knn_top1_std,linear_top1,linear_top1_std,online_top1,online_top1_std,offline_top1,offline_top1_std,effective_rank,effective_rank_std,seconds,seconds_std,images_per_s,images_per_s_std,reason
cifar10,barlow,finished,1,71,,70,,60,,,,12.5,,60,,400,,
cifar10,byol,finished,2,71,1.4142135623730951,80.5,0.7071067811865476,76,0.7071067811865476,,,12.5,0,60,0,400,0,
cifar10,simsiam,finished,1,65,,79,,50,,,,12.5,,60,,400,,
cifar10,vssl,finished,1,60,,75,,40,,,,12.5,,60,,400,,
cifar10,untrained encoder,reference,2,31,1.4142135623730951,40.5,0.7071067811865476,,,,,,,,,,,
,vssl,interrupted,,,,,,,,,,,,,,,,vssl-1: stopped on request after step 100
,vssl,unfinished,,,,,,,,,,,,,,,,vssl-2: no summary.json: it is running or was killed; its last logged step is 100
";
    assert_eq!(shown(&study(), Format::Csv), expected);
}

#[test]
fn latex_is_a_tabular_with_the_rest_as_comments() {
    let expected = r"\begin{tabular}{lrrrrrrr}
\toprule
method & kNN \% & linear \% & online \% & eff. rank & seconds & images/s & seeds \\
\midrule
barlow & \textbf{71.00} & 70.00 & \underline{60.00} & 12.5 & 60.0 & 400.0 & 1 \\
byol & \textbf{71.00 $\pm$ 1.41} & \textbf{80.50 $\pm$ 0.71} & \textbf{76.00 $\pm$ 0.71} & 12.5 $\pm$ 0.0 & 60.0 $\pm$ 0.0 & 400.0 $\pm$ 0.0 & 2 \\
simsiam & \underline{65.00} & \underline{79.00} & \underline{50.00} & 12.5 & 60.0 & 400.0 & 1 \\
vssl & 60.00 & \underline{75.00} & 40.00 & 12.5 & 60.0 & 400.0 & 1 \\
\midrule
untrained encoder & 31.00 $\pm$ 1.41 & 40.50 $\pm$ 0.71 & - & - & - & - & 2 \\
\bottomrule
\end{tabular}
% not in the table: vssl-1 (vssl, seed 1): interrupted: stopped on request after step 100
% not in the table: vssl-2 (vssl, seed 2): unfinished: no summary.json: it is running or was killed; its last logged step is 100
";
    assert_eq!(shown(&study(), Format::Latex), expected);
}

#[test]
fn html_is_a_page_with_the_same_cells() {
    let page = shown(&study(), Format::Html);
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{page}");
    for part in [
        "<tr><th>byol</th><td><b>71.00 ± 1.41</b></td><td><b>80.50 ± 0.71</b></td>",
        "<tr><th>simsiam</th><td><u>65.00</u></td><td><u>79.00</u></td>",
        "<tr class=\"reference\"><th>untrained encoder</th><td>31.00 ± 1.41</td>",
        "<li>vssl-1 (vssl, seed 1): interrupted: stopped on request after step 100</li>",
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    assert_eq!(page.matches("<tr").count(), 6);
}

#[test]
fn json_holds_all_that_the_table_is_made_of() {
    let text = shown(&study(), Format::Json);
    assert_eq!(text.lines().count(), 1);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["datasets"], json!(["cifar10"]));
    let byol = &value["rows"][1]["results"][0];
    assert_eq!(value["rows"][1]["name"], "byol");
    assert_eq!(byol["seeds"], json!([0, 1]));
    assert_eq!(byol["runs"], json!(["byol-0", "deep/down/byol-1"]));
    let knn = json!({ "mean": 71.0, "std": 2.0_f64.sqrt(), "count": 2, "place": 1 });
    assert_eq!(byol["knn_top1"], knn);
    assert_eq!(value["rows"][4]["reference"], true);
    assert_eq!(value["rows"][4]["results"][0]["online_top1"], Value::Null);
    let states: Vec<&Value> =
        value["left_out"].as_array().unwrap().iter().map(|run| &run["state"]).collect();
    assert_eq!(states, ["interrupted", "unfinished"]);
}

#[test]
fn rows_that_are_written_the_same_share_a_place() {
    let root = root();
    for (method, knn) in [("a", 50.001), ("b", 50.004), ("c", 49.0), ("d", 49.0), ("e", 48.0)] {
        Made::new(&root, method, method, 0).with("knn_top1", knn).finished();
    }
    let table = shown(&root, Format::Markdown);
    for cell in ["**50.00**", "<u>49.00</u>"] {
        assert_eq!(table.matches(cell).count(), 2, "{table}");
    }
    assert!(table.contains(" 48.00 |") && !table.contains("untrained"), "{table}");
}

#[test]
fn without_labels_there_are_dashes_and_a_figure_of_some_seeds_is_noted() {
    let root = root();
    Made::new(&root, "a", "byol", 0).with("knn_top1", 40.0).finished();
    Made::new(&root, "b", "byol", 1).finished();
    Made::new(&root, "c", "vssl", 0).finished();
    let comparison = compare(&root);
    let knn = |row: usize| {
        let figures = &comparison.rows[row].results[0].figures;
        figures["knn_top1"].map(|knn| (knn.figure.mean, knn.figure.std, knn.figure.count))
    };
    assert_eq!((knn(0), knn(1)), (Some((40.0, None, 1)), None));
    let notes: Vec<&str> = comparison.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(notes, ["byol: kNN % is of 1 of 2 seeds", "1 of 2 rows have no kNN %: vssl"]);
    let table = comparison.write(Format::Markdown);
    let line = table.lines().find(|line| line.starts_with("| vssl")).unwrap();
    assert_eq!(line.matches(" - |").count(), 3, "{line}");
}

#[test]
fn other_settings_of_a_method_are_other_rows_and_other_optimisers_no_other_budget() {
    let root = root();
    for (index, rate) in ["0.5", "0.1", "10.0"].into_iter().enumerate() {
        let settings =
            format!("data.format = \"cifar10\"\noptimizer.lr = {rate}\nlog.every_steps = {index}");
        Made::new(&root, rate, "byol", 0).settings(&settings).finished();
    }
    let comparison = compare(&root);
    let names: Vec<&str> = comparison.rows.iter().map(|row| row.name.as_str()).collect();
    let expected = ["0.1", "0.5", "10.0"].map(|rate| format!("byol (optimizer.lr = {rate})"));
    assert_eq!(names, expected);
    assert!(comparison.notes.is_empty(), "{:?}", comparison.notes);
}

#[test]
fn many_other_settings_become_a_number_with_a_note() {
    let root = root();
    let settings = ["[byol]\na = 1\nb = 1\nc = 1", "[byol]\na = 2\nb = 2\nc = 2"];
    for (index, settings) in settings.into_iter().enumerate() {
        Made::new(&root, &index.to_string(), "byol", 0).settings(settings).finished();
    }
    let comparison = compare(&root);
    assert_eq!(comparison.rows[1].name, "byol [2]");
    let texts: Vec<&str> = comparison.notes.iter().map(|note| note.text.as_str()).collect();
    let expected = [
        "byol [1]: byol.a = 1, byol.b = 1, byol.c = 1",
        "byol [2]: byol.a = 2, byol.b = 2, byol.c = 2",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn other_budgets_are_noted_with_the_keys_and_the_rows() {
    let root = root();
    let view = "[[views]]\ncount = 1\nsize = 24\nflip = 0.5\n";
    let cases = [("byol", 128, format!("{view}{view}")), ("vssl", 256, view.to_owned())];
    for (method, batch, views) in cases {
        let settings = format!(
            "train.batch = {batch}\nbackbone.width = 16\nschedule.min = 0.{batch}\n{views}"
        );
        Made::new(&root, method, method, 0).settings(&settings).finished();
    }
    let comparison = compare(&root);
    assert_eq!(comparison.notes.len(), 1, "{:?}", comparison.notes);
    let note = &comparison.notes[0];
    assert_eq!(
        (note.kind, note.keys.as_slice()),
        (NoteKind::Budget, &["train.batch".to_owned(), "views.1".to_owned()][..])
    );
    let expected = "the budgets differ: train.batch is 128 (byol) or 256 (vssl); \
                    views.1 is not set (vssl) or set (byol)";
    assert_eq!(note.text, expected);
}

#[test]
fn datasets_are_groups_of_columns_with_places_of_their_own() {
    let root = root();
    for (name, method, data, knn) in [
        (
            "a",
            "byol",
            "data = { format = \"cifar10\", path = \"x/cifar10\" }\nbackbone.width = 8",
            70.0,
        ),
        (
            "b",
            "byol",
            "data = { format = \"folder\", path = \"/d/my_birds\" }\nbackbone.width = 64",
            20.0,
        ),
        (
            "c",
            "vssl",
            "data = { format = \"cifar10\", path = \"/y/cifar10\" }\nbackbone.width = 8",
            60.0,
        ),
    ] {
        Made::new(&root, name, method, 0).settings(data).with("knn_top1", knn).finished();
    }
    let comparison = compare(&root);
    assert_eq!(comparison.datasets, ["cifar10", "my_birds"]);
    assert_eq!(comparison.rows.len(), 2, "one row a method");
    assert!(comparison.notes.is_empty(), "{:?}", comparison.notes);
    let latex = comparison.write(Format::Latex);
    for part in [r"\multicolumn{7}{c}{my\_birds}", r"\cmidrule(lr){2-8}\cmidrule(lr){9-15}"] {
        assert!(latex.contains(part), "{latex}");
    }
    let markdown = comparison.write(Format::Markdown);
    assert!(markdown.contains("| cifar10: kNN % |") && markdown.contains("| my_birds: kNN % |"));
    assert_eq!(
        (markdown.matches("**20.00**").count(), markdown.matches("**70.00**").count()),
        (1, 1)
    );
    assert!(comparison.write(Format::Html).contains("<th colspan=\"7\">my_birds</th>"));
}

#[test]
fn the_same_recipe_and_seed_twice_are_no_second_sample() {
    let root = root();
    let first = Made::new(&root, "a", "byol", 0).with("knn_top1", 1.0).finished();
    Made::new(&root, "b", "byol", 0).with("knn_top1", 3.0).finished();
    let comparison = Comparison::of(&[root.path().to_owned(), first]).unwrap();
    assert_eq!(comparison.rows[0].results[0].figures["knn_top1"].unwrap().figure.count, 1);
    assert_eq!(comparison.left_out.len(), 1, "a folder that is given twice is read once");
    assert_eq!(comparison.left_out[0].state, State::Repeated);
    assert!(comparison.left_out[0].reason.ends_with("/a"), "the first of two alike stays");
}

#[test]
fn of_the_same_recipe_and_seed_the_run_with_more_evaluators_stays_wherever_it_lies() {
    let settings =
        |names: &str| format!("data.format = \"cifar10\"\nevaluation.evaluators = [{names}]");
    let poor = |root: &TempDir, name: &str| {
        let made = Made::new(root, name, "byol", 0).settings(&settings("\"knn\""));
        made.with("knn_top1", 70.0).with("linear_top1", 80.0).finished()
    };
    let rich = |root: &TempDir, name: &str| {
        let made = Made::new(root, name, "byol", 0).settings(&settings("\"knn\", \"quality\""));
        made.with("knn_top1", 70.0).with("rankme", 99.0).with("alpha_req", 1.5).finished()
    };
    for (poor_name, rich_name) in [("a", "b"), ("b", "a")] {
        let root = root();
        let (left, kept) = (poor(&root, poor_name), rich(&root, rich_name));
        Made::new(&root, "c", "vssl", 0).with("knn_top1", 60.0).finished();
        let comparison = compare(&root);
        let entry = &comparison.rows[0].results[0];
        assert_eq!(entry.runs, std::slice::from_ref(&kept));
        assert_eq!(entry.figures["rankme"].unwrap().figure.mean, 99.0);
        let [only] = comparison.left_out.as_slice() else { panic!("{:?}", comparison.left_out) };
        assert_eq!((&only.run, only.state), (&left, State::Repeated));
        assert!(only.reason.ends_with("; its linear_top1 is in no row"), "{}", only.reason);
        // The other method has no such figures: dashes, which are counted.
        let markdown = comparison.write(Format::Markdown);
        let line = markdown.lines().find(|line| line.starts_with("| vssl")).unwrap();
        assert!(line.contains(" - |"), "{line}");
        assert!(markdown.contains("1 of 2 rows have no RankMe: vssl"), "{markdown}");
    }
}

#[test]
fn damaged_files_are_listed_and_the_other_runs_compared() {
    let root = root();
    Made::new(&root, "good", "byol", 0).finished();
    let cut = Made::new(&root, "cut", "byol", 1).finished();
    fs::write(cut.join("summary.json"), "{\"method\":").unwrap();
    let edited = Made::new(&root, "edited", "byol", 2).with("seed", 7).finished();
    let torn = Made::new(&root, "torn", "byol", 3).finished();
    fs::write(torn.join("recipe.toml"), "method = \"by").unwrap();
    let comparison = compare(&root);
    assert_eq!(comparison.rows[0].results[0].seeds, [0]);
    let told: Vec<_> = comparison.left_out.iter().map(|run| (&run.run, run.state)).collect();
    assert_eq!(told, [&cut, &edited, &torn].map(|run| (run, State::Damaged)));
    let reasons: Vec<_> = comparison.left_out.iter().map(|run| run.reason.as_str()).collect();
    assert!(
        reasons[0].contains("summary.json: EOF") && reasons[1].contains("seed 7"),
        "{reasons:?}"
    );
}

#[test]
fn what_is_no_run_is_refused() {
    let root = root();
    let empty = root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    Made::new(&root, "good", "byol", 0).finished();
    let error = Comparison::of(&[root.path().join("good"), empty.clone()]).unwrap_err();
    assert!(matches!(&error, ComparisonError::NoRun { path } if *path == empty), "{error}");
    let error = Comparison::of(&[root.path().join("none")]).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
    let file = root.path().join("good/recipe.toml");
    assert!(matches!(Comparison::of(&[file]), Err(ComparisonError::NoRun { .. })));
}

#[cfg(unix)]
#[test]
fn links_that_lead_in_a_circle_end() {
    let root = root();
    Made::new(&root, "good", "byol", 0).finished();
    std::os::unix::fs::symlink(root.path(), root.path().join("again")).unwrap();
    assert_eq!(compare(&root).rows.len(), 1);
}

/// Runs that continue from encoders of an experiment, each from that of its seed.
#[test]
fn runs_that_start_from_one_encoder_of_several_seeds_are_a_row_that_names_it() {
    let root = root();
    let start = |index: u64, name: &str, seed: u64, from: &str| {
        let digest = format!("{name}{from}");
        let settings = format!(
            "data.format = \"cifar10\"\n[init]\nfrom = \"{}/{from}\"\ndigest = \"{digest}\"\n\
             checkpoint = \"step-100\"\n",
            root.path().display()
        );
        let init =
            json!({ "from": from, "network": "student", "digest": digest, "freeze_epochs": 0 });
        Made::new(&root, &format!("{index}"), "byol", seed)
            .settings(&settings)
            .accuracies(70.0 + seed as f64, 80.0, 75.0)
            .with("before_knn_top1", 60.0 + seed as f64)
            .with("init", init)
            .finished();
    };
    Made::new(&root, "first-5", "vicreg", 5).accuracies(50.0, 50.0, 50.0).finished();
    // The folder of the first is there and has this seed, the others are gone.
    start(0, "a", 0, "first-5");
    start(1, "a", 1, "first-1");
    start(2, "a", 2, "resnet-18");
    Made::new(&root, "plain", "byol", 0).accuracies(40.0, 40.0, 40.0).finished();
    let comparison = compare(&root);
    let names: Vec<&str> = comparison.rows.iter().map(|row| row.name.as_str()).collect();
    let expected = [
        "byol",
        "byol from first",
        "byol from resnet-18",
        "vicreg",
        "encoder before, first",
        "encoder before, resnet-18",
    ];
    assert_eq!(names, expected);
    let entry = &comparison.rows[1].results[0];
    assert_eq!(entry.seeds, [0, 1]);
    assert_eq!(comparison.rows[1].method, "byol");
    assert_eq!(comparison.rows[4].results[0].seeds, [0, 1], "other encoders, so a spread");
    assert!(comparison.rows[5].results[0].seeds.is_empty(), "one encoder");
    assert!(comparison.left_out.is_empty(), "{:?}", comparison.left_out);
}
