//! `vssl data pack`: writes a set into tar shards and reads them back.

use std::path::Path;

use anyhow::Context;
use serde_json::json;
use vssl_data::{
    DataConfig, OnBadImage, Splits,
    dataset::{self, Evaluated},
    loader::workers,
    pack::{PackPlan, PackSplit, Packed, pack, verify},
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
    let Splits { train, validation, found } = dataset::open(&config, None)?;
    if !common.quiet && !common.json && !found.is_empty() {
        say(&found.to_string())?;
    }
    let test = match dataset::has_own_test(&config)? {
        true => dataset::open_for(&config, None, Evaluated::Test)?.validation,
        false => None,
    };
    let splits: Vec<PackSplit> =
        [("train", Some(train)), ("validation", validation), ("test", test)]
            .into_iter()
            .filter_map(|(name, images)| Some(PackSplit { name, images: images? }))
            .collect();
    let workers = workers(common.threads.map(usize::from));
    let plan = PackPlan {
        side: how.side,
        quality: how.quality,
        shard_bytes: how.shard_bytes,
        workers,
        on_bad_image: if how.skip_bad { OnBadImage::Skip } else { OnBadImage::Stop },
    };
    let bar = Meter::counting(common, "{msg} [{bar:30}] {pos}/{len}, {eta} left");
    let mut shown = "";
    let count = |name: &str| {
        splits.iter().find(|split| split.name == name).map_or(0, |split| split.images.len() as u64)
    };
    let packed = pack(&splits, to, &plan, &mut |name, done| {
        if shown != name {
            shown = name;
            bar.set_message(format!("packing {name}"));
            bar.set_length(count(name));
        }
        bar.set_position(done);
    })
    .with_context(|| format!("packing into {}", to.display()))?;
    bar.set_message("reading back".to_owned());
    verify((&splits, &packed), to, workers, &|_, done| bar.set_position(done as u64))
        .with_context(|| format!("reading {} back", to.display()))?;
    bar.finish_and_clear();
    splits.iter().zip(&packed).try_for_each(|(split, packed)| tell(split.name, packed, common))?;
    match common.json || common.quiet {
        true => Ok(()),
        false => say(&format!(
            "all images were read back; train on them with data.format = \"tar\" and data.path = \"{}\"",
            to.display()
        )),
    }
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
    if !common.quiet {
        say(&line)?;
    }
    left_out
        .iter()
        .take(super::LISTED)
        .try_for_each(|bad| say(&format!("  {} (image {}): {}", bad.name, bad.index, bad.what)))
}
