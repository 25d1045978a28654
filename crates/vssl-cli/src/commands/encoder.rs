//! Opens the encoder and the images that the arguments name. Called by the commands that evaluate.

use std::path::Path;

use anyhow::anyhow;
use vssl::{
    encoder::Encoder,
    run::{
        checkpoint::{LATEST, Store},
        folder,
    },
};
use vssl_data::{
    Splits,
    dataset::{self, DataConfig},
};

use super::data::described;
use crate::{
    arguments::{Common, EncoderArguments, EncoderCopy, FormatName},
    failure::Failure,
    launcher,
    notes::note,
};

/// Reads the encoder from the run folder or file that the arguments name.
pub(super) fn open(path: &Path, copy: &EncoderCopy) -> Result<Encoder, Failure> {
    let EncoderCopy { network, checkpoint, device } = copy;
    let device = launcher::open(*device)?;
    tell_stand_in(path, checkpoint)?;
    Ok(Encoder::open(path, checkpoint, (*network).into(), &device)?)
}

/// Tells on standard error, unless `--quiet` was given, which checkpoint is taken where `latest` of the run `path` leads to none.
pub(super) fn tell_stand_in(path: &Path, checkpoint: &str) -> Result<(), Failure> {
    if checkpoint == LATEST
        && folder::is_run(path)
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
            config.bits_used = recipe.data.bits_used;
        }
        return Ok(config);
    }
    let Some(recipe) = &encoder.recipe else {
        return Err(Failure::usage(anyhow!(
            "{} is a file, which does not name its images; name them with --images DIR",
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

/// Opens the training and validation images.
pub(super) fn splits(
    arguments: &EncoderArguments,
    encoder: &Encoder,
    common: &Common,
) -> Result<Splits, Failure> {
    Ok(dataset::open(&images(arguments.named(), encoder, common)?, None)?)
}
