//! `vssl bench data`: measures the speed of the input pipeline.

use std::{path::Path, sync::Arc};

use serde_json::json;
use vssl_data::{
    Dataset,
    bench::{DataBench, Noise},
    dataset::{self, DataConfig, Labels},
    loader::workers,
};

use crate::{
    arguments::{Common, DataArguments},
    failure::Failure,
    output::{say, to_digits},
};

/// Number and side of the noise images that are used when no folder is given.
const NOISE: (usize, usize) = (512, 32);

pub(super) fn run(arguments: &DataArguments, common: &Common) -> Result<(), Failure> {
    let size = usize::from(arguments.size);
    let bench = DataBench {
        size,
        images: arguments.images as usize,
        blur: arguments.blur.unwrap_or(if size <= 32 { 0.0 } else { 0.5 }),
        threads: workers(common.threads.map(usize::from)),
    };
    bench.views().check(0).map_err(Failure::usage)?;
    let dataset: Arc<dyn Dataset> = match &arguments.root {
        None => Arc::new(Noise::new(NOISE.0, NOISE.1)),
        Some(root) => {
            let path = dataset::locate(root, &[Path::new(""), &common.data]);
            let format = dataset::guess(&path).unwrap_or_default();
            let config = DataConfig { format, path, labels: Labels::None, ..DataConfig::default() };
            dataset::open(&config, None)?.train
        }
    };
    let speed = bench.run(&dataset)?;
    let each = to_digits(speed.images_per_s / bench.threads as f64, 1);
    if common.json {
        let value = json!({
            "size": size, "decode": arguments.root.is_some(), "threads": bench.threads,
            "images": speed.images, "images_per_s": to_digits(speed.images_per_s, 1),
            "images_per_s_per_core": each,
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&each.to_string());
    }
    let source = match &arguments.root {
        Some(root) => format!("decoded from {}", root.display()),
        None => "noise in memory".to_owned(),
    };
    say(&format!(
        "two SimCLR views of {size}×{size} an image, {source}\n{each} images/s for each of {} \
         threads ({} images)",
        bench.threads, speed.images
    ))
}
