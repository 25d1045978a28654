//! Opens the encoder and the images that the arguments name. Called by the commands that evaluate.

use std::path::Path;

use anyhow::anyhow;
use vssl::{
    encoder::{Encoder, EncoderError, Reading},
    recipe::Recipe,
    run::{
        checkpoint::{LATEST, Store},
        folder,
        images::Images,
    },
};
use vssl_data::{
    DataError, OnBadImage, Splits,
    dataset::{self, DataConfig, Evaluated, text_of},
};

use super::data::described;
use crate::{
    arguments::{Common, EncoderArguments, EncoderCopy, FormatName, ReadingArguments},
    failure::Failure,
    launcher,
    notes::note,
    output::counted,
};

/// Reads the encoder from the run folder or file that the arguments name.
pub(super) fn open(path: &Path, copy: &EncoderCopy) -> Result<Encoder, Failure> {
    let EncoderCopy { network, checkpoint, device, .. } = copy;
    let device = launcher::open(*device)?;
    tell_stand_in(path, checkpoint)?;
    let encoder = Encoder::open(path, checkpoint, (*network).into(), &device)?;
    tell_fine_tuned(path);
    let (encoder, told) = pooled(encoder, copy)?;
    told.iter().for_each(|text| note(text));
    Ok(encoder)
}

/// The encoder with the pooling that the arguments ask for, or else its run, and a note where the feature is not the
/// network's own.
pub(super) fn pooled(
    encoder: Encoder,
    copy: &EncoderCopy,
) -> Result<(Encoder, Option<String>), Failure> {
    encoder.evaluated(copy.pooling.map(Into::into), "--pooling").map_err(Failure::usage)
}

/// Tells on standard error that `what` is of the network's own feature, where the recipe of its run evaluates another one.
pub(super) fn tell_own_feature(path: &Path, recipe: &Recipe, what: &str) {
    let own = recipe.backbone.pooling();
    if let Some((usual, own)) =
        recipe.evaluation.pooling.zip(own).filter(|(usual, own)| usual != own)
    {
        note(&format!(
            "{}: {what} {}; the evaluations of the run take {} (evaluation.pooling)",
            path.display(),
            own.words(),
            usual.words()
        ));
    }
}

/// Tells on standard error what is taken of a fine-tuned network.
pub(super) fn tell_fine_tuned(path: &Path) {
    if is_fine_tuned(path) {
        note(&format!(
            "{}: a fine-tuned network: its backbone is taken, its classifier is left out",
            path.display()
        ));
    }
}

/// Whether the encoder in `path` is the network of a fine-tuning.
pub(super) fn is_fine_tuned(path: &Path) -> bool {
    folder::is_on_labels(path) && !folder::is_run(path)
}

/// Tells on standard error, unless `--quiet` was given, which checkpoint is taken where `latest` of the run `path`
/// leads to none.
pub(super) fn tell_stand_in(path: &Path, checkpoint: &str) -> Result<(), Failure> {
    if checkpoint == LATEST
        && (folder::is_run(path) || is_fine_tuned(path))
        && let Some(stand_in) = Store::of(path).stand_in()?
    {
        note(&format!("{}: {}", path.display(), stand_in.note("takes")));
    }
    Ok(())
}

/// The set of images: the one that the arguments name, or else the one of the run.
pub(super) fn images(
    (source, format): (Option<&Path>, Option<FormatName>),
    encoder: &Encoder,
    common: &Common,
) -> Result<DataConfig, Failure> {
    if let Some(source) = source {
        let mut config = described(source, format, common)?;
        // Other images are read as those of the run were, unless a recipe says how.
        let is_recipe = source.extension().is_some_and(|extension| extension == "toml");
        if let Some(recipe) = encoder.recipe.as_ref().filter(|_| !is_recipe) {
            (config.bits_used, config.range) = (recipe.data.bits_used, recipe.data.range);
        }
        let channels = encoder.input.channels();
        if !is_recipe {
            config.channels = channels;
        } else if config.channels != channels {
            return Err(Failure::usage(anyhow!(
                "{} has data.channels = {}, and the encoder {} takes images of {channels}; expected images of equally \
                 many channels",
                source.display(),
                config.channels,
                encoder.path.display()
            )));
        }
        return Ok(config);
    }
    let Some(recipe) = &encoder.recipe else {
        return Err(Failure::usage(anyhow!(
            "{} does not name its images, as a run does; name them with --images DIR",
            encoder.path.display()
        )));
    };
    Ok(moved(recipe.data.source(), common))
}

/// The images of a run at their present path: the path that the run used, or the same place below the
/// data root where they were moved.
pub(super) fn moved(mut config: DataConfig, common: &Common) -> DataConfig {
    if !config.path.exists()
        && let Some(name) = config.path.file_name()
    {
        let below = common.data.join(name);
        if below.exists() {
            config.path = below;
        }
    }
    config
}

/// Opens the training images and those to evaluate on.
pub(super) fn splits(
    arguments: &EncoderArguments,
    evaluated: Evaluated,
    encoder: &Encoder,
    common: &Common,
) -> Result<Splits, Failure> {
    let config = images(arguments.named(), encoder, common)?;
    let splits = opened(&arguments.reading.allowing(config), evaluated)?;
    if arguments.images.is_none() {
        tell_changed(encoder, &arguments.copy.checkpoint, &splits, evaluated);
    }
    Ok(splits)
}

/// Tells on standard error if the images of a run are others than those that it was trained on: see [`changed`].
pub(super) fn tell_changed(
    encoder: &Encoder,
    checkpoint: &str,
    splits: &Splits,
    evaluated: Evaluated,
) {
    changed(encoder, checkpoint, splits, evaluated).iter().for_each(|text| note(text));
}

/// A note on the images of a run, whose encoder is at `checkpoint`, if they are others than those that it was trained
/// on: what is measured is of the images of now. To know it, the sizes of all images are asked for.
pub(super) fn changed(
    encoder: &Encoder,
    checkpoint: &str,
    splits: &Splits,
    evaluated: Evaluated,
) -> Option<String> {
    encoder.recipe.as_ref()?;
    // A checkpoint that cannot be read is an error of the encoder.
    let mut was = Store::of(&encoder.path).stated(checkpoint).ok()??.images?;
    let validation = splits.validation.as_deref().filter(|_| evaluated == Evaluated::Validation);
    let now = Images::of(splits.train.as_ref(), validation);
    if evaluated == Evaluated::Test {
        was.validation = None;
    }
    let changes: Vec<String> = now.changes_since(&was).iter().map(ToString::to_string).collect();
    (!changes.is_empty()).then(|| {
        format!(
            "{}: the images are not those that the run was trained on: {}; the results are of the images of now",
            encoder.path.display(),
            changes.join("; ")
        )
    })
}

/// Opens a set of images and tells what was taken for what.
pub(super) fn opened(config: &DataConfig, evaluated: Evaluated) -> Result<Splits, Failure> {
    let splits = dataset::open_for(config, None, evaluated)?;
    tell_found(config, &splits);
    Ok(splits)
}

/// Tells on standard error what was taken for what in a set of images, and what was left out.
pub(super) fn tell_found(config: &DataConfig, splits: &Splits) {
    if !splits.found.is_empty() {
        note(&format!("{}: {}", text_of(&config.path), splits.found));
    }
}

/// Tells on standard error how many images could not be read and were left out.
pub(super) fn tell_left_out(images: usize) {
    let were = if images == 1 { "was" } else { "were" };
    if images > 0 {
        note(&format!("{} could not be read and {were} left out", counted(images, "image")));
    }
}

/// How images are read: as the arguments say, or else as the run reads its own images. Other images, which
/// `named` says, stop a command if they cannot be read.
pub(super) fn reading(arguments: &ReadingArguments, named: bool, encoder: &Encoder) -> Reading {
    let own = if named { OnBadImage::Stop } else { encoder.reading().on_bad_image };
    let on_bad_image = arguments.on_bad_image.map_or(own, Into::into);
    Reading { on_bad_image, ..Reading::default() }
}

/// A failure because of features that cannot be computed, with advice where an image cannot be read.
pub(super) fn advised(error: EncoderError) -> Failure {
    let help = match &error {
        EncoderError::Data(data) => help(data, Some(SKIP)),
        _ => None,
    };
    with_help(error, help)
}

/// A failure because of images that cannot be read, with advice.
pub(super) fn of_data(error: DataError) -> Failure {
    advised(EncoderError::Data(error))
}

/// A failure because of the features of the only images that are asked for, of which none is left out.
pub(super) fn of_query(error: EncoderError) -> Failure {
    let help = match &error {
        EncoderError::Data(data @ DataError::Channels { .. }) => help(data, None),
        _ => None,
    };
    with_help(error, help)
}

/// A failure because of `error`, with what to do about it.
pub(super) fn with_help(error: impl Into<anyhow::Error>, help: Option<String>) -> Failure {
    let error = error.into();
    match help {
        Some(help) => anyhow!("{error}\nhelp: {help}").into(),
        None => error.into(),
    }
}

/// The option that leaves out images which cannot be read, in most commands.
const SKIP: &str = "--on-bad-image skip";

/// What to do about an image that cannot be read, or not by the encoder; `skip` is the option that leaves such images
/// out, where there is one.
pub(super) fn help(error: &DataError, skip: Option<&str>) -> Option<String> {
    match error {
        DataError::BadImage { .. } => {
            let left_out = skip.map_or_else(String::new, |skip| {
                format!("{skip} leaves out such images and counts them; ")
            });
            Some(format!("{left_out}`vssl data check` names them all"))
        }
        DataError::Channels { wanted, .. } => Some(format!(
            "the encoder takes images of {}. Name other images, or train an encoder for these: `vssl new-recipe METHOD \
             --data DIR` counts their channels, and its option --from starts from this encoder{}",
            counted(*wanted, "channel"),
            skip.map_or_else(String::new, |skip| format!(
                ". {skip} leaves out images of other channels"
            ))
        )),
        _ => None,
    }
}
