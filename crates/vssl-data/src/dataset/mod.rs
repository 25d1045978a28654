//! Sets of images, one file for each format; every format offers [`Dataset`].
//!
//! [`open`] turns the data section of a recipe into a training split and, where there is one, a
//! validation split. Labels and the validation split are optional in every format.

mod annotations;
mod cifar;
mod cifar_python;
mod class_folders;
mod config;
mod decode;
mod file_channels;
mod folder;
mod found;
mod gif;
mod guess;
mod idx;
mod imagenet100;
mod jpeg;
mod jxl;
mod list;
mod locate;
mod memory;
mod orientation;
mod read;
mod samples;
mod shards;
mod signature;
mod size;
mod split_folders;
mod stl10;
mod stored;
mod subset;
mod tiff;
mod tones;
mod usual_names;
mod walk;

use std::{path::Path, sync::Arc};

pub use config::{
    CIFAR10, CIFAR100, DataConfig, Evaluated, FASHION_MNIST, Format, IMAGENET, Labels,
    MissingClasses, STL10,
};
pub(crate) use decode::ending_of;
pub(crate) use file_channels::other_channels;
pub use file_channels::stored;
pub use folder::Folder;
pub use found::{Found, LeftOut};
pub use guess::guess;
pub use locate::{in_home, locate};
pub use memory::Memory;
pub use shards::{Shards, shards_are_in};
pub use stl10::Stl10;
pub use stored::Stored;
pub use subset::Subset;
pub use tones::{Range, Tones};

use split_folders::SplitFolders;

pub use crate::name_text::{name_of, text_of};

use crate::{DataError, Image, MOST_CHANNELS};

/// A finite, indexed, immutable set of images; labels are optional.
pub trait Dataset: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads and decodes image `index`.
    ///
    /// # Errors
    /// [`DataError::BadImage`] when the file cannot be read or decoded.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    fn image(&self, index: usize) -> Result<Image, DataError>;

    /// One label an image, each below `classes().len()`; `None` when the source has none.
    fn labels(&self) -> Option<&[u32]>;

    /// Names of the classes, in the order of the labels; empty without labels.
    fn classes(&self) -> &[String];

    /// Name of image `index` for messages: its path, or the file and record number.
    fn name(&self, index: usize) -> String;

    /// The name of image `index` within the set, which stays when the set is moved, and the bytes that it
    /// takes there. A training that goes on knows its images again by these and the labels; without them,
    /// as here, by the labels alone.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    fn stored_as(&self, _index: usize) -> Option<(String, u64)> {
        None
    }

    /// The largest sample of image `index` where it is stored with 16 bits a sample; `None` for the other
    /// images, and for all of them here. [`crate::check`] says from it which bits such images use.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    fn largest_of_sixteen_bits(&self, _index: usize) -> Option<u16> {
        None
    }

    /// The bytes of the file that image `index` is stored as, such as a JPEG; `None` where images are stored
    /// otherwise, as here.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    fn file(&self, _index: usize) -> Option<Result<Vec<u8>, DataError>> {
        None
    }
}

/// The splits of a set of images.
#[derive(Clone)]
pub struct Splits {
    /// The training images; at least one.
    pub train: Arc<dyn Dataset>,
    /// The images to evaluate on, with the classes of `train` when both have labels: the validation images,
    /// or the test images where these were asked for.
    pub validation: Option<Arc<dyn Dataset>>,
    /// What was taken for what, and what was left out.
    pub found: Found,
}

/// Opens the splits that `config` describes, with the validation images to evaluate on; a relative path is
/// taken from `root`, if that is given.
///
/// # Errors
/// A path that is not set or does not exist, files that are not what they should be, a limit of 0,
/// or a kind of label that the format does not have.
pub fn open(config: &DataConfig, root: Option<&Path>) -> Result<Splits, DataError> {
    open_for(config, root, Evaluated::Validation)
}

/// Opens the splits as [`open`] does, with the images to evaluate on that are asked for.
///
/// # Errors
/// The errors of [`open`]; also, there are no test images, and they were asked for.
pub fn open_for(
    config: &DataConfig,
    root: Option<&Path>,
    evaluated: Evaluated,
) -> Result<Splits, DataError> {
    if config.path.as_os_str().is_empty() {
        return Err(DataError::Setting(
            "data.path: not set; expected the folder of the images".into(),
        ));
    }
    for (name, limit) in
        [("limit_train", config.limit_train), ("limit_validation", config.limit_validation)]
    {
        if limit == Some(0) {
            return Err(DataError::Setting(format!(
                "data.{name} = 0: expected at least 1; leave it out to use all images"
            )));
        }
    }
    config.tones().check().map_err(DataError::Setting)?;
    check_channels(config)?;
    let has_folders = matches!(
        config.format,
        Format::Folder | Format::ImageNet100 | Format::Tar | Format::Parquet | Format::Stl10
    );
    for (name, folder) in
        [("train", &config.train), ("validation", &config.validation), ("test", &config.test)]
    {
        if let Some(folder) = folder.as_ref().filter(|_| !has_folders) {
            return Err(DataError::Setting(format!(
                "data.{name} = {folder:?}: the splits of this format are in files of fixed names; only \
                 data.format = \"folder\", \"imagenet100\", \"tar\", \"parquet\" and \"stl10\" have splits that \
                 are named"
            )));
        }
    }
    let path = root.map_or_else(|| config.path.clone(), |root| root.join(&config.path));
    let labels = config.labels;
    Ok(match config.format {
        Format::Folder => {
            limited(with_settings(folder::open(&path, config, evaluated)?, config), config)
        }
        Format::Cifar10 => limited(in_files(cifar::open_ten(&path, labels)?), config),
        Format::Cifar100 => limited(in_files(cifar::open_hundred(&path, labels)?), config),
        Format::Idx => limited(in_files(idx::open(&path, labels, config.channels)?), config),
        Format::List => {
            limited(with_settings(list::open(&path, config, evaluated)?, config), config)
        }
        Format::Stl10 => limited(in_files(stl10::open(&path, config)?), config),
        Format::Tar | Format::Parquet => limited(shards::open(&path, config, evaluated)?, config),
        Format::ImageNet100 => {
            limited(with_settings(imagenet100::open(&path, config, evaluated)?, config), config)
        }
    })
}

/// Whether a set in folders has test images that are not its validation images: [`open_for`] opens them.
///
/// # Errors
/// As [`open`], for what is wrong with the folders of the splits.
pub fn has_own_test(config: &DataConfig) -> Result<bool, DataError> {
    match config.format {
        Format::Folder | Format::ImageNet100 => SplitFolders::has_own_test(&config.path, config),
        Format::Tar | Format::Parquet => shards::has_own_test(&config.path, config),
        Format::List => list::has_own_test(&config.path),
        Format::Cifar10 | Format::Cifar100 | Format::Idx | Format::Stl10 => Ok(false),
    }
}

/// Refuses numbers of channels that no image has, or not the images of the format.
fn check_channels(config: &DataConfig) -> Result<(), DataError> {
    let channels = config.channels;
    let expected = match config.format {
        _ if !(1..=MOST_CHANNELS).contains(&channels) => format!("1 to {MOST_CHANNELS}"),
        Format::Cifar10 | Format::Cifar100 | Format::Stl10 if channels != 3 => {
            "3, for the images of this format are in RGB".to_owned()
        }
        Format::Idx if channels != 1 && channels != 3 => {
            "1, or 3 equal ones, for the images of this format are grey".to_owned()
        }
        _ => return Ok(()),
    };
    Err(DataError::Setting(format!("data.channels = {channels}: expected {expected}")))
}

fn with_settings(
    (train, evaluated, mut found): (Folder, Option<Folder>, Found),
    config: &DataConfig,
) -> (Folder, Option<Folder>, Found) {
    let tones = config.tones();
    found.taken.extend(tones.sentence());
    let with = |folder: Folder| folder.with_tones(tones).with_channels(config.channels);
    (with(train), evaluated.map(with), found)
}

/// Nothing has to be guessed about files of fixed names.
fn in_files<D>((train, validation): (D, Option<D>)) -> (D, Option<D>, Found) {
    (train, validation, Found::default())
}

fn limited<D: Dataset + 'static>(
    (train, validation, found): (D, Option<D>, Found),
    config: &DataConfig,
) -> Splits {
    Splits {
        train: limit(Arc::new(train), config.limit_train),
        validation: validation.map(|split| limit(Arc::new(split), config.limit_validation)),
        found,
    }
}

fn limit(split: Arc<dyn Dataset>, limit: Option<usize>) -> Arc<dyn Dataset> {
    match limit {
        Some(limit) if limit < split.len() => Arc::new(Subset::balanced(split, limit)),
        _ => split,
    }
}
