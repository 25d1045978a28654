//! `vssl bench`: speed, in the units and under the names of the PyTorch programs in `bench/`.

mod agreement;
mod allreduce;
mod data;
mod kernels;
mod knn;
mod step;

use anyhow::anyhow;
use vssl::backbone::{Architecture, BackboneConfig, VitConfig};

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

/// As many digits as a timing is good for.
fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
