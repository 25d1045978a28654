//! `vssl evaluate`: the figures that evaluators measure on the frozen features of an encoder.

use anyhow::anyhow;
use serde_json::{Map, Value, json};
use vssl::{
    backbone::Pooling,
    encoder::Encoder,
    eval::{
        confusion::ClassReport,
        evaluators::{self, Figure, Judgement, Settings, Splits, Unit},
    },
};
use vssl_data::dataset::Evaluated;

use super::{encoder, features};
use crate::{
    arguments::{Common, Evaluate},
    failure::Failure,
    output::{counted, rounded, say},
    progress::Meter,
};

pub(super) fn run(arguments: &Evaluate, common: &Common) -> Result<(), Failure> {
    let encoder = encoder::open(&arguments.encoder.encoder, &arguments.encoder.copy)?;
    let settings = settings(arguments, &encoder);
    let evaluators =
        evaluators::chosen(&settings).map_err(|problem| Failure::usage(anyhow!(problem)))?;
    evaluators::check_names(&evaluators).map_err(|problem| Failure::usage(anyhow!(problem)))?;
    let images = images(arguments, &encoder, common)?;
    let votes = settings.evaluators.iter().any(|name| name == "knn");
    if let Some(k) = arguments.k.filter(|_| votes) {
        features::tell_few(k as usize, images.splits.train.rows);
    }
    let bar = Meter::waiting(common);
    let mut found = Found::default();
    for (evaluator, name) in evaluators.iter().zip(&settings.evaluators) {
        bar.set_message(format!("evaluator {name}"));
        let Judgement { figures, classes } = evaluator.judge(&images.splits)?;
        let values = figures.into_iter().map(|(_, value)| value);
        found.figures.extend(evaluator.figures().iter().zip(values));
        found.classes.extend(
            classes.map(|(classifier, counts)| counts.report(&classifier, &images.classes)),
        );
    }
    bar.finish_and_clear();
    tell(&found, &images, common)
}

/// What the evaluators say.
#[derive(Default)]
struct Found {
    figures: Vec<(&'static Figure, f64)>,
    /// A report of each evaluator that classifies.
    classes: Vec<ClassReport>,
}

/// The features of the images.
struct Images {
    splits: Splits,
    /// The names of the classes.
    classes: Vec<String>,
    /// The number of images of both splits that could not be read.
    left_out: usize,
    /// The pooling of a transformer's tokens.
    pooling: Option<Pooling>,
}

/// The settings in the recipe of the run, or the defaults for a file, with what the arguments change.
fn settings(arguments: &Evaluate, encoder: &Encoder) -> Settings {
    let mut settings = encoder.recipe.as_ref().map(Settings::of).unwrap_or_default();
    if !arguments.evaluators.is_empty() {
        settings.evaluators.clone_from(&arguments.evaluators);
    }
    if let Some(k) = arguments.k {
        settings.knn.k = k as usize;
    }
    if let Some(temperature) = arguments.temperature {
        settings.knn.temperature = temperature;
    }
    settings
}

/// The features of the training and of the validation images.
fn images(arguments: &Evaluate, encoder: &Encoder, common: &Common) -> Result<Images, Failure> {
    let source = &arguments.encoder;
    let images = encoder::splits(source, arguments.split.into(), encoder, common)?;
    let validation = images.validation.ok_or_else(|| {
        anyhow!("there are no validation images to judge by; expected the folders train/ and val/")
    })?;
    let reading = encoder::reading(&source.reading, source.images.is_some(), encoder);
    let asked = images.train.len() + validation.len();
    let classes = images.train.classes().to_vec();
    let bar = Meter::waiting(common);
    bar.set_message(format!("features of {}", counted(images.train.len(), "training image")));
    let train = encoder.features(&images.train, &reading).map_err(encoder::advised)?;
    let (judged, set) = (Evaluated::from(arguments.split).name(), validation);
    let shown = counted(set.len(), &format!("{judged} image"));
    bar.set_message(format!("features of {shown}"));
    let validation = encoder.features(&set, &reading).map_err(encoder::advised)?;
    bar.finish_and_clear();
    let left_out = asked - train.rows - validation.rows;
    encoder::tell_left_out(left_out);
    features::tell_lost("training", images.train.as_ref(), &train);
    features::tell_lost(judged, set.as_ref(), &validation);
    features::check(&train, &validation, &classes)?;
    let (splits, pooling) = (Splits { train, validation }, encoder.config.pooling());
    Ok(Images { splits, classes, left_out, pooling })
}

fn tell(found: &Found, images: &Images, common: &Common) -> Result<(), Failure> {
    let splits = &images.splits;
    let (train, validation) = (splits.train.rows, splits.validation.rows);
    if common.json {
        let figures = found.figures.iter();
        let figures: Map<String, Value> =
            figures.map(|(figure, value)| (figure.name.to_owned(), json!(value))).collect();
        let event = json!({
            "event": "evaluated", "figures": figures, "train": train, "validation": validation,
            "left_out": images.left_out, "dim": splits.train.dim, "pooling": images.pooling,
            "classes": found.classes,
        });
        return say(&event.to_string());
    }
    if !common.quiet {
        let dim = splits.train.dim;
        say(&format!(
            "{} by {train} with known classes, features of {}\n",
            counted(validation, "image"),
            counted(dim, "number")
        ))?;
    }
    let width = found.figures.iter().map(|(figure, _)| figure.name.len()).max().unwrap_or(0);
    for (figure, value) in &found.figures {
        let value = match figure.unit {
            Unit::Percent => format!("{value:.2} %"),
            Unit::Number => rounded(*value),
        };
        let line = format!("{:<width$}  {value:>9}  {}", figure.name, figure.long_title);
        say(line.trim_end())?;
    }
    if common.quiet || found.classes.is_empty() {
        return Ok(());
    }
    say("")?;
    for report in &found.classes {
        let balanced = report.balanced_top1.unwrap_or_default();
        say(&format!("balanced accuracy {balanced:.2} %: {}", report.classifier))?;
    }
    Ok(())
}
