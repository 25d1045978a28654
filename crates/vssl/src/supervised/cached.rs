//! The fast linear evaluation: it computes features once, without augmentation, then fits a logistic
//! regression by L-BFGS.
//!
//! The penalty is chosen on a held-out tenth of the training images ([`crate::eval::linear`]); the validation
//! split is used once, at the end.

use std::{path::Path, sync::Arc, time::Instant};

use serde::Serialize;
use vssl_data::{Dataset, Splits, loader::workers};

use super::{
    HeadEpoch, HeadSummary, LinearSettings, OutputOptions, Summary,
    job::{EncoderFacts, labelled},
    judging::check_some_read,
    resumption::check_folder,
};
use crate::{
    encoder::{Encoder, Reading},
    eval::{
        common_classes, confusion,
        linear::{LinearResult, linear_probe_watched},
    },
    features::Features,
    run::{
        checkpoint,
        events::{Event, Observer},
        folder::{self, RunFolder, SETTINGS, SUMMARY},
        journal::Journal,
        space,
        stop::Stop,
    },
    train::{TrainError, evaluate::remarks_on, evaluation::result_notes, watch::Watch},
};

/// A line of `metrics.jsonl`: a penalty that was tried and its result.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Line {
    Penalty { l2: f64, held_out_top1: f64 },
}

/// Computes the features, fits the classifier, then makes the folder and writes the summary: an evaluation that
/// is ended before leaves nothing behind.
///
/// # Errors
/// Labels are missing, the folder is taken, an image cannot be read, a feature is not a finite number, or a
/// file cannot be written.
pub fn cached(
    encoder: &Encoder,
    splits: &Splits,
    settings: &LinearSettings,
    output: &OutputOptions,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let began = Instant::now();
    let ([train, validation], _) = labelled(splits)?;
    let output = &allowed(output)?;
    check_folder(output)?;
    let Fitted { result, rows: [fitted, judged], notes } =
        Fitted::new(encoder, [&train, &validation], settings, observer)?;
    let text = toml::to_string(settings).expect("settings are plain values");
    let folder = RunFolder::create_with((SETTINGS, &text), &output.folder, output.force, false)?;
    let mut journal = Journal::new(folder, observer);
    for (step, &(l2, held_out_top1)) in result.tried.iter().enumerate() {
        journal.record(step as u64 + 1, &Line::Penalty { l2, held_out_top1 })?;
    }
    let facts = EncoderFacts::of(encoder);
    let summary = Summary {
        task: "linear-cached".to_owned(),
        encoder: facts.path,
        encoder_step: facts.step,
        method: facts.method,
        pretraining_seed: facts.seed,
        network: facts.network,
        pooling: facts.pooling,
        seed: settings.seed,
        steps: result.iterations as u64,
        interrupted: false,
        train_images: fitted,
        validation_images: judged,
        classes: train.classes().len(),
        seconds: began.elapsed().as_secs_f64(),
        peak_rss_mib: space::peak_rss_mib(),
        commit: output.commit.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        replaced_images: 0,
        chosen: Some(name(result.l2)),
        top1: Some(result.accuracy.top1),
        top5: Some(result.accuracy.top5),
        balanced_top1: result.confusion.balanced_top1(),
        best_top1: None,
        best_top5: None,
        best_epoch: None,
        heads: heads(&result),
        images: None,
        notes: result_notes(&notes, &[], train.len() - fitted + validation.len() - judged),
        folder: output.folder.clone(),
    };
    let classifier = format!("linear classifier, {}", name(result.l2));
    let counts = [(classifier.as_str(), &result.confusion)];
    for (file, text) in confusion::files(summary.steps, &counts, train.classes()) {
        journal.write(file, &text)?;
    }
    journal.finish(&summary, summary.steps, summary.interrupted)?;
    Ok(summary)
}

/// Returns the options of the output, with which the folder of an evaluation without a result is replaced.
///
/// # Errors
/// The evaluation is to go on with an earlier one.
fn allowed(output: &OutputOptions) -> Result<OutputOptions, TrainError> {
    if output.resume {
        let message = "--resume: a cached evaluation keeps nothing to go on with; use --force";
        return Err(TrainError::Setting(message.to_owned()));
    }
    let force = output.force || is_left_unfinished(&output.folder);
    Ok(OutputOptions { force, ..output.clone() })
}

/// A classifier on the features of both splits.
struct Fitted {
    result: LinearResult,
    /// The number of images of each split that could be read.
    rows: [usize; 2],
    /// The notes for the summary.
    notes: Vec<String>,
}

impl Fitted {
    /// Computes the features of the training and of the validation images, and fits the classifier.
    fn new(
        encoder: &Encoder,
        [train, validation]: [&Arc<dyn Dataset>; 2],
        settings: &LinearSettings,
        observer: &mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let data = &settings.data;
        let (prefetch, on_bad_image) = (data.prefetch, data.on_bad_image);
        let reading = Reading { workers: workers(data.workers), prefetch, on_bad_image };
        let mut features = |what: &str, images| -> Result<Features, TrainError> {
            observer.event(&Event::Phase { what: format!("features of the {what} images") });
            Ok(encoder.features(images, &reading)?)
        };
        let (fit, test) = (features("training", train)?, features("validation", validation)?);
        check_some_read(validation.len(), validation.len() - test.rows)?;
        let mut remarks = remarks_on([(train.as_ref(), &fit), (validation.as_ref(), &test)])?;
        remarks.extend(common_classes::check_features(&fit, &test, train.classes())?);
        observer.event(&Event::Phase { what: "logistic regression".to_owned() });
        let rows = [fit.rows, test.rows];
        let (never, config) = (Stop::default(), settings.cached.config());
        let mut watch = Watch { stop: &never, observer };
        let result = watch.run("logistic regression", move |task| {
            Ok(linear_probe_watched(&fit, &test, &config, task)?)
        })?;
        let ended =
            format!("L-BFGS ended after {} iterations: {:?}", result.iterations, result.stop);
        Ok(Self { result, rows, notes: [vec![ended], remarks].concat() })
    }
}

/// Returns whether an evaluation by an earlier version ended in `folder` before it had a result: it kept nothing
/// to go on with, so that another one takes its place.
fn is_left_unfinished(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).exists();
    folder::is_on_labels(folder) && !has(SUMMARY) && !has(checkpoint::FOLDER)
}

/// Returns a summary of each penalty that was tried; its `train_top1` is the accuracy on the held-out tenth.
fn heads(result: &LinearResult) -> Vec<HeadSummary> {
    let head = |&(l2, train_top1): &(f64, f64)| {
        let accuracy = (l2 == result.l2).then_some(result.accuracy);
        let last = HeadEpoch {
            epoch: 1,
            train_loss: None,
            train_top1,
            top1: accuracy.map(|accuracy| accuracy.top1),
            top5: accuracy.map(|accuracy| accuracy.top5),
            balanced_top1: accuracy.and_then(|_| result.confusion.balanced_top1()),
        };
        HeadSummary { name: name(l2), diverged: false, last: Some(last), best: None }
    };
    result.tried.iter().map(head).collect()
}

fn name(l2: f64) -> String {
    format!("l2 {l2}")
}
