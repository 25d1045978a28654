//! The worked example of the book's chapter "Add an evaluation": an evaluator that is not in the list of
//! those that ship. Its figures have to reach everything that shows a run.

use std::fs;

// ANCHOR: evaluator
use vssl::eval::{
    EvalError,
    evaluators::{Evaluator, Figure, Splits, Unit},
};

/// How far apart the two splits lie: the distance between the means of their features, in units of the
/// mean length of a feature.
struct Gap;

const FIGURES: &[Figure] = &[Figure {
    name: "gap",
    title: "gap",
    long_title: "Distance between the splits",
    unit: Unit::Number,
}];

impl Evaluator for Gap {
    fn figures(&self) -> &'static [Figure] {
        FIGURES
    }

    fn run(&self, splits: &Splits) -> Result<Vec<(&'static str, f64)>, EvalError> {
        let Splits { train, validation } = splits;
        train.check("training features")?;
        validation.check("validation features")?;
        let mean = |features: &vssl::features::Features, column: usize| {
            let values = (0..features.rows).map(|row| f64::from(features.row(row)[column]));
            values.sum::<f64>() / features.rows as f64
        };
        let gaps = (0..train.dim).map(|column| mean(train, column) - mean(validation, column));
        let gap = gaps.map(|gap| gap * gap).sum::<f64>().sqrt();
        let squares = |row: &[f32]| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let lengths = (0..train.rows).map(|row| squares(train.row(row)).sqrt()).sum::<f64>();
        Ok(vec![(FIGURES[0].name, gap / (lengths / train.rows as f64))])
    }
}
// ANCHOR_END: evaluator

use burn::tensor::Device;
use serde_json::Value;
use vssl::{
    comparison::{Comparison, Format},
    page::RunView,
    run::stop::Stop,
    train::{Plan, TrainError, pretrain},
};

use super::training::{Silent, environment, recipe};

const RECIPE: &str = r#"
    method = "simclr"
    [data]
    format = "idx"
    path = "data/fashion-mnist-tenth"
    limit_train = 64
    limit_validation = 32
    [[views]]
    count = 2
    size = 28
    [backbone]
    architecture = "resnet18"
    width = 2
    stem = "imagenet"
    [train]
    batch = 16
    max_steps = 2
    [knn]
    every_epochs = 0
    [evaluation]
    evaluators = ["knn", "spectrum"]
"#;

#[test]
fn figures_of_an_own_evaluator_reach_the_summary_the_table_and_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut plan = Plan::new(recipe(RECIPE), &run, environment(Device::flex())).unwrap();
    // ANCHOR: use
    plan.evaluators.push(std::sync::Arc::new(Gap));
    // ANCHOR_END: use
    let summary = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    let gap = summary.figure("gap").unwrap();
    assert!(gap > 0.0 && gap < 2.0, "{gap}");
    assert!(summary.figure("untrained_gap").is_some());
    let text = fs::read_to_string(run.join("summary.json")).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written["gap"], gap);
    assert!(written["spectrum_rank"].as_f64().unwrap() >= 1.0, "{text}");
    // Only nearest neighbours judge the pixels; the linear classifier was not asked for.
    assert!(written["pixels_knn_top1"].is_number() && written.get("pixels_gap").is_none());
    assert!(written.get("linear_top1").is_none(), "{text}");

    let comparison = Comparison::of(std::slice::from_ref(&run)).unwrap();
    let figure = comparison.rows[0].results[0].figures["gap"].unwrap();
    assert_eq!(figure.figure.mean, gap);
    let table = comparison.write(Format::Markdown);
    let header = table.lines().next().unwrap();
    assert!(header.contains("| rank |") || header.contains(" rank |"), "{table}");
    assert!(header.contains(" gap |"), "{table}");

    let view = serde_json::to_value(RunView::read(&run).unwrap()).unwrap();
    let shown = view["figures"].as_array().unwrap();
    let own = shown.iter().find(|figure| figure["name"] == "gap").unwrap();
    assert_eq!((&own["trained"], &own["percent"]), (&gap.into(), &false.into()));
}

#[test]
fn an_evaluator_that_does_not_exist_is_refused_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let text = RECIPE.replace("\"spectrum\"", "\"spektrum\"");
    let plan = Plan::new(recipe(&text), &folder.path().join("run"), environment(Device::flex()));
    let error = plan.err().unwrap();
    assert!(matches!(error, TrainError::Setting(_)), "{error}");
    let error = error.to_string();
    assert!(error.contains("\"spektrum\"") && error.contains("knn, linear, spectrum"), "{error}");
}
