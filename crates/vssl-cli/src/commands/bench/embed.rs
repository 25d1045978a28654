//! `vssl bench embed`: measures how fast a set of images becomes features, from files to vectors.

use std::{path::Path, sync::Arc};

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    backbone::BackboneConfig,
    encoder::{
        Reading,
        bench::{EmbedSpeed, random, run as measured},
    },
};
use vssl_data::{
    Dataset,
    bench::Noise,
    dataset::{self, DataConfig, Labels, Subset},
};

use super::backbone;
use crate::{
    arguments::{Common, EmbedBenchArguments, StemName},
    failure::Failure,
    launcher,
    output::{counted, say, to_digits},
};

/// Number of the noise images that are used when no folder is given.
const NOISE: usize = 512;
/// The largest number of different noise images: others are copies.
const DIFFERENT: usize = 64;
/// Largest side of images for which a ResNet has the stem for small images by default.
const SMALL: u16 = 64;
/// Width of the published ResNets.
const PUBLISHED: u16 = 64;

pub(super) fn run(arguments: &EmbedBenchArguments, common: &Common) -> Result<(), Failure> {
    let (config, stem) = encoder(arguments)?;
    let images = images(arguments, common)?;
    let device = launcher::open(arguments.device)?;
    let encoder = random(config, arguments.size.into(), &device)
        .map_err(|large| Failure::usage(anyhow!("the encoder takes {large}")))?;
    let mut reading = Reading::default();
    reading.workers = arguments.workers.map_or(reading.workers, usize::from);
    let batch = arguments.batch.map(|batch| batch as usize);
    let measured = measured(&encoder, &images, batch, &reading)?;
    tell(arguments, common, stem, &reading, &measured, encoder.config.dim())
}

/// The encoder, and the stem of a ResNet.
fn encoder(arguments: &EmbedBenchArguments) -> Result<(BackboneConfig, Option<StemName>), Failure> {
    let size = arguments.size;
    let mut config = backbone::of(&arguments.backbone, size, PUBLISHED)?;
    if let Some(vit) = config.vit()
        && !usize::from(size).is_multiple_of(vit.patch)
    {
        let patch = vit.patch;
        let error = anyhow!("--size {size}: expected a multiple of the patch of {patch} pixels");
        return Err(Failure::usage(error));
    }
    let by_size = if size <= SMALL { StemName::Cifar } else { StemName::Imagenet };
    let stem = match &mut config {
        BackboneConfig::Resnet(resnet) => {
            let stem = arguments.backbone.stem.unwrap_or(by_size);
            resnet.stem = stem.stem();
            Some(stem)
        }
        _ => None,
    };
    Ok((config, stem))
}

fn images(arguments: &EmbedBenchArguments, common: &Common) -> Result<Arc<dyn Dataset>, Failure> {
    let wanted = arguments.images.map(|images| images as usize);
    let (images, count): (Arc<dyn Dataset>, usize) = match &arguments.root {
        None => {
            let count = wanted.unwrap_or(NOISE);
            (Arc::new(Noise::new(count.min(DIFFERENT), arguments.size.into())), count)
        }
        Some(root) => {
            let path = dataset::locate(root, &[Path::new(""), &common.data]);
            let config = DataConfig { path, labels: Labels::None, ..DataConfig::default() };
            let images = dataset::open(&config, None)?.train;
            let count = wanted.unwrap_or(images.len());
            (images, count)
        }
    };
    let numbers = (0..images.len()).cycle().take(count).collect();
    Ok(Arc::new(Subset::of(images, numbers)?))
}

fn tell(
    arguments: &EmbedBenchArguments,
    common: &Common,
    stem: Option<StemName>,
    reading: &Reading,
    measured: &EmbedSpeed,
    dim: usize,
) -> Result<(), Failure> {
    let EmbedSpeed { images, batch, seconds, peak_rss_mib } = *measured;
    let speed = to_digits(images as f64 / seconds, 2);
    let (threads, isa) = (vssl_kernels::threads(), vssl_kernels::isa().name());
    let (name, size) = (arguments.backbone.backbone.name(), arguments.size);
    let (device, workers) = (arguments.device.to_string(), reading.workers);
    if common.json {
        let value = json!({
            "device": device, "backbone": name, "size": size, "stem": stem.map(StemName::name),
            "batch": batch, "images": images, "decode": arguments.root.is_some(),
            "threads": threads, "workers": workers, "isa": isa,
            "seconds": to_digits(seconds, 6), "images_per_s": speed, "dim": dim,
            "peak_rss_mib": peak_rss_mib,
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&speed.to_string());
    }
    let source = match &arguments.root {
        Some(root) => format!("decoded from {}", root.display()),
        None => "noise in memory".to_owned(),
    };
    let memory = peak_rss_mib.map_or("unknown".to_owned(), |mib| format!("{mib} MiB"));
    let by_threads = counted(threads, "thread");
    let (shown, in_a_pass) = (counted(images, "image"), counted(batch, "image"));
    say(&format!(
        "{name}, {shown} of {size}×{size}, {source}, on {device} with {by_threads} and \
         {workers} that decode, {isa}\nspeed         {speed} images/s, {in_a_pass} in a forward \
         pass\npeak memory   {memory}"
    ))
}
