//! The recipe as text: every key, its value for these images, and what it does.

use std::path::Path;

use anyhow::Context;
use toml::Value;
use vssl::recipe::Entry;
use vssl_data::dataset::{Format, text_of};

use super::{
    encoder::Encoder,
    meaning::meaning,
    networks::{backbone, frozen_teacher, init, needs_patches, transformer},
    page::Page,
    survey::Survey,
    tuning::{self, Exception, Tuning},
    views::views,
};
use crate::{failure::Failure, output::quoted};

/// The encoders that a recipe names.
#[derive(Clone, Copy)]
pub(super) struct Encoders<'a> {
    /// The one that the run starts from.
    pub(super) from: Option<&'a Encoder>,
    /// The frozen teacher.
    pub(super) teacher: Option<&'a Encoder>,
}

/// The recipe for `survey` that will lie at `path`.
///
/// # Errors
/// A format of the images that cannot be written: a mistake of ours.
pub(super) fn write(
    entry: &Entry,
    survey: &Survey,
    encoders: Encoders,
    path: &Path,
) -> Result<String, Failure> {
    let (name, from) = (entry.name, encoders.from);
    let goes_on = from.is_some();
    let tuning = tuning::of(name, goes_on);
    let mut page = Page::default();
    page.prose(&format!("{name}: {}.\n{}", entry.summary, entry.paper));
    page.prose("");
    page.prose(&format!("For {}.", survey.summary()));
    page.prose("");
    page.prose(&format!("  vssl pretrain {}", quoted(&text_of(path))));
    page.prose("");
    page.prose(tuning.source);
    if goes_on {
        page.prose(
            "The rate is three tenths of theirs, for an encoder that has something to lose.",
        );
    }
    page.prose("Not measured on these images.");
    page.text.push('\n');
    page.key("method", name, "`vssl methods` lists all");
    page.key("seed", 0, "fixes initial weights, order, views and noise");
    data(&mut page, survey, from)?;
    views(&mut page, survey, tuning.pair);
    match from {
        Some(from) => init(&mut page, from, survey.channels),
        None if needs_patches(entry) => transformer(&mut page, entry, survey),
        None => backbone(&mut page, survey),
    }
    if let Some(teacher) = encoders.teacher {
        frozen_teacher(&mut page, teacher);
    }
    method(&mut page, entry, survey);
    optimizer(&mut page, &tuning);
    let epochs = tuning::epochs(survey.images, goes_on) as i64;
    length(&mut page, survey, &tuning, epochs);
    watching(&mut page, survey, epochs);
    Ok(page.text)
}

fn data(page: &mut Page, survey: &Survey, from: Option<&Encoder>) -> Result<(), Failure> {
    let format = Value::try_from(survey.format).context("writing the format")?;
    let path = survey.path.display().to_string();
    page.table("[data]");
    page.key(
        "format",
        format,
        "folder, tar, parquet, list, cifar10, cifar100, stl10, idx or imagenet100",
    );
    page.key("path", path, "folder or archive of the images");
    let comment = "folder of the training images, where the usual names are not meant";
    match &survey.train {
        Some(train) => page.key("train", train.as_str(), comment),
        None => page.absent("train", "train", comment),
    }
    page.absent("validation", "val", "folder of the validation images");
    page.absent("test", "test", "folder of the test images");
    page.key(
        "labels",
        "auto",
        "auto, fine, coarse or none; probes and reports see them, and supcon",
    );
    page.absent("limit_train", 1000, "at most this many training images");
    page.absent("limit_validation", 1000, "at most this many validation images");
    page.key(
        "missing_classes",
        "error",
        "or allow: class folders without an image of a known format",
    );
    page.absent("bits_used", 12, "bits that samples of 16-bit images use, 8 to 16");
    channels(page, survey);
    match from.filter(|from| from.channels == survey.channels).map(|from| &from.start) {
        Some(Some(start)) => {
            page.prose("Mean and standard deviation of the channels, as the encoder knows them.");
            page.normalisation(start.input.normalisation);
        }
        Some(None) => {
            page.prose("Without a normalisation of its own, the recipe takes that of the encoder.");
        }
        None => normalisation(page, survey),
    }
    page.key("on_bad_image", "stop", "or skip: another image takes its place");
    page.absent("workers", 4, "threads that decode and augment; by default one a core");
    page.key("prefetch", 4, "batches that are ready or in the making, at least one a worker");
    Ok(())
}

fn channels(page: &mut Page, survey: &Survey) {
    match survey.channels {
        3 => page.absent("channels", 1, "1 is grey, 3 RGB; others are as the files have them"),
        1 => page.key("channels", 1, "grey; 3 would repeat it, for an encoder of RGB images"),
        more => page.key("channels", more as i64, "as the files have them; 3 is RGB"),
    }
    let comment = "or [low, high]: black and white of 16-bit and floating-point images";
    match survey.range.is_full() {
        true => page.absent("range", "percentiles", comment),
        false => page.key("range", survey.range.to_string().trim_matches('"'), comment),
    }
}

fn normalisation(page: &mut Page, survey: &Survey) {
    let used = if survey.format.is_photographs() || survey.format == Format::Idx {
        page.prose("Mean and standard deviation of the channels, measured on a sample.");
        survey.normalisation
    } else {
        page.prose("Mean and standard deviation of the channels, as commonly used for this set.");
        survey.format.normalisation()
    };
    page.normalisation(used);
}

fn method(page: &mut Page, entry: &Entry, survey: &Survey) {
    let name = entry.name;
    let batch = tuning::batch(survey.images);
    let settings = entry.defaults().settings();
    let fit = |key: &str, value| tuning::fitted(name, key, value, survey.images, batch);
    page.table(&format!("[{name}]"));
    for (key, value) in settings {
        let value = match value {
            Value::Integer(value) => Value::Integer(fit(&key, value)),
            Value::Array(values) => Value::Array(
                values
                    .into_iter()
                    .map(|value| match value {
                        Value::Integer(value) => Value::Integer(fit(&key, value)),
                        other => other,
                    })
                    .collect(),
            ),
            other => other,
        };
        page.key(&key, value, meaning(name, &key));
    }
}

fn optimizer(page: &mut Page, tuning: &Tuning) {
    page.table("[optimizer]");
    page.key("name", tuning.optimizer, "lars, sgd, adam or adamw");
    page.key("lr", tuning.lr, "base learning rate");
    page.key("scale_lr", true, "rates are multiplied by train.batch / 256");
    page.key("weight_decay", tuning.weight_decay, "pulls weights towards 0");
    page.absent("weight_decay_end", 0.4, "where the weight decay goes to by half a cosine");
    page.absent("layer_decay", 0.7, "factor of the rate from each block to the block below");
    if tuning.optimizer.starts_with("adam") {
        page.key("beta1", 0.9, "decay of the mean gradient");
        page.key("beta2", tuning.beta2, "decay of the mean squared gradient");
        page.key("eps", 1e-8, "added to the root of the mean square");
    } else {
        page.key("momentum", 0.9, "share of the last update that goes into the next");
        page.key("dampening", 0.0, "share of the gradient that the momentum leaves out");
        page.key("nesterov", false, "whether the momentum is Nesterov's");
    }
    if tuning.optimizer == "lars" {
        page.key("eta", 0.02, "trust coefficient");
        page.key("clip_lr", true, "whether the rate is at most the base rate");
        page.key(
            "exclude_bias_and_norm",
            true,
            "one-dimensional tensors: no trust ratio, no decay",
        );
        page.key("eps", 1e-8, "added to the denominator of the trust ratio");
    }
    if let Some((pattern, exception)) = tuning.exception {
        page.table("[[optimizer.groups]]");
        page.key("pattern", pattern, "parameters that this exception is for");
        match exception {
            Exception::Constant => page.key("lr", tuning.lr, "a constant rate of their own"),
            Exception::Factor(share) => page.key("lr_factor", share, "their share of the rate"),
        }
    }
}

fn length(page: &mut Page, survey: &Survey, tuning: &Tuning, epochs: i64) {
    page.table("[schedule]");
    page.key("name", "warmup-cosine", "warmup-cosine, steps or constant");
    page.key("warmup_epochs", (epochs / 10).min(10) as f64, "a straight line up to the rate");
    page.key("start", tuning.start, "rate of the first step");
    page.key("min", tuning.min, "rate that the cosine runs to");
    page.key("interval", "step", "or epoch: the rate changes only between epochs");
    page.table("[train]");
    page.key("epochs", epochs, "passes over the images; more is better, slowly");
    page.key("batch", tuning::batch(survey.images) as i64, "images of an optimiser step");
    page.key("accumulate", 1, "micro-batches that a step is computed in; saves memory");
    page.key("sync_batchnorm", true, "whether several processes share their batch statistics");
    page.key("precision", "f32", "or bf16, f16, on devices that compute in them");
    page.absent("max_steps", 100, "ends the run after this many steps");
    page.absent("clip_norm", 1.0, "scales all gradients down to this norm");
    page.absent("clip_per_tensor", 3.0, "scales each tensor's gradient down to this norm");
}

fn watching(page: &mut Page, survey: &Survey, epochs: i64) {
    let every = epochs.div_euclid(20).max(1);
    if !survey.measurable() {
        page.note("Without labels in both splits the next three tables do little or nothing.");
    }
    page.table("[probe]");
    page.key("enabled", true, "linear classifier beside the encoder, no gradient to it");
    page.key("lr", 0.1, "at batch 256; follows the schedule");
    page.key("momentum", 0.9, "of its SGD");
    page.key("weight_decay", 0.0, "of its SGD");
    page.note(
        "With most methods a table [uncertainty] adds a head that predicts the loss of an image.",
    );
    page.table("[knn]");
    page.key("every_epochs", every, "how often nearest neighbours are asked; 0 is never");
    page.key("k", 20, "neighbours that vote");
    page.key("temperature", 0.07, "votes weigh exp(cosine / this)");
    page.table("[evaluation]");
    page.key("enabled", true, "the table at the end");
    page.key("evaluators", vec!["knn", "linear"], "or also \"spectrum\" and \"quality\"");
    page.absent("pooling", "mean", "or token, token_mean: of a transformer's tokens");
    page.key("untrained", true, "compare with the encoder before training");
    page.key("pixels", true, "compare with the pixels themselves");
    page.table("[health]");
    page.key("every_steps", 50, "how often features are measured; 0 is never");
    page.key("min_rank", 3.0, "warn when their effective rank is below");
    page.key("min_spread", 0.05, "warn when their spread is below; 1 is random");
    page.table("[checkpoint]");
    page.absent("every_steps", 1000, "also every so many steps");
    page.key("every_epochs", every, "0 is only by steps and at the end");
    page.key("keep", 2, "how many of the latest stay");
    page.key("best", true, "whether the best by nearest neighbours stays too");
    page.table("[log]");
    page.key("every_steps", 10, "how often figures are written and shown");
    page.key("tensorboard", false, "whether event files for TensorBoard are written too");
}
