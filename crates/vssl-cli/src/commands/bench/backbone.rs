//! The encoder that a benchmark runs, from its arguments. Called by `step` and `agreement`.

use anyhow::anyhow;
use vssl::backbone::{BackboneConfig, ResnetVariant};

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
    let is_resnet = matches!(config, BackboneConfig::Resnet(_));
    let is_convnext = matches!(config, BackboneConfig::ConvNext(_));
    let is_deep =
        matches!(&config, BackboneConfig::Resnet(resnet) if resnet.variant == ResnetVariant::Deep);
    if !is_resnet && !is_convnext && arguments.width.is_some() {
        return Err(Failure::usage(anyhow!(
            "--width: only ResNets and ConvNeXts have one; leave it out"
        )));
    }
    if !is_resnet && stem.is_some() {
        return Err(Failure::usage(anyhow!("--stem: only ResNets have one; leave it out")));
    }
    if is_deep && arguments.width == Some(1) {
        return Err(Failure::usage(anyhow!(
            "--width 1: the stem of {} has half the channels; expected at least 2",
            backbone.name()
        )));
    }
    if is_deep && stem.is_some() {
        return Err(Failure::usage(anyhow!(
            "--stem: {} has a stem of its own; leave it out",
            backbone.name()
        )));
    }
    if config.vit().is_none() && !is_convnext && patch.is_some() {
        return Err(Failure::usage(anyhow!(
            "--patch: only transformers and ConvNeXts have one; leave it out"
        )));
    }
    match &mut config {
        BackboneConfig::Resnet(resnet) => {
            resnet.width = arguments.width.unwrap_or(width).into();
            if !is_deep {
                resnet.stem = stem.unwrap_or_default().stem();
            }
        }
        BackboneConfig::Vit(vit) => {
            vit.patch = patch.map_or(vit.patch, usize::from);
            vit.image_size = size.into();
        }
        BackboneConfig::ConvNext(convnext) => {
            convnext.width = arguments.width.map(usize::from);
            convnext.patch = patch.map_or(convnext.patch, usize::from);
        }
        BackboneConfig::WideResnet(_) | BackboneConfig::Own(_) => {}
    }
    Ok(config)
}
