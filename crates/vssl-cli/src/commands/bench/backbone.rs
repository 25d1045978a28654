//! The encoder that a benchmark runs, from its arguments. Called by `step` and `agreement`.

use anyhow::anyhow;
use vssl::backbone::BackboneConfig;

use crate::{arguments::BackboneArguments, failure::Failure};

/// The encoder for views of `size` pixels that `arguments` describe. A ResNet has `width` channels by
/// default.
///
/// # Errors
/// Arguments that the architecture does not have.
pub(super) fn of(
    arguments: &BackboneArguments,
    size: u16,
    width: u16,
) -> Result<BackboneConfig, Failure> {
    let BackboneArguments { backbone, stem, patch, .. } = *arguments;
    let mut config = BackboneConfig::of(backbone.into());
    if !matches!(config, BackboneConfig::Resnet(_)) && arguments.width.is_some() {
        return Err(Failure::usage(anyhow!("--width: only ResNets have one; leave it out")));
    }
    if !matches!(config, BackboneConfig::Resnet(_)) && stem.is_some() {
        return Err(Failure::usage(anyhow!("--stem: only ResNets have one; leave it out")));
    }
    if config.vit().is_none() && patch.is_some() {
        return Err(Failure::usage(anyhow!("--patch: only transformers have one; leave it out")));
    }
    match &mut config {
        BackboneConfig::Resnet(resnet) => {
            resnet.width = arguments.width.unwrap_or(width).into();
            resnet.stem = stem.unwrap_or_default().stem();
        }
        BackboneConfig::Vit(vit) => {
            vit.patch = patch.map_or(vit.patch, usize::from);
            vit.image_size = size.into();
        }
        BackboneConfig::WideResnet(_) => {}
    }
    Ok(config)
}
