//! `vssl data`: downloads datasets, checks images before hours are spent on them, packs and draws them.

mod pack;
mod show;
mod statistics;

use std::{cmp::Ordering, path::Path};

use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use vssl::{methods::METHODS, recipe::Recipe};
use vssl_data::{
    Dataset,
    check::{Report, SixteenBits, check},
    dataset::{self, DataConfig, Evaluated, Format, Found, MissingClasses, Tones, text_of},
    fetch::{Source, fetch},
    loader::workers,
};

use crate::{
    arguments::{Common, DataAction, FormatName},
    failure::Failure,
    output::{counted, say},
    progress::Meter,
};

/// Largest number of bad images that are listed; JSON lists all of them.
const LISTED: usize = 20;

pub(super) fn run(action: &DataAction, common: &Common) -> Result<(), Failure> {
    match action {
        DataAction::Fetch { name } => fetch_one(name, common),
        DataAction::Check { source, format, channels } => {
            check_one(asked(source, *format, *channels, common)?, common)
        }
        DataAction::Statistics { source, format, channels, range, skip_bad } => {
            let config = asked(source, *format, *channels, common)?;
            let range = range.unwrap_or(config.range);
            statistics::run(&DataConfig { range, ..config }, *skip_bad, common)
        }
        DataAction::Pack { source, to, side, quality, shard_size, skip_bad, format, channels } => {
            let how = pack::How {
                side: side.map(|side| side as usize),
                quality: *quality,
                shard_bytes: u64::from(*shard_size) << 20,
                skip_bad: *skip_bad,
            };
            pack::run(asked(source, *format, *channels, common)?, to, how, common)
        }
        DataAction::Show { images, to, recipe, draws, seed, channels } => {
            let views = recipe.as_deref().map(|recipe| show::Views { recipe, seed: *seed });
            let channels = channels.map(usize::from);
            show::run((images, channels), to, views, u64::from(*draws), common)
        }
    }
}

fn fetch_one(name: &str, common: &Common) -> Result<(), Failure> {
    let source: Source = name.parse().map_err(Failure::usage)?;
    let bar = Meter::counting(common, "{msg} [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}");
    let mut file = String::new();
    let folder = fetch(source, &common.data, None, &mut |progress| {
        if file != progress.file {
            file = progress.file.to_owned();
            bar.set_message(file.clone());
            bar.reset();
        }
        bar.set_length(progress.total.unwrap_or(progress.done));
        bar.set_position(progress.done);
    })
    .with_context(|| format!("fetching {name}"))?;
    bar.finish_and_clear();
    match common.json {
        true => say(&json!({ "event": "fetched", "name": name, "path": folder.to_string_lossy() })
            .to_string()),
        false if common.quiet => say(&folder.display().to_string()),
        false => say(&format!("{name} is in {}, checksums verified", folder.display())),
    }
}

/// The images that `source` names, of so many channels where it is said.
fn asked(
    source: &Path,
    format: Option<FormatName>,
    channels: Option<u8>,
    common: &Common,
) -> Result<DataConfig, Failure> {
    let config = described(source, format, common)?;
    let channels = channels.map_or(config.channels, usize::from);
    Ok(DataConfig { channels, ..config })
}

fn check_one(mut config: DataConfig, common: &Common) -> Result<(), Failure> {
    let allowed = config.missing_classes == MissingClasses::Allow;
    if config.format == Format::Folder {
        // Lost classes are listed with all the rest.
        config.missing_classes = MissingClasses::Allow;
    }
    let splits = dataset::open(&config, None)?;
    let found = splits.found;
    tell_found(&found, common)?;
    let mut lost = if allowed { Vec::new() } else { found.lost_classes.clone() };
    let test = match dataset::has_own_test(&config)? {
        true => Some(dataset::open_for(&config, None, Evaluated::Test)?),
        false => None,
    };
    if let Some(test) = test.as_ref().filter(|_| !allowed) {
        let new = |class: &&String| !found.lost_classes.contains(class);
        lost.extend(test.found.lost_classes.iter().filter(new).cloned());
    }
    let test = test.and_then(|test| test.validation);
    let (mut bad, mut unread) = (0, Vec::new());
    for (name, split) in
        [("train", Some(splits.train)), ("validation", splits.validation), ("test", test)]
    {
        let Some(split) = split else { continue };
        let report = look(name, split.as_ref(), common)?;
        bad += report.bad.len();
        let classes = report.lost_classes(split.as_ref());
        if !classes.is_empty() {
            unread.push(format!(
                "classes without a {name} image that can be used: {}",
                classes.join(", ")
            ));
        }
        let found = Some(&found).filter(|found| name == "train" && !found.is_empty());
        tell(name, split.as_ref(), (&report, found, &config), common)?;
    }
    let lost = match lost.as_slice() {
        [] => None,
        lost => {
            Some(format!("class folders without an image that can be read: {}", lost.join(", ")))
        }
    };
    let bad = match bad {
        0 => None,
        1 => Some("1 image cannot be used".to_owned()),
        _ => Some(format!("{bad} images cannot be used")),
    };
    let problems: Vec<String> = bad.into_iter().chain(unread).chain(lost).collect();
    if problems.is_empty() { Ok(()) } else { Err(anyhow!("{}", problems.join("; ")).into()) }
}

/// Tells which folders were taken for which split, and which files were left out.
fn tell_found(found: &Found, common: &Common) -> Result<(), Failure> {
    if common.quiet || common.json {
        return Ok(());
    }
    found.taken.iter().try_for_each(|sentence| say(sentence))?;
    if !found.left_out.is_empty() {
        let files: usize = found.left_out.values().map(|files| files.count).sum();
        say(&format!("left out: {}", counted(files, "file")))?;
    }
    for (kind, files) in &found.left_out {
        say(&format!("  {} {kind}, such as {}", files.count, text_of(&files.example)))?;
    }
    Ok(())
}

/// The images that `source` names: a folder, an archive, or the data of a recipe.
pub(super) fn described(
    source: &Path,
    format: Option<FormatName>,
    common: &Common,
) -> Result<DataConfig, Failure> {
    let (root, here, shipped) = (common.data.as_path(), Path::new(""), Path::new("data"));
    let mut config = if source.extension().is_some_and(|extension| extension == "toml") {
        let (recipe, _) = Recipe::load(source, &[], METHODS).map_err(Failure::usage)?;
        let beside = source.parent().unwrap_or(here);
        // The folders are tried in the order of `vssl pretrain`.
        let path = dataset::locate(&recipe.data.path, &[root, here, shipped, beside]);
        DataConfig { path, ..recipe.data.source() }
    } else {
        let path = dataset::locate(source, &[here, root, shipped]);
        DataConfig {
            format: dataset::guess(&path).unwrap_or_default(),
            path,
            ..DataConfig::default()
        }
    };
    if let Some(format) = format {
        config.format = match format {
            FormatName::Folder => Format::Folder,
            FormatName::Tar => Format::Tar,
            FormatName::Parquet => Format::Parquet,
            FormatName::List => Format::List,
            FormatName::Stl10 => Format::Stl10,
            FormatName::Cifar10 => Format::Cifar10,
            FormatName::Cifar100 => Format::Cifar100,
            FormatName::Idx => Format::Idx,
            FormatName::Imagenet100 => Format::ImageNet100,
        };
    }
    Ok(config)
}

fn look(name: &str, split: &dyn Dataset, common: &Common) -> Result<Report, Failure> {
    let bar = Meter::counting(common, "{msg} [{bar:30}] {pos}/{len}, {eta} left");
    bar.set_message(format!("reading {name}"));
    bar.set_length(split.len() as u64);
    let workers = workers(common.threads.map(usize::from));
    let report = check(split, workers, &|done| bar.set_position(done as u64));
    bar.finish_and_clear();
    Ok(report)
}

/// Whether the settings for 16-bit images fit those that were found.
fn sixteen_bits(found: SixteenBits, tones: Tones) -> String {
    let SixteenBits { images, largest } = found;
    let (bits, used) = (found.bits(), tones.bits_used);
    let advice = match bits.cmp(&used) {
        _ if !tones.range.is_full() => format!("read with data.range = {}", tones.range),
        Ordering::Equal => format!("data.bits_used = {used} fits"),
        Ordering::Less => {
            format!(
                "they are read darker than they could be; data.bits_used = {bits} would fit, it is {used}"
            )
        }
        Ordering::Greater => {
            format!(
                "larger samples than {used} bits hold become white; data.bits_used = {bits} would fit"
            )
        }
    };
    format!("  16 bits a sample: {images} of them, largest sample {largest}: {advice}")
}

/// `found` as JSON.
fn as_json(found: &Found) -> Value {
    let left_out = found.left_out.iter().map(|(kind, files)| {
        json!({ "kind": kind, "count": files.count, "example": text_of(&files.example) })
    });
    json!({
        "taken": found.taken, "left_out": left_out.collect::<Vec<_>>(),
        "lost_classes": found.lost_classes,
    })
}

/// What is known of a split, for programs.
fn as_event(
    name: &str,
    split: &dyn Dataset,
    (report, found, config): (&Report, Option<&Found>, &DataConfig),
) -> Value {
    let classes = split.labels().map(|_| split.classes().len());
    let bad: Vec<_> = report
        .bad
        .iter()
        .map(|bad| json!({ "index": bad.index, "name": bad.name, "what": bad.what }))
        .collect();
    let sizes = report.sizes.map(|sizes| json!({ "width": sizes.width, "height": sizes.height }));
    json!({
        "event": "checked", "split": name, "images": report.images, "classes": classes,
        "channels": config.channels,
        "sizes": sizes, "bad": bad, "lost_classes": report.lost_classes(split), "sixteen_bits": report.sixteen_bits.map(|found| {
            json!({ "images": found.images, "largest": found.largest })
        }),
        "found": found.map(as_json),
    })
}

/// Tells what is known of a split. What was found in the folder of the set stands, for programs, with the
/// training split.
fn tell(
    name: &str,
    split: &dyn Dataset,
    (report, found, config): (&Report, Option<&Found>, &DataConfig),
    common: &Common,
) -> Result<(), Failure> {
    let classes = split.labels().map(|_| split.classes().len());
    if common.json {
        return say(&as_event(name, split, (report, found, config)).to_string());
    }
    let classes = match classes {
        Some(1) => "1 class".to_owned(),
        Some(classes) => format!("{classes} classes"),
        None => "no labels".to_owned(),
    };
    let sides = |(low, high): (usize, usize)| match low == high {
        true => low.to_string(),
        false => format!("{low} to {high}"),
    };
    let sizes = report.sizes.map_or(String::new(), |sizes| {
        format!(", {} pixels wide and {} high", sides(sizes.width), sides(sizes.height))
    });
    let channels = match config.channels {
        3 => String::new(),
        channels => format!(", {}", counted(channels, "channel")),
    };
    say(&format!("{name}: {}, {classes}{channels}{sizes}", counted(report.images, "image")))?;
    if let Some(found) = report.sixteen_bits {
        say(&sixteen_bits(found, config.tones()))?;
    }
    for bad in report.bad.iter().take(LISTED) {
        say(&format!("  {} (image {}): {}", bad.name, bad.index, bad.what))?;
    }
    match report.bad.len().saturating_sub(LISTED) {
        0 => {}
        more => say(&format!("  and {more} more; --json lists all"))?,
    }
    match report.lost_classes(split) {
        lost if lost.is_empty() => Ok(()),
        lost => say(&format!(
            "  no image of {} can be used: {}",
            if lost.len() == 1 { "this class" } else { "these classes" },
            lost.join(", ")
        )),
    }
}
