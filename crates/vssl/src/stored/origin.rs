//! Where rows of features come from: which encoder made them of which images.
//!
//! Features of two encoders have nothing in common, even if they have the same width; so an encoder
//! is known by its weights, wherever it lies. Written by `columns` and `tensors`, asked by `index`.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vssl_data::{
    DataConfig, DataError, Dataset, Splits,
    dataset::{self, Evaluated, text_of},
};

use crate::{
    backbone::{Backbone, BackboneConfig, Pooling},
    encoder::{Encoder, Input},
    formats::hex,
    method::learner::Network,
    recipe::{self, Difference},
    tensors::state,
};

/// Which images of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The images to learn from: all images, in a folder without `train/`.
    #[default]
    Train,
    /// The images to judge by; the test images, where there are no validation images.
    Validation,
    /// The test images.
    Test,
}

impl Split {
    /// Opens the set that `config` describes, with the images of this split.
    ///
    /// # Errors
    /// As [`dataset::open_for`].
    pub fn open(self, config: &DataConfig) -> Result<Splits, DataError> {
        dataset::open_for(config, None, self.evaluated())
    }

    /// Returns the images to evaluate on that a set is opened with for this split.
    pub fn evaluated(self) -> Evaluated {
        match self {
            Self::Train | Self::Validation => Evaluated::Validation,
            Self::Test => Evaluated::Test,
        }
    }

    /// Its images, if the set has them. `splits` was opened by [`Split::open`].
    pub fn of(self, splits: &Splits) -> Option<Arc<dyn Dataset>> {
        match self {
            Self::Train => Some(Arc::clone(&splits.train)),
            Self::Validation | Self::Test => splits.validation.clone(),
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// The encoder and the images that rows of features come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Version of the program that wrote the rows.
    pub version: String,
    /// Run folder or file of the encoder.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub encoder: PathBuf,
    /// `student` or `teacher`, of a run.
    pub network: String,
    /// Which checkpoint of a run, as it was asked for.
    pub checkpoint: String,
    /// The pooling of the tokens, where it is not the network's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// What decides the feature beside the weights, as in `[backbone]`: the pooling, the heads and the like. `None` in a
    /// file of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<toml::Table>,
    /// Steps of training that the encoder had, where known.
    pub step: Option<u64>,
    /// The [`fingerprint`] of the encoder's weights.
    pub sha256: String,
    /// How images were brought to the encoder.
    pub input: Input,
    /// The set of images.
    pub images: DataConfig,
    /// Which images of the set.
    pub split: Split,
    /// Names of the classes in the order of the labels; empty without labels.
    pub classes: Vec<String>,
    /// What the column of uncertainty holds, where there is such a column.
    pub uncertainty: Option<String>,
}

impl Origin {
    /// The origin of features of the images of `split` of the set `images`, by an encoder that was opened
    /// as `checkpoint` and `network`. Paths become absolute, because the file may be read from anywhere.
    pub fn new(
        encoder: &Encoder,
        checkpoint: &str,
        network: Network,
        images: &DataConfig,
        split: Split,
    ) -> Self {
        let network = match network {
            Network::Student => "student",
            Network::Teacher => "teacher",
        };
        let images = DataConfig { path: absolute(&images.path), ..images.clone() };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            encoder: absolute(&encoder.path),
            network: network.to_owned(),
            checkpoint: checkpoint.to_owned(),
            pooling: encoder.pooling,
            backbone: Some(encoder.config.of_feature()),
            step: encoder.step,
            sha256: fingerprint(encoder),
            input: encoder.input,
            images,
            split,
            classes: Vec::new(),
            uncertainty: None,
        }
    }

    /// The network, as [`Encoder::open`] wants it.
    pub fn network(&self) -> Network {
        if self.network == "teacher" { Network::Teacher } else { Network::Student }
    }

    /// Returns the settings that decide a feature beside the weights and in which the network `config` differs from the
    /// one that made the rows. The list is empty where the file does not have them: see [`Origin::is_unsure`].
    pub fn differences(&self, config: &BackboneConfig) -> Vec<Difference> {
        let was = self.backbone.as_ref();
        was.map_or_else(Vec::new, |was| recipe::of_tables(was, &config.of_feature()))
    }

    /// Returns the pooling of the rows, where the file tells it.
    pub fn pooling_of_rows(&self) -> Option<Pooling> {
        let noted = || self.backbone.as_ref()?.get("vit")?.get("pooling")?.clone().try_into().ok();
        self.pooling.or_else(noted)
    }

    /// Returns whether the file is of an earlier version, which noted the weights of the network and not its settings.
    pub fn is_unsure(&self) -> bool {
        self.backbone.is_none()
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("plain values")
    }

    /// The name of image `index` without the folder that all images are in.
    pub fn relative(&self, images: &dyn Dataset, index: usize) -> String {
        relative(&self.images.path, images, index)
    }
}

/// The name of image `index` of a set in the absolute folder `root`, without that folder.
pub(super) fn relative(root: &Path, images: &dyn Dataset, index: usize) -> String {
    let name = images.name(index);
    let name = absolute(Path::new(&name));
    let root = text_of(root);
    name.strip_prefix(&root).unwrap_or(&name).display().to_string()
}

/// A path that has no current folder is left as it is.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// SHA-256 over names, shapes and numbers of the encoder's tensors: the same for a run and for a file
/// that was exported from it.
pub fn fingerprint(encoder: &Encoder) -> String {
    fingerprint_of(&encoder.backbone)
}

/// The [`fingerprint`] of an encoder's network.
pub fn fingerprint_of(network: &Backbone) -> String {
    let mut hash = Sha256::new();
    for (name, tensor) in state::collect(network) {
        hash.update(name.as_bytes());
        hash.update([0]);
        for &size in tensor.shape().as_slice() {
            hash.update((size as u64).to_le_bytes());
        }
        hash.update(tensor.as_bytes());
    }
    hex(&hash.finalize())
}
