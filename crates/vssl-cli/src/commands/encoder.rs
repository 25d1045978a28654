//! From the arguments to a frozen encoder and its images, for every command that evaluates.

use std::path::Path;

use anyhow::anyhow;
use vssl::encoder::Encoder;
use vssl_data::{
    Splits,
    dataset::{self, DataConfig},
};

use super::data::described;
use crate::{
    arguments::{Common, EncoderArguments, EncoderCopy, FormatName},
    failure::Failure,
    launcher,
};

/// Reads the encoder of the run or the file `path`.
pub(super) fn open(path: &Path, copy: &EncoderCopy) -> Result<Encoder, Failure> {
    let EncoderCopy { network, checkpoint, device } = copy;
    let device = launcher::open(*device)?;
    Ok(Encoder::open(path, checkpoint, (*network).into(), &device)?)
}

/// Which images: those that the arguments name, else those of the run.
pub(super) fn images(
    (source, format): (Option<&Path>, Option<FormatName>),
    encoder: &Encoder,
    common: &Common,
) -> Result<DataConfig, Failure> {
    if let Some(source) = source {
        return described(source, format, common);
    }
    let Some(recipe) = &encoder.recipe else {
        return Err(Failure::usage(anyhow!(
            "{} is a file and knows no images; name them with --images DIR",
            encoder.path.display()
        )));
    };
    Ok(moved(recipe.data.source(), common))
}

/// Where the images of a run are now: where it found them, unless they have been moved below another
/// data root since.
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

/// Opens them.
pub(super) fn splits(
    arguments: &EncoderArguments,
    encoder: &Encoder,
    common: &Common,
) -> Result<Splits, Failure> {
    Ok(dataset::open(&images(arguments.named(), encoder, common)?, None)?)
}
