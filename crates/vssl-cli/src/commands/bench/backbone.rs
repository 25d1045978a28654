//! The encoder that a benchmark runs, from its arguments. Called by `step` and `agreement`.

use anyhow::anyhow;
use vssl::backbone::{Architecture, BackboneConfig, VitConfig};

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
    let architecture = Architecture::from(backbone);
    let is_transformer = architecture.is_transformer();
    if arguments.width.is_some() && (is_transformer || architecture == Architecture::WideResnet28) {
        return Err(Failure::usage(anyhow!("--width: only ResNets have one; leave it out")));
    }
    if patch.is_some() && !is_transformer {
        return Err(Failure::usage(anyhow!("--patch: only transformers have one; leave it out")));
    }
    let patch = patch.map_or(VitConfig::default().patch, usize::from);
    let vit = VitConfig { patch, image_size: size.into(), ..VitConfig::default() };
    Ok(BackboneConfig {
        architecture,
        width: arguments.width.unwrap_or(width).into(),
        stem: stem.stem(),
        vit: is_transformer.then_some(vit),
        ..BackboneConfig::default()
    })
}
