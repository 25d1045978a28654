//! Sets in shards, tar and Parquet files that each hold many images. The images are read where they lie, through
//! an index of their places that is made once: [`kept`] keeps it beside the shards.
//!
//! A shard set has what a folder has: any image by its number, so the order of a training, its resume and the
//! shares of several processes know nothing of shards. In memory are the index, about 50 bytes an image, and at
//! most 32 MiB of unpacked Parquet blocks.

mod classes;
mod file;
mod kept;
mod parquet;
mod part;
mod snappy;
mod split;
mod tar_shard;
mod thrift;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{fs, thread};

use classes::Labelled;
pub(super) use file::read_at;
use file::{OPEN, Shard, Unpacked, identity};
use kept::Kept;
pub(super) use parquet::table;
use part::{Entry, Part};
use split::{Split, ending};

use super::decode::{decode, largest_of_sixteen_bits};
use super::found::Found;
use super::tones::Tones;
use super::{DataConfig, Dataset, Evaluated, Format, Labels};
use crate::{DataError, Image, name_text::text_of};

/// The images of one split in shards.
pub struct Shards {
    shards: Vec<Shard>,
    parts: Vec<Part>,
    /// The paths of the shards below the set.
    names: Vec<String>,
    /// The number of the first image of each shard.
    starts: Vec<usize>,
    images: usize,
    labels: Option<Vec<u32>>,
    classes: Vec<String>,
    tones: Tones,
    channels: usize,
    unpacked: Unpacked,
}

/// Opens the splits in the shards below `path`.
///
/// # Errors
/// Shards that are missing or damaged, splits that cannot be told apart, labels that are asked for and missing.
pub(super) fn open(
    path: &Path,
    config: &DataConfig,
    evaluated: Evaluated,
) -> Result<(Shards, Option<Shards>, Found), DataError> {
    if config.labels == Labels::Coarse && config.format == Format::Tar {
        return Err(DataError::Setting(
            "data.labels = \"coarse\": a tar file has one kind of label; use \"auto\" or \"fine\""
                .into(),
        ));
    }
    let Split { train, judged, taken } = Split::find(path, config, evaluated)?;
    // A single shard lies in the folder of its set.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let path = if path.is_file() { folder.unwrap_or(Path::new(".")) } else { path };
    let mut found = Found { taken, ..Found::default() };
    let all: Vec<String> = train.iter().chain(judged.iter().flatten()).cloned().collect();
    let mut parts = scanned(path, &all, config, &mut found)?;
    for part in &parts {
        for (kind, files) in &part.left_out {
            found.leave_out(kind.clone(), files.clone());
        }
    }
    let (tones, channels) = (config.tones(), config.channels);
    found.taken.extend(tones.sentence());
    let others = parts.split_off(train.len());
    let named = classes::named(path)?;
    let labelled = Labelled::of(
        path,
        (&parts, judged.as_ref().map(|_| &others[..])),
        (config.labels, named),
        &mut found,
    )?;
    let stays_open = all.len() <= OPEN;
    let build = |names: Vec<String>, parts: Vec<Part>, labels: Option<Vec<u32>>, split: &str| {
        let classes = if labels.is_some() { labelled.classes.clone() } else { Vec::new() };
        let set = Shards::new(path, names, parts, (labels, classes), (tones, channels, stays_open));
        match set.images {
            0 => Err(DataError::Format {
                path: path.into(),
                what: format!("the shards of the {split} split hold no image"),
                expected: "samples with an image".into(),
            }),
            _ => Ok(set),
        }
    };
    let training = build(train, parts, labelled.train, "training")?;
    let validation = match judged {
        Some(names) => Some(build(names, others, labelled.judged, evaluated.name())?),
        None => None,
    };
    Ok((training, validation, found))
}

/// Whether a set in shards has test images that are not its validation images.
///
/// # Errors
/// As [`open`], for what is wrong with the splits.
pub(super) fn has_own_test(path: &Path, config: &DataConfig) -> Result<bool, DataError> {
    Split::has_own_test(path, config)
}

/// What is in the shards `names`, from the index that is kept, or by looking through them.
fn scanned(
    root: &Path,
    names: &[String],
    config: &DataConfig,
    found: &mut Found,
) -> Result<Vec<Part>, DataError> {
    let coarse = config.labels == Labels::Coarse;
    let place = kept::place(root, ending(config.format), if coarse { "-coarse" } else { "" });
    let mut known: HashMap<String, Kept> =
        kept::load(&place).into_iter().map(|kept| (kept.name.clone(), kept)).collect();
    let states = names.iter().map(|name| {
        let path = root.join(name);
        identity(&path).map_err(DataError::io(path))
    });
    let states = states.collect::<Result<Vec<_>, _>>()?;
    let mut parts: Vec<Option<Part>> = Vec::with_capacity(names.len());
    for (name, state) in names.iter().zip(&states) {
        let same = known.get(name).is_some_and(|kept| kept.identity == *state);
        parts.push(if same { known.remove(name).map(|kept| kept.part) } else { None });
    }
    let new: Vec<usize> = (0..parts.len()).filter(|&at| parts[at].is_none()).collect();
    if !new.is_empty() {
        let scan = |at: usize| {
            let path = root.join(&names[new[at]]);
            match config.format {
                Format::Parquet => parquet::scan(&path, coarse),
                _ => tar_shard::scan(&path),
            }
        };
        for (at, part) in new.iter().zip(in_parallel(new.len(), scan)?) {
            parts[*at] = Some(part);
        }
    }
    let parts: Vec<Part> = parts.into_iter().flatten().collect();
    if !new.is_empty() {
        // Shards of other splits stay in the index.
        known.retain(|name, kept| identity(&root.join(name)).ok() == Some(kept.identity));
        let own = names.iter().zip(&states).zip(&parts);
        let own = own.map(|((name, state), part)| (name.as_str(), *state, part));
        let others = known.values().map(|kept| (kept.name.as_str(), kept.identity, &kept.part));
        let all: Vec<_> = own.chain(others).collect();
        if let Err(error) = kept::save(&place, all.into_iter()) {
            found.taken.push(format!(
                "the index of the shards is made at every start, for it cannot be written: {} ({error})",
                text_of(&place)
            ));
        }
    }
    Ok(parts)
}

/// Runs `work` for all numbers below `count` on all cores.
fn in_parallel<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, DataError> + Sync,
) -> Result<Vec<T>, DataError> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Result<T, DataError>>>> =
        Mutex::new((0..count).map(|_| None).collect());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(count) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    let result = work(at);
                    if result.is_err() {
                        next.store(count, Ordering::Relaxed);
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
                }
            });
        }
    });
    // Results are missing only behind an error.
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

impl Shards {
    fn new(
        root: &Path,
        names: Vec<String>,
        parts: Vec<Part>,
        (labels, classes): (Option<Vec<u32>>, Vec<String>),
        (tones, channels, stays_open): (Tones, usize, bool),
    ) -> Self {
        let mut images = 0;
        let starts = parts.iter().map(|part| {
            images += part.entries.len();
            images - part.entries.len()
        });
        let starts = starts.collect();
        let shards = names.iter().map(|name| Shard::new(root.join(name), stays_open)).collect();
        let unpacked = Unpacked::default();
        Self { shards, parts, names, starts, images, labels, classes, tones, channels, unpacked }
    }

    /// The shard of an image, and its number there.
    fn locate(&self, index: usize) -> (usize, usize) {
        assert!(index < self.images, "image {index} of {}", self.images);
        let shard = self.starts.partition_point(|&start| start <= index) - 1;
        (shard, index - self.starts[shard])
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>, String> {
        let (number, at) = self.locate(index);
        let (shard, part) = (&self.shards[number], &self.parts[number]);
        match part.entries[at] {
            entry @ Entry { block: Entry::PLAIN, .. } => shard.plain(entry),
            entry => self.unpacked.image((number, shard), &part.blocks, entry),
        }
    }

    fn bad(&self, index: usize, what: String) -> DataError {
        DataError::BadImage { name: self.name(index), index, what }
    }
}

impl Dataset for Shards {
    fn len(&self) -> usize {
        self.images
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let image = self.bytes(index).and_then(|bytes| decode(bytes, self.tones, self.channels));
        image.map_err(|what| self.bad(index, what))
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> String {
        let (shard, at) = self.locate(index);
        format!(
            "{}/{}",
            text_of(&self.shards[shard].path),
            text_of(Path::new(self.parts[shard].name(at)))
        )
    }

    fn stored_as(&self, index: usize) -> Option<(String, u64)> {
        let (shard, at) = self.locate(index);
        let part = &self.parts[shard];
        let name = format!("{}/{}", self.names[shard], part.name(at));
        Some((name, u64::from(part.entries[at].bytes)))
    }

    fn largest_of_sixteen_bits(&self, index: usize) -> Option<u16> {
        largest_of_sixteen_bits(&self.bytes(index).ok()?)
    }

    fn file(&self, index: usize) -> Option<Result<Vec<u8>, DataError>> {
        Some(self.bytes(index).map_err(|what| self.bad(index, what)))
    }
}

/// Whether a folder, or a folder in it, holds shards of a format, [`Format::Tar`] or [`Format::Parquet`].
pub fn shards_are_in(folder: &Path, format: Format) -> bool {
    let own = ending(format);
    let has = |folder: &Path| {
        fs::read_dir(folder).is_ok_and(|entries| {
            entries.filter_map(Result::ok).any(|entry| {
                Path::new(&entry.file_name()).extension().is_some_and(|ending| ending == own)
            })
        })
    };
    has(folder)
        || super::walk::folders_in(folder)
            .is_ok_and(|below| below.iter().any(|name| has(&folder.join(name))))
}
