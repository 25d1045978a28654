//! The data section of a recipe. [`super::open`] opens what it describes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::tones::{Range, Tones};
use crate::Normalisation;

/// Mean and standard deviation of the training set of CIFAR-10, as commonly used.
pub const CIFAR10: Normalisation =
    Normalisation::new([0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]);

/// Mean and standard deviation of the training set of CIFAR-100.
pub const CIFAR100: Normalisation =
    Normalisation::new([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]);

/// Mean and standard deviation of ImageNet-1k, which folders of photographs use as well.
pub const IMAGENET: Normalisation =
    Normalisation::new([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// Mean and standard deviation of STL-10, as commonly used.
pub const STL10: Normalisation =
    Normalisation::new([0.4467, 0.4398, 0.4066], [0.2603, 0.2566, 0.2713]);

/// Mean and standard deviation of the 60,000 training images of Fashion-MNIST, whose three channels
/// are equal.
pub const FASHION_MNIST: Normalisation =
    Normalisation::new([0.2860, 0.2860, 0.2860], [0.3530, 0.3530, 0.3530]);

/// The images of a run: their place, their format, and how many are used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Format of the images.
    pub format: Format,
    /// Folder of the images; for CIFAR it may be the archive.
    #[serde(serialize_with = "crate::name_text::serialize")]
    pub path: PathBuf,
    /// Folder of the training images below `path`, where the usual names are not meant; `.` for all images.
    /// This and the next two are for folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<PathBuf>,
    /// Folder of the validation images below `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// Folder of the test images below `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Labels that are read. Only probes and reports see them.
    pub labels: Labels,
    /// Largest number of training images, evenly over the classes; see [`super::Subset::balanced`].
    pub limit_train: Option<usize>,
    /// Largest number of validation images, evenly over the classes.
    pub limit_validation: Option<usize>,
    /// Treatment of classes without images: of ImageNet-100, and of class folders of which no file can be
    /// read as an image.
    pub missing_classes: MissingClasses,
    /// The bits that the samples of 16-bit PNG, TIFF and PNM images use: 8 to 16. A sample becomes its
    /// highest eight of these bits; larger ones become 255. A PNM file whose header gives a largest sample
    /// below 65535 is scaled by that, whatever is set here.
    #[serde(skip_serializing_if = "is_sixteen")]
    pub bits_used: u32,
    /// Which numbers are black and white in images of 16 bits a sample and of floating-point numbers.
    #[serde(skip_serializing_if = "Range::is_full")]
    pub range: Range,
    /// The number of channels of the images, 1 to [`crate::MOST_CHANNELS`]. With 3 every image is read as RGB: grey is
    /// repeated, alpha is dropped. With another number images have exactly these channels, as they are stored.
    #[serde(skip_serializing_if = "is_three")]
    pub channels: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            format: Format::default(),
            path: PathBuf::new(),
            train: None,
            validation: None,
            test: None,
            labels: Labels::default(),
            limit_train: None,
            limit_validation: None,
            missing_classes: MissingClasses::default(),
            bits_used: 16,
            range: Range::Full,
            channels: 3,
        }
    }
}

impl DataConfig {
    /// What samples of more than 8 bits become.
    pub fn tones(&self) -> Tones {
        Tones { bits_used: self.bits_used, range: self.range }
    }
}

/// Whether all of 16 bits are used, which is not written down.
fn is_sixteen(bits: &u32) -> bool {
    *bits == 16
}

/// Whether images are RGB, which is not written down.
fn is_three(channels: &usize) -> bool {
    *channels == 3
}

/// Formats of image sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Image files in folders; with `train/` and `val/`, or other usual names, there are two splits,
    /// otherwise one.
    #[default]
    Folder,
    /// CIFAR-10, binary version or the one for Python.
    Cifar10,
    /// CIFAR-100, binary version or the one for Python.
    Cifar100,
    /// The four files of MNIST or Fashion-MNIST.
    Idx,
    /// An ImageNet tree, of which 100 classes are used.
    ImageNet100,
    /// Tar files in WebDataset's naming.
    Tar,
    /// Parquet files in the layout of Hugging Face's `datasets`.
    Parquet,
    /// A list of image files, as CSV or Parquet.
    List,
    /// STL-10, binary version.
    Stl10,
}

impl Format {
    /// Whether images in this format are files of any size, such as photographs, and not small pictures of one
    /// size.
    pub fn is_photographs(self) -> bool {
        match self {
            Format::Folder | Format::ImageNet100 | Format::Tar | Format::Parquet | Format::List => {
                true
            }
            Format::Cifar10 | Format::Cifar100 | Format::Idx | Format::Stl10 => false,
        }
    }

    /// The default normalisation of images in this format; for [`Format::Idx`] that of Fashion-MNIST.
    pub fn normalisation(self) -> Normalisation {
        match self {
            Format::Cifar10 => CIFAR10,
            Format::Cifar100 => CIFAR100,
            Format::Idx => FASHION_MNIST,
            Format::Stl10 => STL10,
            Format::Folder | Format::ImageNet100 | Format::Tar | Format::Parquet | Format::List => {
                IMAGENET
            }
        }
    }
}

/// Labels that are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Labels {
    /// The labels of the set, if it has labels; for CIFAR-100 the fine labels.
    #[default]
    Auto,
    /// The same, but a set without labels is an error. In folders, the first level below the split is
    /// the class, however deep the images are.
    Fine,
    /// The 20 superclasses of CIFAR-100.
    Coarse,
    /// No labels, even if the set has labels.
    None,
}

/// The images to evaluate on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evaluated {
    /// The validation images; the test images, where there are no validation images.
    #[default]
    Validation,
    /// The test images. CIFAR and IDX files have these and no others.
    Test,
}

impl Evaluated {
    /// The name of the split in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// Treatment of classes without images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingClasses {
    /// The set is refused: a result on fewer classes is not comparable.
    #[default]
    Error,
    /// The classes with images are used.
    Allow,
}
