//! The Gaussian outputs of a trained run: the distributions that a method with Gaussian heads assigns to
//! images.
//!
//! An exported encoder ends at the backbone's features; the mean, the variance and the teacher's prior need
//! the heads and the teacher, which only a run's checkpoint has. Called by the evaluations of uncertainty and
//! by the command that writes posteriors to a file.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};

use crate::{
    encoder::{
        EncoderError, Input,
        export::{self, ExportError},
        images::pixels_to_tensor,
    },
    method::{Posterior, PosteriorReader},
    methods,
    recipe::Recipe,
    run::{checkpoint::CheckpointError, folder},
    train,
};

/// The name of the score that [`score`] computes, for tables and pages.
pub const SCORE: &str = "KL(posterior ‖ prior)";

/// Returns how uncertain the network is of each image, one number an image; a larger number is less certain.
///
/// This is the best of the scores that a posterior gives for one image without several views: it told unusual
/// images apart best, on the mean of the sets that were measured and for both objectives. Log-variances told
/// nothing (record/2026-11-uncertainty). The score has no scale: it compares images of one run. It does not
/// measure the errors of a classifier: the classifier's own confidence measured them far better.
///
/// # Shapes — returns `[n]`.
pub fn score(posterior: &Posterior) -> Tensor<1> {
    posterior.divergence.clone()
}

/// The networks of a run whose method has a posterior.
pub struct Posteriors {
    /// The size and normalisation of the images that the networks expect.
    pub input: Input,
    /// The recipe that trained the networks.
    pub recipe: Recipe,
    /// The number of training steps.
    pub step: u64,
    /// The run folder.
    pub path: PathBuf,
    device: Device,
    read: PosteriorReader,
}

impl Posteriors {
    /// Loads the networks of the run folder `run` from `checkpoint` (`latest`, `best` or `step-N`); `None`
    /// when the method of the run has no posterior.
    ///
    /// # Errors
    /// The folder is not a run, or the checkpoint is missing, damaged or of another network.
    pub fn open(
        run: &Path,
        checkpoint: &str,
        device: &Device,
    ) -> Result<Option<Self>, EncoderError> {
        folder::recipe_of(run).map_err(ExportError::from)?;
        let stored = export::checkpoint_of(run, checkpoint)?;
        let recipe = methods::recipe_from(&stored.recipe).map_err(|source| {
            ExportError::Recipe { run: run.to_owned(), source: Box::new(source) }
        })?;
        if !recipe.method.has_posterior() {
            return Ok(None);
        }
        // Methods with a posterior have no memory of single images, so the number of images shapes no tensor.
        let sizes = train::sizes(&recipe, recipe.train.batch);
        let training = device.clone().autodiff();
        let network = (&recipe.backbone, recipe.data.channels);
        let mut learner = recipe.method.learner_of(network, &sizes, &training, recipe.seed);
        let mut tensors = stored.tensors;
        let mut take = |kind| tensors.remove(kind).unwrap_or_default();
        learner.load(take("student"), take("memory")).map_err(|source| {
            let (path, source) = (run.to_owned(), Box::new(source));
            ExportError::from(CheckpointError::OtherNetwork { path, source })
        })?;
        let Some(read) = learner.posterior() else { return Ok(None) };
        Ok(Some(Self {
            input: Input::of(&recipe),
            recipe,
            step: stored.position.step,
            path: run.to_owned(),
            device: device.clone(),
            read,
        }))
    }

    /// Returns the posterior of normalised images.
    ///
    /// `pixels`: `count · size · size · channels`, channels last.
    pub fn of(&self, pixels: impl AsRef<[f32]>, count: usize) -> Posterior {
        self.of_tensor(pixels_to_tensor(pixels.as_ref(), count, self.input.size, &self.device))
    }

    /// Returns the posterior of images that are on the device, `[n, channels, h, w]`.
    pub fn of_tensor(&self, images: Tensor<4>) -> Posterior {
        (self.read)(images)
    }
}
