//! Folders of image files, with or without classes and splits.
//!
//! The training images are in `train/`, and the validation images in the first of `val/`,
//! `validation/` and `test/`. Without `train/` all images are training images and there is no
//! validation split.
//!
//! Whether there are labels (`data.labels`): with "auto", a split has labels exactly if every
//! image is in a folder directly below the split and there are at least two such folders; flat
//! and deeper trees have none. With "fine" the folders below the split are the classes whatever
//! is inside them, as in torchvision's `ImageFolder`, and an image outside of them is an error.
//! Classes are sorted by the bytes of their names; a folder without images is not a class.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::decode::{decode, largest_of_sixteen_bits};
use super::read::image_file;
use super::walk::images_below;
use super::{Dataset, Labels};
use crate::{DataError, Image};

/// Image files, which are read when they are asked for.
pub struct Folder {
    root: PathBuf,
    /// Paths of the images relative to `root`.
    files: Vec<PathBuf>,
    labels: Option<Vec<u32>>,
    classes: Vec<String>,
    /// The bits that samples of 16 bits use.
    bits_used: u32,
}

/// Opens the splits below `path`.
///
/// # Errors
/// Missing or empty folders, classes of the validation split that training does not have, labels
/// asked for where there are none.
pub(super) fn open(path: &Path, labels: Labels) -> Result<(Folder, Option<Folder>), DataError> {
    if labels == Labels::Coarse {
        return Err(DataError::Setting(
            "data.labels = \"coarse\": a folder has one kind of label; use \"auto\" or \"fine\""
                .into(),
        ));
    }
    let Some(train) = split_folder(path, &["train"]) else {
        return Ok((Folder::split(path.into(), labels, None)?, None));
    };
    let train = Folder::split(train, labels, None)?;
    let known = train.labels.is_some().then_some(train.classes.as_slice());
    let validation =
        validation_folder(path).map(|folder| Folder::split(folder, labels, known)).transpose()?;
    Ok((train, validation))
}

/// The folder of the validation images of the set in `path`, if there is one.
pub(super) fn validation_folder(path: &Path) -> Option<PathBuf> {
    split_folder(path, &["val", "validation", "test"])
}

fn split_folder(path: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| path.join(name)).find(|folder| folder.is_dir())
}

impl Folder {
    /// The given files, in their order, without labels. They are read when they are asked for.
    pub fn of_files(files: Vec<PathBuf>) -> Self {
        Self { root: PathBuf::new(), files, labels: None, classes: Vec::new(), bits_used: 16 }
    }

    /// Reads images of 16 bits a sample as ones that use the lowest `bits`, 8 to 16: see
    /// [`super::DataConfig::bits_used`].
    pub fn with_bits(self, bits: u32) -> Self {
        Self { bits_used: bits, ..self }
    }

    /// Lists the images of one split; `known` are the classes of the training split.
    fn split(root: PathBuf, labels: Labels, known: Option<&[String]>) -> Result<Self, DataError> {
        let files = images_below(&root)?;
        if files.is_empty() {
            return Err(empty(&root));
        }
        let mut set = Self { root, files, labels: None, classes: Vec::new(), bits_used: 16 };
        if labels == Labels::None {
            return Ok(set);
        }
        if labels == Labels::Fine
            && let Some(outside) = set.files.iter().find(|file| file.components().count() < 2)
        {
            return Err(DataError::Format {
                path: set.root.join(outside),
                what: "is in no class folder".into(),
                expected: "the class folders that data.labels = \"fine\" asks for; \"auto\" does \
                           without"
                    .into(),
            });
        }
        let classes: BTreeSet<String> = set.files.iter().map(|file| first_part(file)).collect();
        let direct = set.files.iter().all(|file| file.components().count() == 2);
        // A single folder, such as `test/images/`, is not a class.
        let foreign = |known: &[String]| !classes.iter().any(|class| known.contains(class));
        let unlabelled = !direct || known.map_or(classes.len() < 2, foreign);
        if labels == Labels::Auto && unlabelled {
            return Ok(set);
        }
        set.classes = match known {
            Some(known) => {
                if let Some(unknown) = classes.iter().find(|class| !known.contains(class)) {
                    return Err(DataError::Format {
                        path: set.root.join(unknown),
                        what: "is no class of the training split".into(),
                        expected: format!("one of its {} classes", known.len()),
                    });
                }
                known.to_vec()
            }
            None => classes.into_iter().collect(),
        };
        set.labels = Some(set.files.iter().map(|file| label_in(&set.classes, file)).collect());
        Ok(set)
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
    ) -> Result<(Self, Vec<String>), DataError> {
        let mut files = Vec::new();
        let mut missing = Vec::new();
        for class in classes {
            let folder = root.join(class);
            let images = if folder.exists() { images_below(&folder)? } else { Vec::new() };
            if images.is_empty() {
                missing.push(class.clone());
            }
            files.extend(images.into_iter().map(|file| Path::new(class).join(file)));
        }
        if files.is_empty() {
            return Err(empty(root));
        }
        let labels = labelled.then(|| files.iter().map(|file| label_in(classes, file)).collect());
        let classes = if labelled { classes.to_vec() } else { Vec::new() };
        Ok((Self { root: root.into(), files, labels, classes, bits_used: 16 }, missing))
    }
}

fn empty(root: &Path) -> DataError {
    DataError::Format {
        path: root.into(),
        what: "no images".into(),
        expected:
            "files that end in .jpg, .jpeg, .jfif, .jpe, .png, .webp, .tif, .tiff, .bmp, .ppm, \
                   .pgm or .pbm, here or in folders below"
                .into(),
    }
}

/// The first component of `path`: the folder directly below the split, or the file itself.
fn first_part(file: &Path) -> String {
    file.iter().next().map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Position of a file's class among the sorted classes.
fn label_in(classes: &[String], file: &Path) -> u32 {
    let class = first_part(file);
    classes.binary_search(&class).expect("the classes were collected from the files, or checked")
        as u32
}

impl Dataset for Folder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let path = self.root.join(&self.files[index]);
        image_file(&path)
            .and_then(|bytes| decode(bytes, self.bits_used))
            .map_err(|what| DataError::BadImage { name: path.display().to_string(), index, what })
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> String {
        self.root.join(&self.files[index]).display().to_string()
    }

    fn stored_as(&self, index: usize) -> Option<(String, u64)> {
        let file = &self.files[index];
        // An image that cannot be looked at will not be read either: it counts as an empty one.
        let bytes = self.root.join(file).metadata().map_or(0, |file| file.len());
        Some((file.to_string_lossy().into_owned(), bytes))
    }

    fn largest_of_sixteen_bits(&self, index: usize) -> Option<u16> {
        let bytes = image_file(&self.root.join(&self.files[index])).ok()?;
        largest_of_sixteen_bits(&bytes)
    }
}
