//! A frozen encoder and how images are brought to it: what every evaluation starts from.
//!
//! It comes out of a run folder or out of a file that [`export`](mod@crate::encoder::export) wrote, and knows
//! its input: size, crop and normalisation go with the weights, because features of images that
//! were prepared in another way are numbers without meaning. Called by the commands that evaluate.

pub mod export;
pub mod file;
pub mod foreign;
pub mod images;
pub mod onnx;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::{module::Module, tensor::Device};
use serde::{Deserialize, Serialize};
use vssl_data::{
    DataError, Dataset, EvaluationPlan, EvaluationTransform, Normalisation, OnBadImage,
    dataset::Format, loader::workers,
};

use export::{ExportError, Stored};
use file::{ImportError, Imported};
use images::{each_evaluated, features, features_of_set, images_to_tensor};

use crate::{
    backbone::{Backbone, BackboneConfig},
    features::{FeatureError, FeatureRows, Features, SpillWriter},
    layers::{Init, Mode},
    method::learner::Network,
    recipe::Recipe,
    tensors::state,
};

/// Images in the forward pass of an evaluation. Without gradients this many images need little memory.
pub const BATCH: usize = 256;

/// Why there is no encoder, or no features.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// Nothing is at its place.
    #[error(
        "{}: does not exist; expected a run folder, or a file that `vssl export` or `vssl import` \
         wrote", path.display()
    )]
    Missing {
        /// The place.
        path: PathBuf,
    },
    /// Of a run.
    #[error(transparent)]
    Run(#[from] ExportError),
    /// Of a file.
    #[error(transparent)]
    File(#[from] ImportError),
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Their features.
    #[error(transparent)]
    Features(#[from] FeatureError),
}

/// What an encoder expects its images to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Side of the square that the network sees, pixels.
    pub size: usize,
    /// Length of the shorter side before the centre is cut out; `None` leaves images of the right
    /// size untouched.
    pub resize: Option<usize>,
    /// Mean and standard deviation of the channels.
    pub normalisation: Normalisation,
}

impl Input {
    /// As evaluations of a run prepare its images: the size of the first global view; photographs as
    /// ImageNet's, shorter side to 256/224 of the crop; small images as they are.
    pub fn of(recipe: &Recipe) -> Self {
        let global = recipe.views.iter().find(|group| !group.local);
        let size = global.expect("a loaded recipe has a global view").size;
        Self::new(size, recipe.data.format, recipe.data.normalisation())
    }

    /// Squares of `size` from images that are stored as `format`.
    pub fn new(size: usize, format: Format, normalisation: Normalisation) -> Self {
        let photographs = matches!(format, Format::Folder | Format::ImageNet100);
        Self { size, resize: photographs.then(|| (size * 256).div_ceil(224)), normalisation }
    }

    /// The same for the loader.
    pub fn transform(&self) -> EvaluationTransform {
        EvaluationTransform { resize: self.resize, crop: self.size }
    }
}

/// How images are read; changes speed and what a bad image does, and no feature.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Threads that decode.
    pub workers: usize,
    /// Batches that wait at most.
    pub prefetch: usize,
    /// Whether an image that cannot be read stops everything or is left out.
    pub on_bad_image: OnBadImage,
}

impl Default for Reading {
    fn default() -> Self {
        Self { workers: workers(None), prefetch: 2, on_bad_image: OnBadImage::Stop }
    }
}

/// A frozen encoder, off the autodiff device.
pub struct Encoder {
    /// The network.
    pub backbone: Backbone,
    /// Which network it is.
    pub config: BackboneConfig,
    /// What it expects.
    pub input: Input,
    /// Where it was read from: a run folder or a file.
    pub path: PathBuf,
    /// The recipe that trained it; `None` for a file.
    pub recipe: Option<Recipe>,
    /// Steps of training; `None` where the file does not say.
    pub step: Option<u64>,
    /// Where it computes.
    pub device: Device,
}

impl Encoder {
    /// The encoder of the run folder `path` as it was in `checkpoint` (`latest`, `best` or
    /// `step-N`), or the one in the exported file `path`, for which the other two mean nothing.
    ///
    /// # Errors
    /// As [`export::export`] for a folder and [`file::import`] for a file.
    pub fn open(
        path: &Path,
        checkpoint: &str,
        network: Network,
        device: &Device,
    ) -> Result<Self, EncoderError> {
        if !path.exists() {
            return Err(EncoderError::Missing { path: path.to_owned() });
        }
        if path.is_file() {
            let Imported { backbone, config, input, step } = file::import(path, device)?;
            let (path, device) = (path.to_owned(), device.clone());
            return Ok(Self { backbone, config, input, path, recipe: None, step, device });
        }
        let Stored { recipe, step, encoder } = Stored::read(path, checkpoint, network)?;
        let config = recipe.backbone.clone();
        let fresh = Backbone::new(&config, &Init::new(device, 0));
        let backbone = state::restore(fresh, encoder)
            .map_err(|source| ImportError::Tensors { path: path.to_owned(), source })?
            .no_grad();
        let (input, path, device) = (Input::of(&recipe), path.to_owned(), device.clone());
        let (recipe, step) = (Some(recipe), Some(step));
        Ok(Self { backbone, config, input, path, recipe, step, device })
    }

    /// How a set of images is read for this encoder.
    pub fn plan(&self, reading: &Reading) -> EvaluationPlan {
        EvaluationPlan {
            transform: self.input.transform(),
            normalisation: self.input.normalisation,
            batch: BATCH,
            workers: reading.workers,
            prefetch: reading.prefetch,
            on_bad_image: reading.on_bad_image,
        }
    }

    /// Features of normalised images, one row an image.
    ///
    /// `pixels`: `count · size · size · 3`, channels last.
    pub fn embed(&self, pixels: Vec<f32>, count: usize) -> Features {
        let x = images_to_tensor(pixels, count, self.input.size, &self.device);
        features(self.backbone.forward(x, Mode::Eval))
    }

    /// Features of all images, in their order and with their labels, those left out missing.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn features(
        &self,
        images: &Arc<dyn Dataset>,
        reading: &Reading,
    ) -> Result<Features, EncoderError> {
        let rows = self.features_within("features", images, reading, u64::MAX)?;
        Ok(rows.into_memory()?)
    }

    /// The same, in memory only if the numbers take at most `limit` bytes; in a temporary file
    /// otherwise, in the folder that the environment's `TMPDIR` names. `set` says in a message whose
    /// features they are.
    ///
    /// # Errors
    /// Images that cannot be read, a temporary file that cannot be written.
    pub fn features_within(
        &self,
        set: &'static str,
        images: &Arc<dyn Dataset>,
        reading: &Reading,
        limit: u64,
    ) -> Result<FeatureRows, EncoderError> {
        let writer = SpillWriter::new(set, images.len(), limit);
        let embed = |pixels, count| self.embed(pixels, count);
        let (rows, _) = features_of_set::<EncoderError>(images, self.plan(reading), writer, embed)?;
        Ok(rows)
    }

    /// Hands out the features of all images batch by batch, with the images' numbers, so that no
    /// more than a batch has to be kept. Batches whose images were all left out are skipped. Returns how
    /// many were left out.
    ///
    /// # Errors
    /// Images that cannot be read, and what `each` returns.
    pub fn each_batch<Error: From<EncoderError>>(
        &self,
        images: &Arc<dyn Dataset>,
        reading: &Reading,
        mut each: impl FnMut(&[usize], Features) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let data = |error: DataError| Error::from(EncoderError::from(error));
        each_evaluated(images, self.plan(reading), data, |indices, pixels| {
            each(indices, self.embed(pixels, indices.len()))
        })
    }
}
