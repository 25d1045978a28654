//! `vssl data statistics`: measures by what images are normalised, as keys of a recipe.

use serde_json::json;
use vssl_data::{
    DataConfig, OnBadImage, Splits, dataset,
    loader::workers,
    statistics::{Statistics, statistics},
};

use crate::{
    arguments::Common,
    failure::Failure,
    notes::note,
    output::{counted, say},
    progress::Meter,
};

pub(super) fn run(config: &DataConfig, skip_bad: bool, common: &Common) -> Result<(), Failure> {
    let Splits { train, found, .. } = dataset::open(config, None)?;
    if !common.quiet && !common.json && !found.is_empty() {
        note(&found.to_string());
    }
    let bar = Meter::counting(common, "{msg} [{bar:30}] {pos}/{len}, {eta} left");
    bar.set_message("measuring train");
    bar.set_length(train.len() as u64);
    let on_bad_image = if skip_bad { OnBadImage::Skip } else { OnBadImage::Stop };
    let workers = workers(common.threads.map(usize::from));
    let measured = statistics(&*train, config.channels, on_bad_image, workers, &|done| {
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let measured = measured?;
    if let Some(first) = measured.left_out.first() {
        let count = counted(measured.left_out.len(), "image");
        note(&format!(
            "{count} cannot be read and were left out, the first is {}: {}",
            first.name, first.what
        ));
    }
    if !measured.flat().is_empty() {
        let flat: Vec<String> = measured.flat().iter().map(usize::to_string).collect();
        note(&format!(
            "these channels, counted from 0, are the same in every pixel, and a recipe needs a deviation above 0: {}",
            flat.join(", ")
        ));
    }
    if common.json {
        let Statistics { images, pixels, mean, std, left_out } = &measured;
        let value = json!({
            "event": "measured", "split": "train", "images": images, "pixels": pixels,
            "channels": config.channels, "mean": mean, "std": std, "left_out": left_out.len(),
        });
        return say(&value.to_string());
    }
    say(&snippet(config, &measured))
}

/// The keys of a recipe.
fn snippet(config: &DataConfig, measured: &Statistics) -> String {
    let round = |numbers: &[f64]| {
        numbers.iter().map(|x| format!("{:.4}", x)).collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![format!(
        "# below [data], measured on {} ({}):",
        counted(measured.images, "training image"),
        counted(measured.pixels, "pixel")
    )];
    if config.channels != DataConfig::default().channels {
        lines.push(format!("channels = {}", config.channels));
    }
    if config.bits_used != DataConfig::default().bits_used {
        lines.push(format!("bits_used = {}", config.bits_used));
    }
    if !config.range.is_full() {
        lines.push(format!("range = {}", config.range));
    }
    let (mean, std) = (round(&measured.mean), round(&measured.std));
    lines.push(format!("normalisation = {{ mean = [{mean}], std = [{std}] }}"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use vssl_data::dataset::Range;

    use super::*;

    #[test]
    fn the_keys_are_those_of_a_recipe() {
        let config = DataConfig {
            channels: 2,
            range: Range::Between([0.0, 4095.0]),
            ..DataConfig::default()
        };
        let (mean, std) = (vec![0.123_449, 0.5], vec![0.25, 0.2]);
        let measured = Statistics { images: 7, pixels: 99, mean, std, left_out: Vec::new() };
        let text = snippet(&config, &measured);
        let keys: toml::Table = text.parse().unwrap();
        let read: vssl::recipe::DataSection = keys.try_into().unwrap();
        assert_eq!((read.channels, read.range), (2, config.range));
        assert_eq!(*read.normalisation.unwrap().mean, [0.1234, 0.5]);
        assert!(text.starts_with("# below [data], measured on 7 training images"), "{text}");
    }
}
