//! The data section of a recipe, and what it opens. Called once by the trainer and the evaluators.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Dataset, Splits, Subset, cifar, folder, idx, imagenet100};
use crate::{DataError, Normalisation};

/// Mean and standard deviation of the training set of CIFAR-10, as commonly used.
pub const CIFAR10: Normalisation =
    Normalisation { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] };

/// Of CIFAR-100.
pub const CIFAR100: Normalisation =
    Normalisation { mean: [0.5071, 0.4865, 0.4409], std: [0.2673, 0.2564, 0.2762] };

/// Of ImageNet-1k; also for folders of photographs.
pub const IMAGENET: Normalisation =
    Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/// Of all 60,000 training images of Fashion-MNIST, in each of three equal channels.
pub const FASHION_MNIST: Normalisation =
    Normalisation { mean: [0.2860, 0.2860, 0.2860], std: [0.3530, 0.3530, 0.3530] };

/// Where the images are and which of them are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// How they are stored.
    pub format: Format,
    /// Folder, or archive for CIFAR.
    pub path: PathBuf,
    /// Which labels are read. Only probes and reports see them.
    pub labels: Labels,
    /// At most this many training images, evenly over the classes; see [`Subset::balanced`].
    pub limit_train: Option<usize>,
    /// At most this many validation images, likewise.
    pub limit_validation: Option<usize>,
    /// What ImageNet-100 does about classes without images.
    pub missing_classes: MissingClasses,
}

/// How images are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Image files in folders; `train/` and `val/` if there are such, else one split.
    #[default]
    Folder,
    /// CIFAR-10, binary version.
    Cifar10,
    /// CIFAR-100, binary version.
    Cifar100,
    /// The four files of MNIST or Fashion-MNIST.
    Idx,
    /// An ImageNet tree, of which 100 classes are used.
    ImageNet100,
}

impl Format {
    /// What a recipe of this format normalises by unless it says otherwise. For
    /// [`Format::Idx`] that of Fashion-MNIST.
    pub fn normalisation(self) -> Normalisation {
        match self {
            Format::Cifar10 => CIFAR10,
            Format::Cifar100 => CIFAR100,
            Format::Idx => FASHION_MNIST,
            Format::Folder | Format::ImageNet100 => IMAGENET,
        }
    }
}

/// Which labels are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Labels {
    /// Those that are there; the fine ones of CIFAR-100.
    #[default]
    Auto,
    /// As `Auto`, but it is an error if there are none. In folders, the first level below the
    /// split is the class however deep the images are.
    Fine,
    /// The 20 superclasses of CIFAR-100.
    Coarse,
    /// None, even if there are some.
    None,
}

/// What to do about classes of ImageNet-100 without images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingClasses {
    /// Refuse: a result on fewer classes is not comparable.
    #[default]
    Error,
    /// Use the classes that are there.
    Allow,
}

/// Opens the splits that `config` describes; a relative path is taken from `root` when given.
///
/// # Errors
/// A path that is not set or missing, files that are not what they should be, a limit of 0, or a
/// kind of label that the format has not.
pub fn open(config: &DataConfig, root: Option<&Path>) -> Result<Splits, DataError> {
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
    let path = root.map_or_else(|| config.path.clone(), |root| root.join(&config.path));
    let labels = config.labels;
    Ok(match config.format {
        Format::Folder => limited(folder::open(&path, labels)?, config),
        Format::Cifar10 => limited(cifar::open_ten(&path, labels)?, config),
        Format::Cifar100 => limited(cifar::open_hundred(&path, labels)?, config),
        Format::Idx => limited(idx::open(&path, labels)?, config),
        Format::ImageNet100 => {
            limited(imagenet100::open(&path, labels, config.missing_classes)?, config)
        }
    })
}

fn limited<D: Dataset + 'static>(
    (train, validation): (D, Option<D>),
    config: &DataConfig,
) -> Splits {
    Splits {
        train: limit(Arc::new(train), config.limit_train),
        validation: validation.map(|split| limit(Arc::new(split), config.limit_validation)),
    }
}

fn limit(split: Arc<dyn Dataset>, limit: Option<usize>) -> Arc<dyn Dataset> {
    match limit {
        Some(limit) if limit < split.len() => Arc::new(Subset::balanced(split, limit)),
        _ => split,
    }
}
