//! Folders of image files, with or without classes and splits: `split_folders` finds the splits,
//! `class_folders` the labels, `walk` the files.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::class_folders::{Asked, Labelled, label, labelled};
use super::decode::{decode, largest_of_sixteen_bits, may_have_sixteen_bits};
use super::found::{Found, counted};
use super::read::{first_bytes, image_file};
use super::split_folders::SplitFolders;
use super::tones::Tones;
use super::walk::{Listing, endings, images_below, images_directly_in};
use super::{DataConfig, Dataset, Evaluated, Labels};
use crate::{
    DataError, Image,
    name_text::{text_of, unique_texts},
};

/// Image files, which are read when they are asked for.
pub struct Folder {
    root: PathBuf,
    /// Paths of the images relative to `root`.
    files: Vec<PathBuf>,
    labels: Option<Vec<u32>>,
    classes: Vec<String>,
    /// What samples of more than 8 bits become.
    tones: Tones,
    /// The number of channels of the images.
    channels: usize,
    /// The names of the class folders, in the order of the labels.
    class_folders: Vec<OsString>,
}

/// The splits of a set in folders, and what was found.
pub(super) type Opened = (Folder, Option<Folder>, Found);

/// Opens the splits below `path`.
///
/// # Errors
/// Missing or empty folders, splits that cannot be told apart, classes of the validation split that training
/// does not have, labels asked for where there are none, class folders without a file of a format that vssl reads.
pub(super) fn open(
    path: &Path,
    config: &DataConfig,
    evaluated: Evaluated,
) -> Result<Opened, DataError> {
    if config.labels == Labels::Coarse {
        return Err(DataError::Setting(
            "data.labels = \"coarse\": a folder has one kind of label; use \"auto\" or \"fine\""
                .into(),
        ));
    }
    let SplitFolders { train, evaluated: judged, taken } =
        SplitFolders::find(path, config, evaluated)?;
    let mut found = Found { taken, ..Found::default() };
    leave_out_beside(path, &train, &mut found)?;
    let mut asked = Asked { labels: config.labels, missing: config.missing_classes, known: None };
    let train = Folder::split(train, &asked, "training", &mut found)?;
    asked.known = train.labels.is_some().then_some(train.class_folders.as_slice());
    if asked.known.is_none() && asked.labels == Labels::Auto {
        // Labels that training does not have are of no use.
        asked.labels = Labels::None;
    }
    let validation = judged
        .map(|folder| Folder::split(folder, &asked, evaluated.name(), &mut found))
        .transpose()?;
    Ok((train, validation, found))
}

/// Counts the images directly in the set `path`, which no split takes where the training images are in a folder
/// of their own, `train`.
///
/// # Errors
/// A folder that cannot be listed.
pub(super) fn leave_out_beside(
    path: &Path,
    train: &Path,
    found: &mut Found,
) -> Result<(), DataError> {
    if train != path
        && let Some(images) = images_directly_in(path)?
    {
        found.leave_out("beside the folders of the splits", images);
    }
    Ok(())
}

impl Folder {
    /// The given files, in their order, without labels. They are read when they are asked for.
    pub fn of_files(files: Vec<PathBuf>) -> Self {
        Self {
            root: PathBuf::new(),
            files,
            labels: None,
            classes: Vec::new(),
            class_folders: Vec::new(),
            tones: Tones::default(),
            channels: 3,
        }
    }

    /// The files of a list below `root`, with one label each where there are any.
    pub(super) fn listed(
        root: &Path,
        files: Vec<PathBuf>,
        labels: Option<Vec<u32>>,
        classes: Vec<String>,
    ) -> Self {
        let classes = if labels.is_some() { classes } else { Vec::new() };
        Self { root: root.into(), labels, classes, ..Self::of_files(files) }
    }

    /// Says what samples of more than 8 bits become.
    pub fn with_tones(self, tones: Tones) -> Self {
        Self { tones, ..self }
    }

    /// Says how many channels the images have; 3 unless it is said. A file with another number is a bad image.
    pub fn with_channels(self, channels: usize) -> Self {
        Self { channels, ..self }
    }

    /// Lists the images of one split, whose name is `split`.
    fn split(
        root: PathBuf,
        asked: &Asked<'_>,
        split: &str,
        found: &mut Found,
    ) -> Result<Self, DataError> {
        let listing = images_below(&root)?;
        if listing.images.is_empty() {
            return Err(empty(&root, &listing));
        }
        let mut own = Found { left_out: listing.by_kind(), ..Found::default() };
        let Labelled { files, classes } = labelled(&root, listing, asked, split, &mut own)?;
        let below = Path::new(root.file_name().unwrap_or_default());
        own.left_out.values_mut().for_each(|left| left.example = below.join(&left.example));
        found.extend(own);
        let (class_folders, labels) = match classes {
            Some((folders, labels)) => (folders, Some(labels)),
            None => (Vec::new(), None),
        };
        let classes = texts(&class_folders);
        Ok(Self { root, labels, classes, class_folders, ..Self::of_files(files) })
    }

    /// The images below `root/<class>/` for exactly the given classes, which are sorted by name; and the
    /// classes without images.
    ///
    /// # Errors
    /// A folder that cannot be listed, or a set without a single image.
    pub(super) fn of_classes(
        root: &Path,
        classes: &[String],
        labelled: bool,
        found: &mut Found,
    ) -> Result<(Self, Vec<String>), DataError> {
        let mut files = Vec::new();
        let mut missing = Vec::new();
        for class in classes {
            let folder = root.join(class);
            let listing = if folder.exists() { images_below(&folder)? } else { Listing::default() };
            if listing.images.is_empty() {
                missing.push(class.clone());
            }
            for (kind, mut left) in listing.by_kind() {
                left.example = Path::new(class).join(&left.example);
                found.leave_out(kind, left);
            }
            files.extend(listing.images.into_iter().map(|file| Path::new(class).join(file)));
        }
        let class_folders: Vec<OsString> = classes.iter().map(OsString::from).collect();
        let of = |file: &PathBuf| {
            label(&class_folders, file.iter().next().unwrap_or_default())
                .expect("the files were listed by their classes")
        };
        let labels = labelled.then(|| files.iter().map(of).collect());
        let classes = if labelled { classes.to_vec() } else { Vec::new() };
        Ok((
            Self { root: root.into(), labels, classes, class_folders, ..Self::of_files(files) },
            missing,
        ))
    }
}

fn texts(folders: &[OsString]) -> Vec<String> {
    let names: Vec<&OsStr> = folders.iter().map(OsString::as_os_str).collect();
    unique_texts(&names)
}

fn empty(root: &Path, listing: &Listing) -> DataError {
    let other = match listing.left_out.is_empty() {
        true => String::new(),
        false => format!(", but {}", counted(&listing.by_kind())),
    };
    DataError::Format {
        path: root.into(),
        what: format!("no images{other}"),
        expected: format!("files that end in {}, here or in folders below", endings()),
    }
}

impl Dataset for Folder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let path = self.root.join(&self.files[index]);
        image_file(&path)
            .and_then(|bytes| decode(bytes, self.tones, self.channels))
            .map_err(|what| DataError::BadImage { name: text_of(&path), index, what })
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> String {
        text_of(&self.root.join(&self.files[index]))
    }

    fn stored_as(&self, index: usize) -> Option<(String, u64)> {
        let file = &self.files[index];
        // An image that cannot be looked at will not be read either: it counts as an empty one.
        let bytes = self.root.join(file).metadata().map_or(0, |file| file.len());
        Some((text_of(file), bytes))
    }

    fn file(&self, index: usize) -> Option<Result<Vec<u8>, DataError>> {
        let path = self.root.join(&self.files[index]);
        let bad = |what| DataError::BadImage { name: text_of(&path), index, what };
        Some(image_file(&path).map_err(bad))
    }

    fn largest_of_sixteen_bits(&self, index: usize) -> Option<u16> {
        let path = self.root.join(&self.files[index]);
        // Most images are not of this kind, and need not be read for this.
        if !may_have_sixteen_bits(&first_bytes(&path).ok()?) {
            return None;
        }
        let bytes = image_file(&path).ok()?;
        largest_of_sixteen_bits(&bytes)
    }
}
