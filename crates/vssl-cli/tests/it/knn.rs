//! `vssl knn`: a grid over the features of a run or of a file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use vssl::{
    eval::{knn::grid, neighbours::Distance},
    features::Features,
};

use super::{report::trained, run};

/// Features of a file, row by row, and a class for each row.
fn table_of(folder: &Path, name: &str, rows: &[[f32; 2]]) -> PathBuf {
    let at = folder.join(name);
    let lines = rows.iter().enumerate().map(|(row, [x, y])| format!("{x},{y},{}\n", row % 2));
    let lines: Vec<String> = lines.collect();
    fs::write(&at, format!("feature_0,feature_1,label\n{}", lines.concat())).unwrap();
    at
}

#[test]
fn numbers_of_neighbours_that_are_asked_for_and_not_there_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let good = table_of(folder.path(), "good.csv", &[[1.0, 2.0], [2.0, 1.0], [3.0, -1.0]]);
    let more = table_of(folder.path(), "more.csv", &[[1.0, 5.0], [2.0, 1.0]]);
    let [features, queries] = [&good, &more].map(|path| path.to_str().unwrap());
    let command = ["knn", "--features", features, "--queries", queries];
    let default = run(&command);
    let asked = run(&[&command[..], &["--k", "1,5,10,20,50,100,200"]].concat());
    assert_eq!(default.succeeded(), asked.succeeded());
    assert_eq!(default.error, "");
    assert!(asked.error.contains("--k 200: only 3 images"), "{}", asked.error);
}

#[test]
fn features_that_say_nothing_are_warned_of_with_their_number() {
    let folder = tempfile::tempdir().unwrap();
    let good = table_of(folder.path(), "good.csv", &[[1.0, 2.0], [2.0, 1.0], [3.0, -1.0]]);
    let more = table_of(folder.path(), "more.csv", &[[1.0, 5.0], [2.0, 1.0]]);
    let some = table_of(folder.path(), "some.csv", &[[0.0, 0.0], [2.0, 1.0], [0.0, 0.0]]);
    let all = table_of(folder.path(), "all.csv", &[[0.5, 0.25]; 4]);
    let said = |features: &Path, queries: &Path| {
        let [features, queries] = [features, queries].map(|path| path.to_str().unwrap());
        let done = run(&["knn", "--features", features, "--queries", queries, "--k", "1"]);
        done.succeeded();
        done.error
    };
    assert_eq!(said(&good, &more), "");
    let error = said(&some, &good);
    let expected = "warning: training features: 2 of 3 rows are zero in every entry";
    assert!(error.contains(expected), "{error}");
    let error = said(&good, &all);
    assert!(error.contains("warning: features to classify: all 4 rows are equal"), "{error}");
}

#[test]
fn the_grid_holds_the_accuracy_that_the_run_ended_with() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let summary = fs::read_to_string(out.join("summary.json")).unwrap();
    let out = out.to_str().unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let done = run(&["knn", out, "--k", "1,20", "--temperature", "0.07,1", "--json"]);
    let cells = cells(done.succeeded());
    // Two of k for two temperatures of the cosine, and for the Euclidean distance.
    assert_eq!(cells.len(), 6);
    let asked = |cell: &&Value| cell["k"] == 20 && cell["temperature"] == 0.07;
    let found = cells.iter().find(asked).unwrap();
    assert_eq!(found["top1"], summary["knn_top1"]);
    assert_eq!((&found["train"], &found["test"]), (&64.into(), &40.into()));

    // The exported file knows the encoder and its input, not the images.
    let file = folder.path().join("encoder.safetensors");
    let file = file.to_str().unwrap();
    run(&["export", out, "--to", file]).succeeded();
    run(&["knn", file]).refused(2, &["--images"]);
    let quiet = ["knn", file, "--images", "data/fashion-mnist-tenth", "--k", "20", "--quiet"];
    let best: f64 = run(&quiet).succeeded().trim().parse().unwrap();
    assert!((0.0..=100.0).contains(&best), "{best}");
}

#[test]
fn what_cannot_be_searched_is_named() {
    run(&["knn", "no/such/run"]).refused(1, &["no/such/run"]);
    run(&["knn", "recipes", "--k", "0"]).refused(2, &["--k"]);
}

/// Noise around seven centres.
fn features(rows: usize, salt: usize) -> Features {
    const DIM: usize = 6;
    let number = |i: usize, salt: usize| {
        let x = ((i << 8 | salt) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ x >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let value = |i: usize| number(i, salt) + number(i % (7 * DIM), 0);
    let values = (0..rows * DIM).map(value).collect();
    let labels = (0..rows).map(|row| (row % 7) as i64).collect();
    Features { rows, dim: DIM, values, labels: Some(labels) }
}

fn npy(path: &Path, kind: &str, shape: &str, values: &[u8]) -> String {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values);
    fs::write(path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The rows as single precision, and their labels.
fn stored(folder: &Path, name: &str, features: &Features) -> [String; 2] {
    let (rows, dim) = (features.rows, features.dim);
    let values: Vec<u8> = features.values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let labels = features.labels.as_ref().unwrap();
    let labels: Vec<u8> = labels.iter().flat_map(|x| x.to_le_bytes()).collect();
    let at = |part: &str| folder.join(format!("{name}-{part}.npy"));
    [
        npy(&at("x"), "<f4", &format!("({rows}, {dim})"), &values),
        npy(&at("y"), "<i8", &format!("({rows},)"), &labels),
    ]
}

fn cells(out: &str) -> Vec<Value> {
    let lines = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == "knn").collect()
}

/// What the best cell says of each class.
fn report(out: &str) -> Value {
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "classes");
    last["report"].clone()
}

#[test]
fn what_embed_writes_knn_reads_with_its_labels_and_the_names_of_its_classes() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let out = out.to_str().unwrap();
    let few = ["--k", "1,5", "--temperature", "0.07", "--json"];
    let expected = run(&[&["knn", out], &few[..]].concat());
    let report_of_run = report(expected.succeeded());
    assert_eq!(report_of_run["per_class"][0]["class"], "T-shirt/top");
    for form in ["parquet", "csv", "npy", "safetensors"] {
        let files = ["train", "validation"].map(|split| {
            let file = folder.path().join(format!("{split}.{form}"));
            let file = file.to_str().unwrap().to_owned();
            run(&["embed", out, "--split", split, "--to", &file, "--features-only"]).succeeded();
            file
        });
        let [features, queries] = &files;
        let stored = ["knn", "--features", features, "--queries", queries];
        let got = run(&[&stored[..], &few].concat());
        assert_eq!(got.succeeded(), expected.out, "{form}");
    }
    // The labels of another file go before those inside.
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mixed = ["knn", "--features", &at("train.parquet"), "--queries", &at("validation.csv")];
    let labels =
        ["--labels", &at("train.labels.npy"), "--query-labels", &at("validation.labels.npy")];
    let got = run(&[&mixed[..], &labels, &few].concat());
    assert_eq!(got.succeeded(), expected.out);
    let text = fs::read_to_string(at("train.csv")).unwrap().replacen("T-shirt/top", "Shirt", 999);
    fs::write(at("other.csv"), text).unwrap();
    let other = ["knn", "--features", &at("other.csv"), "--queries", &at("validation.csv")];
    run(&other).refused(1, &["class 0 is \"Shirt\"", "\"T-shirt/top\"", "same classes"]);
    fs::write(at("bad.csv"), "image,label,feature_0\n0,1,0.5\n1,1,x\n").unwrap();
    let bad = ["knn", "--features", &at("bad.csv"), "--queries", &at("bad.csv")];
    run(&bad).refused(1, &["bad.csv: line 3, column \"feature_0\": got \"x\"", "a finite number"]);
    fs::write(at("a.txt"), "").unwrap();
    let unknown = ["knn", "--features", &at("a.txt"), "--queries", &at("a.txt")];
    run(&unknown).refused(1, &["a.txt", "*.parquet, *.csv"]);
}

#[test]
fn the_best_cell_is_told_by_class() {
    let folder = tempfile::tempdir().unwrap();
    let (mut train, test) = (features(700, 1), features(210, 2));
    // The last class is unknown to the training rows.
    let labels = train.labels.as_mut().unwrap();
    labels.iter_mut().filter(|label| **label == 6).for_each(|label| *label = 5);
    let [x, y] = stored(folder.path(), "train", &train);
    let [queries, targets] = stored(folder.path(), "test", &test);
    let confusion = folder.path().join("confusion.csv");
    let confusion = confusion.to_str().unwrap();
    let files = ["--features", &x, "--labels", &y, "--queries", &queries];
    let more = ["--query-labels", &targets, "--k", "5", "--distance", "cosine"];
    let command = [&["knn"][..], &files, &more, &["--temperature", "0.1"]].concat();
    let done = run(&[&command[..], &["--json", "--confusion", confusion]].concat());
    let (cell, report) = (&cells(done.succeeded())[0], report(&done.out));
    let classes = report["per_class"].as_array().unwrap();
    assert_eq!((classes.len(), &classes[6]["right"]), (7, &0.into()));
    let shares = classes.iter().map(|class| class["top1"].as_f64().unwrap());
    let mean = shares.sum::<f64>() / 7.0;
    assert!((cell["balanced_top1"].as_f64().unwrap() - mean).abs() < 1e-9, "{cell} {mean}");
    assert_eq!(report["top1"], cell["top1"]);
    let matrix = report["matrix"].as_array().unwrap();
    let row = |at: usize| matrix[at].as_array().unwrap().iter().map(|n| n.as_u64().unwrap());
    assert!((0..7).all(|class| row(class).sum::<u64>() == 30), "{matrix:?}");
    let text = fs::read_to_string(confusion).unwrap();
    let counts = text.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse::<u64>());
    assert_eq!(counts.map(Result::unwrap).sum::<u64>(), 210);
    let words = run(&command);
    for part in ["balanced", "lowest accuracy: 6 0.00 %", "confused most often: 6 taken for"] {
        assert!(words.succeeded().contains(part), "{part:?} is not in {}", words.out);
    }
}

#[test]
fn stored_features_give_the_grid_of_the_same_rows_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (train, test) = (features(1500, 1), features(700, 2));
    let [x, y] = stored(folder.path(), "train", &train);
    let [queries, targets] = stored(folder.path(), "test", &test);
    let files = [
        "knn",
        "--features",
        &x,
        "--labels",
        &y,
        "--queries",
        &queries,
        "--query-labels",
        &targets,
    ];
    let small = ["--k", "1,20", "--temperature", "0.07,1", "--json"];
    let done = run(&[&files[..], &small].concat());
    let distances = [Distance::Cosine, Distance::Euclidean];
    let expected = grid(&train, &test, &distances, &[1, 20], &[0.07, 1.0]).unwrap();
    let got = cells(done.succeeded());
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(got["k"], expected.k);
        assert_eq!(got["top1"], expected.accuracy.top1, "{got}");
        assert_eq!(got["top5"], expected.accuracy.top5, "{got}");
    }
    assert_eq!(
        (&got[0]["train"], &got[0]["test"], &got[0]["dim"]),
        (&1500.into(), &700.into(), &6.into())
    );
    // So little memory that the queries come in three portions.
    let little = run(&[&files[..], &small, &["--memory", "1KiB"]].concat());
    assert_eq!(little.succeeded(), done.out);
    let best: f64 = run(&[&files[..], &["--quiet"]].concat()).succeeded().trim().parse().unwrap();
    assert!(best > 30.0, "seven classes, {best} %");
}

#[test]
fn stored_features_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (mut train, test) = (features(300, 1), features(40, 2));
    let [x, y] = stored(folder.path(), "train", &train);
    let [queries, targets] = stored(folder.path(), "test", &test);
    let refused = |arguments: &[&str], code: i32, parts: &[&str]| {
        run(&[&["knn"][..], arguments].concat()).refused(code, parts);
    };
    let both = ["--features", &x, "--queries", &queries];
    let with = |more: &[&'static str]| [&both[..], more].concat();
    refused(&both, 1, &["train-x.npy: no labels", "--labels"]);
    refused(&with(&["--memory", "many"]), 2, &["--memory", "2GiB"]);
    refused(&["--features", &x], 2, &["--queries"]);
    refused(&["runs/a", "--features", &x, "--queries", &queries], 2, &["--features"]);
    refused(&[], 2, &["ENCODER"]);
    let labelled = [&both[..], &["--labels", &y]].concat();
    refused(&labelled, 1, &["test-x.npy: no labels", "--query-labels"]);
    let wrong = [&labelled[..], &["--query-labels", &y]].concat();
    refused(&wrong, 1, &["train-y.npy: 300 labels for 40 rows"]);
    let whole = [&labelled[..], &["--query-labels", &targets]].concat();
    train.values[6 * 77 + 2] = f32::NAN;
    stored(folder.path(), "train", &train);
    refused(&whole, 1, &["train-x.npy: row 77, column 2 is NaN"]);
    let cut = fs::read(&queries).unwrap();
    fs::write(&queries, &cut[..cut.len() - 1]).unwrap();
    refused(&whole, 1, &["test-x.npy", "was the file cut short?"]);
    npy(queries.as_ref(), "<f4", "(40, 3)", &[0; 480]);
    refused(&whole, 1, &["test-x.npy: rows of 3 numbers", "train-x.npy have 6"]);
}

#[test]
fn features_beyond_the_memory_go_to_a_file_and_change_no_digit() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let all = ["knn", out.to_str().unwrap(), "--json"];
    let expected = run(&all).succeeded().to_owned();
    let spilled = run(&[&all[..], &["--memory", "64B"]].concat());
    assert_eq!(spilled.succeeded(), expected);
    let mut nowhere = super::vssl(&all);
    nowhere.args(["--memory", "64B"]).env("TMPDIR", "/no/such/folder");
    super::done(nowhere.output().unwrap()).refused(1, &["/no/such/folder", "TMPDIR"]);
    // Nothing goes to a file with the memory that there is.
    let mut roomy = super::vssl(&all);
    roomy.env("TMPDIR", "/no/such/folder");
    assert_eq!(super::done(roomy.output().unwrap()).succeeded(), expected);
}

#[test]
fn arrays_and_tables_that_are_not_read_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let good = table_of(folder.path(), "good.csv", &[[1.0, 2.0], [2.0, 1.0]]);
    let good = good.to_str().unwrap();
    let header = b"{'descr': '>i8', 'fortran_order': False, 'shape': (2,), }\n";
    let length = (header.len() as u16).to_le_bytes();
    fs::write(at("y.npy"), [b"\x93NUMPY\x01\x00", &length[..], header, &[0; 16]].concat()).unwrap();
    let y = at("y.npy");
    let done = run(&["knn", "--features", good, "--queries", good, "--labels", &y]);
    done.refused(1, &["y.npy", "highest byte first", "array.astype('<i8')"]);
    assert!(!done.error.contains("not a npy file"), "{}", done.error);
    fs::write(at("empty.csv"), "feature_0,label\n").unwrap();
    let done = run(&["knn", "--features", &at("empty.csv"), "--queries", good]);
    done.refused(1, &["empty.csv", "a header and no row below"]);
}
