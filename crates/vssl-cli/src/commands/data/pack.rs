//! `vssl data pack`: writes a set into tar shards and reads them back.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::Context;
use serde_json::json;
use vssl_data::{
    DataConfig, OnBadImage, Splits,
    dataset::{self, Evaluated, Found, text_of},
    loader::workers,
    pack::{PackPlan, PackProgress, PackSplit, Packed, pack},
};

use crate::{
    arguments::Common,
    failure::Failure,
    output::{counted, say},
    progress::Meter,
};

/// What is asked of the shards.
pub(super) struct How {
    pub side: Option<usize>,
    pub quality: u8,
    pub shard_bytes: u64,
    pub skip_bad: bool,
}

pub(super) fn run(config: DataConfig, to: &Path, how: How, common: &Common) -> Result<(), Failure> {
    let (splits, found) = splits(&config)?;
    if !common.quiet && !common.json && !found.is_empty() {
        say(&found.to_string())?;
    }
    let plan = PackPlan {
        side: how.side,
        quality: how.quality,
        shard_bytes: how.shard_bytes,
        workers: workers(common.threads.map(usize::from)),
        on_bad_image: if how.skip_bad { OnBadImage::Skip } else { OnBadImage::Stop },
        tones: config.tones(),
        channels: config.channels,
    };
    let bar = Meter::counting(common, "{msg} [{bar:30}] {pos}/{len}, {eta} left");
    let shown = Mutex::new(None::<(&str, bool)>);
    let progress = |PackProgress { split, is_read_back, done, of }: PackProgress| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown != Some((split, is_read_back)) {
            *shown = Some((split, is_read_back));
            let what = if is_read_back { "reading back" } else { "packing" };
            bar.set_message(format!("{what} {split}"));
            bar.set_length(of);
        }
        bar.set_position(done);
    };
    let packed = pack(&splits, to, &plan, &progress)
        .with_context(|| format!("packing into {}", to.display()))?;
    bar.finish_and_clear();
    splits.iter().zip(&packed).try_for_each(|(split, packed)| tell(split.name, packed, common))?;
    match common.json || common.quiet {
        true => Ok(()),
        false => {
            say(&format!("all images were read back; train on them with {}", keys(to, &config)))
        }
    }
}

/// The splits of a set under the names that they get, and what was found there.
fn splits(config: &DataConfig) -> Result<(Vec<PackSplit>, Found), Failure> {
    let Splits { train, validation, found } = dataset::open(config, None)?;
    let test = match dataset::has_own_test(config)? {
        true => dataset::open_for(config, None, Evaluated::Test)?.validation,
        false => None,
    };
    // Test images stand in for validation images that a set does not have. They stay test images.
    let is_test = test.is_none()
        && validation.is_some()
        && dataset::open_for(config, None, Evaluated::Test).is_ok();
    let judged = if is_test { "test" } else { "validation" };
    let splits = [("train", Some(train)), (judged, validation), ("test", test)].into_iter();
    let splits = splits.filter_map(|(name, images)| Some(PackSplit { name, images: images? }));
    Ok((splits.collect(), found))
}

/// The keys of a recipe for the shards. Files that stayed as they are need what they needed before.
fn keys(to: &Path, config: &DataConfig) -> String {
    let path = toml::Value::from(text_of(to));
    let mut keys = vec!["data.format = \"tar\"".to_owned(), format!("data.path = {path}")];
    if config.channels != DataConfig::default().channels {
        keys.push(format!("data.channels = {}", config.channels));
    }
    if config.bits_used != DataConfig::default().bits_used {
        keys.push(format!("data.bits_used = {}", config.bits_used));
    }
    if !config.range.is_full() {
        keys.push(format!("data.range = {}", config.range));
    }
    keys.join(", ")
}

fn tell(name: &str, packed: &Packed, common: &Common) -> Result<(), Failure> {
    let Packed { images, scaled, encoded, shards, bytes, left_out, .. } = packed;
    if common.json {
        let left_out: Vec<_> = left_out
            .iter()
            .map(|bad| json!({ "index": bad.index, "name": bad.name, "what": bad.what }))
            .collect();
        let value = json!({
            "event": "packed", "split": name, "images": images, "scaled": scaled, "encoded": encoded,
            "shards": shards, "bytes": bytes, "left_out": left_out,
        });
        return say(&value.to_string());
    }
    let mut line = format!(
        "{name}: {} in {} ({:.1} MiB)",
        counted(*images, "image"),
        counted(*shards, "shard"),
        *bytes as f64 / f64::from(1 << 20)
    );
    for (count, what) in
        [(scaled, "scaled down"), (encoded, "stored as PNG"), (&left_out.len(), "left out")]
    {
        if *count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    if common.quiet {
        return Ok(());
    }
    say(&line)?;
    for bad in left_out.iter().take(super::LISTED) {
        say(&format!("  {} (image {}): {}", bad.name, bad.index, bad.what))?;
    }
    match left_out.len().saturating_sub(super::LISTED) {
        0 => Ok(()),
        more => say(&format!("  and {more} more; --json lists all")),
    }
}

#[cfg(test)]
mod tests {
    use vssl_data::dataset::Range;

    use super::*;

    #[test]
    fn test_images_stay_test_images() {
        for (folders, expected) in [
            (&["train", "test"][..], &["train", "test"][..]),
            (&["train", "val"], &["train", "validation"]),
            (&["train", "val", "test"], &["train", "validation", "test"]),
            (&["train"], &["train"]),
        ] {
            let place = tempfile::tempdir().unwrap();
            for folder in folders {
                std::fs::create_dir(place.path().join(folder)).unwrap();
                std::fs::write(place.path().join(folder).join("1.png"), "").unwrap();
            }
            let config = DataConfig { path: place.path().into(), ..DataConfig::default() };
            let splits = splits(&config).map(|(splits, _)| splits).unwrap_or_default();
            let names: Vec<&str> = splits.iter().map(|split| split.name).collect();
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn the_keys_say_all_that_the_shards_need() {
        let mut config = DataConfig::default();
        let said = |config: &DataConfig| keys(Path::new("my shards"), config);
        assert_eq!(said(&config), "data.format = \"tar\", data.path = \"my shards\"");
        config.bits_used = 12;
        assert!(said(&config).ends_with("shards\", data.bits_used = 12"));
        config.bits_used = 16;
        config.range = Range::Between([0.0, 4095.0]);
        assert!(said(&config).ends_with("shards\", data.range = [0, 4095]"));
    }
}
