//! Writes the images of a set into tar shards (WebDataset's naming), as they are or scaled down, and reads them
//! back. Called by `vssl data pack`.
//!
//! A split becomes a folder of files `000000.tar`, `000001.tar`, …, each image a sample `000000042.jpg` with its
//! label in `000000042.cls`; `classes.txt` has the names of the classes. The order is that of the set, so a
//! training on the shards sees the images in the order of a training on the set.
//!
//! All is written and read back in a folder `<to>.part`, which gets its name at the end: a folder of shards is whole.

mod place;
mod shards;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use md5::{Digest, Md5};

use crate::{
    DataConfig, DataError, Dataset, Image, OnBadImage,
    augment::{Scratch, with_smaller_side},
    check::{BadImage, check},
    counted::counted,
    dataset::{self, Evaluated, Format, Tones},
    loader::Ordered,
};
use shards::Shards;

/// The file of the names of classes.
const CLASSES: &str = "classes.txt";

/// How images are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackPlan {
    /// Images whose smaller side is larger are scaled down to this, and become JPEGs; none are with `None`.
    pub side: Option<usize>,
    /// The quality of these JPEGs, 1 to 100.
    pub quality: u8,
    /// A shard is closed when it has this many bytes.
    pub shard_bytes: u64,
    /// Threads that read, scale and encode, at least 1.
    pub workers: usize,
    /// What happens when an image cannot be read.
    pub on_bad_image: OnBadImage,
    /// What samples of more than 8 bits become in the set: files that stay as they are are read back so.
    pub tones: Tones,
    /// The number of channels of the images.
    pub channels: usize,
}

/// The splits of a set, and where they go.
#[derive(Clone)]
pub struct PackSplit {
    /// The name of the split and of its folder: `train`, `validation` or `test`.
    pub name: &'static str,
    /// Its images.
    pub images: Arc<dyn Dataset>,
}

/// How far the packing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackProgress {
    /// The name of the split that is written or read back.
    pub split: &'static str,
    /// Whether it is read back.
    pub is_read_back: bool,
    /// The number of its images that are done.
    pub done: u64,
    /// The number of all of them.
    pub of: u64,
}

/// What was written of a split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Number of images.
    pub images: usize,
    /// Number of those that were scaled down.
    pub scaled: usize,
    /// Number of those that were stored in another way than as a file, and became PNGs.
    pub encoded: usize,
    /// Number of shards.
    pub shards: usize,
    /// Bytes of all shards.
    pub bytes: u64,
    /// Images that cannot be read and were left out.
    pub left_out: Vec<BadImage>,
    /// The MD5 checksum of every image as it was written.
    sums: Vec<[u8; 16]>,
    /// Their labels.
    labels: Option<Vec<u32>>,
}

/// One image on its way into a shard.
enum Sample {
    Image { bytes: Vec<u8>, ending: &'static str, is_scaled: bool, is_encoded: bool },
    Bad(BadImage),
}

/// Writes the splits into folders below `to`, which must be empty or missing, and reads them back with [`verify`].
///
/// Until all is read back the folder is called `<to>.part`. One that an interrupted or failed packing left is
/// removed at the start.
///
/// # Errors
/// Images that cannot be read, where they are not skipped; a folder that is not empty or cannot be written to;
/// names of classes that are no lines; settings out of range; what [`verify`] finds.
pub fn pack(
    splits: &[PackSplit],
    to: &Path,
    plan: &PackPlan,
    progress: &(dyn Fn(PackProgress) + Sync),
) -> Result<Vec<Packed>, DataError> {
    if !(1..=100).contains(&plan.quality) {
        return Err(DataError::Setting(format!("quality {}: expected 1 to 100", plan.quality)));
    }
    if plan.side == Some(0) {
        return Err(DataError::Setting("a smaller side of 0 pixels: expected at least 1".into()));
    }
    if plan.side.is_some() && !matches!(plan.channels, 1 | 3) {
        return Err(DataError::Setting(format!(
            "images of {} cannot be scaled down, for they become JPEGs, which hold 1 channel or 3; pack them as \
             they are",
            counted(plan.channels, "channel")
        )));
    }
    let place = place::begin(to)?;
    let part = &place.part;
    write_classes(splits, part)?;
    let mut packed = Vec::new();
    for split in splits {
        let folder = part.join(split.name);
        fs::create_dir_all(&folder).map_err(DataError::io(&folder))?;
        let of = split.images.len() as u64;
        packed.push(pack_split(split, &folder, plan, &mut |done| {
            progress(PackProgress { split: split.name, is_read_back: false, done, of });
        })?);
    }
    verify((splits, &packed), part, plan, progress)?;
    place::finish(place, to)?;
    Ok(packed)
}

fn write_classes(splits: &[PackSplit], to: &Path) -> Result<(), DataError> {
    let labelled = splits.iter().find(|split| split.images.labels().is_some());
    let Some(PackSplit { images, .. }) = labelled else { return Ok(()) };
    let is_line = |name: &&String| {
        !name.is_empty() && name.trim() == name.as_str() && !name.contains(['\n', '\r'])
    };
    if let Some(name) = images.classes().iter().find(|name| !is_line(name)) {
        return Err(DataError::Setting(format!(
            "the class {name:?} cannot stand in a line of {CLASSES}; expected a name without spaces at its ends"
        )));
    }
    let path = to.join(CLASSES);
    fs::write(&path, images.classes().join("\n") + "\n").map_err(DataError::io(path))
}

fn pack_split(
    split: &PackSplit,
    folder: &Path,
    plan: &PackPlan,
    progress: &mut dyn FnMut(u64),
) -> Result<Packed, DataError> {
    let (images, how) = (Arc::clone(&split.images), *plan);
    let make = move |index: u64, scratch: &mut Scratch, _: &_| match sample(
        &*images,
        index as usize,
        &how,
        scratch,
    ) {
        Err(DataError::BadImage { name, index, what }) if how.on_bad_image == OnBadImage::Skip => {
            Ok(Sample::Bad(BadImage { index, name, what }))
        }
        other => other,
    };
    let count = split.images.len() as u64;
    let workers = plan.workers.max(1);
    let mut samples = Ordered::new(0..count, workers, 4 * workers, Box::new(make))?;
    let labels = split.images.labels();
    let mut shards = Shards::new(folder, plan.shard_bytes);
    let mut kept = Vec::new();
    for (index, sample) in std::iter::from_fn(|| samples.next()).enumerate() {
        let label = labels.map(|labels| labels[index]);
        if shards.add(sample?, label)? {
            kept.extend(label);
        }
        progress(index as u64 + 1);
    }
    let mut packed = shards.finish()?;
    if packed.images == 0 {
        return Err(DataError::Setting(format!("no {} image can be read", split.name)));
    }
    packed.labels = labels.map(|_| kept);
    Ok(packed)
}

/// An image as it goes into a shard.
fn sample(
    images: &dyn Dataset,
    index: usize,
    plan: &PackPlan,
    scratch: &mut Scratch,
) -> Result<Sample, DataError> {
    let bad = |what| DataError::BadImage { name: images.name(index), index, what };
    // Also where the file is copied: what cannot be decoded is a bad image here, not a damaged shard later.
    let image = images.image(index)?;
    if let Some(side) = plan.side.filter(|&side| image.width.min(image.height) > side) {
        let image = with_smaller_side(&image, side, scratch).map_err(bad)?;
        let bytes = jpeg(&image, plan.quality).map_err(bad)?;
        return Ok(Sample::Image { bytes, ending: "jpg", is_scaled: true, is_encoded: false });
    }
    match images.file(index) {
        Some(bytes) => {
            let bytes = bytes?;
            let ending = dataset::ending_of(&bytes)
                .ok_or_else(|| bad("it begins like no image file that is read".to_owned()))?;
            Ok(Sample::Image { bytes, ending, is_scaled: false, is_encoded: false })
        }
        None => {
            let bytes = png(&image).map_err(bad)?;
            Ok(Sample::Image { bytes, ending: "png", is_scaled: false, is_encoded: true })
        }
    }
}

fn jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    write(JpegEncoder::new_with_quality(&mut bytes, quality), image)?;
    Ok(bytes)
}

fn png(image: &Image) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    write(PngEncoder::new(&mut bytes), image)?;
    Ok(bytes)
}

fn write(encoder: impl ImageEncoder, image: &Image) -> Result<(), String> {
    let size = (image.width as u32, image.height as u32);
    let kind = match image.channels() {
        1 => ExtendedColorType::L8,
        2 => ExtendedColorType::La8,
        4 => ExtendedColorType::Rgba8,
        _ => ExtendedColorType::Rgb8,
    };
    let written = encoder.write_image(&image.values, size.0, size.1, kind);
    written.map_err(|error| error.to_string())
}

/// Opens the shards in `at` as a training would, decodes every image, and compares bytes, order, labels and classes
/// with what was written.
///
/// # Errors
/// The first difference, or what cannot be read.
pub fn verify(
    (splits, packed): (&[PackSplit], &[Packed]),
    at: &Path,
    plan: &PackPlan,
    progress: &(dyn Fn(PackProgress) + Sync),
) -> Result<(), DataError> {
    let Tones { bits_used, range } = plan.tones;
    let (format, path) = (Format::Tar, at.to_path_buf());
    let channels = plan.channels;
    let config = DataConfig { format, path, bits_used, range, channels, ..DataConfig::default() };
    for (split, packed) in splits.iter().zip(packed) {
        let evaluated = if split.name == "test" { Evaluated::Test } else { Evaluated::Validation };
        let opened = dataset::open_for(&config, None, evaluated)?;
        let images = match split.name {
            "train" => Some(opened.train),
            _ => opened.validation,
        };
        let wrong = |what: String| DataError::Format {
            path: at.join(split.name),
            what,
            expected: "the images that were written: the disk may be damaged; pack again".into(),
        };
        let images = images.ok_or_else(|| wrong("no images".to_owned()))?;
        if images.len() != packed.images {
            return Err(wrong(format!("{} images, {} were written", images.len(), packed.images)));
        }
        let has_labels = packed.labels.as_deref() == images.labels();
        if !has_labels || (images.labels().is_some() && images.classes() != split.images.classes())
        {
            return Err(wrong("other labels or classes than were written".to_owned()));
        }
        let of = packed.images as u64;
        let report = check(&*images, plan.workers.max(1), &|done| {
            progress(PackProgress { split: split.name, is_read_back: true, done: done as u64, of });
        });
        if let Some(bad) = report.bad.first() {
            return Err(wrong(format!("{} (image {}): {}", bad.name, bad.index, bad.what)));
        }
        for (index, sum) in packed.sums.iter().enumerate() {
            let bytes = images.file(index).transpose()?.unwrap_or_default();
            if Md5::digest(&bytes)[..] != sum[..] {
                return Err(wrong(format!(
                    "{}: other bytes than were written",
                    images.name(index)
                )));
            }
        }
    }
    Ok(())
}
