//! `vssl bench`: speed, in the units and under the names of the PyTorch programs in `bench/`.

mod agreement;
mod allreduce;
mod data;
mod kernels;
mod knn;
mod step;

use anyhow::anyhow;
use vssl::backbone::BackboneConfig;

use crate::{
    arguments::{BackboneArguments, BenchAction, Common},
    failure::Failure,
};

pub(super) fn run(action: &BenchAction, common: &Common) -> Result<(), Failure> {
    match action {
        BenchAction::Step(arguments) => step::run(arguments, common),
        BenchAction::Agreement(arguments) => agreement::run(arguments, common),
        BenchAction::Kernels(arguments) => kernels::run(arguments, common),
        BenchAction::Data(arguments) => data::run(arguments, common),
        BenchAction::Knn(arguments) => knn::run(arguments, common),
        BenchAction::Allreduce(arguments) => allreduce::run(arguments, common),
    }
}

/// The encoder of a benchmark for views of `size` pixels; a ResNet has `width` channels unless told.
fn backbone(
    arguments: &BackboneArguments,
    size: u16,
    width: u16,
) -> Result<BackboneConfig, Failure> {
    let BackboneArguments { backbone, stem, patch, .. } = *arguments;
    let mut config = BackboneConfig::of(backbone.into());
    if !matches!(config, BackboneConfig::Resnet(_)) && arguments.width.is_some() {
        return Err(Failure::usage(anyhow!("--width: only ResNets have one; leave it out")));
    }
    if config.vit().is_none() && patch.is_some() {
        return Err(Failure::usage(anyhow!("--patch: only transformers have one; leave it out")));
    }
    match &mut config {
        BackboneConfig::Resnet(resnet) => {
            resnet.width = arguments.width.unwrap_or(width).into();
            resnet.stem = stem.stem();
        }
        BackboneConfig::Vit(vit) => {
            vit.patch = patch.map_or(vit.patch, usize::from);
            vit.image_size = size.into();
        }
        BackboneConfig::WideResnet(_) => {}
    }
    Ok(config)
}

/// As many digits as a timing is good for.
fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
