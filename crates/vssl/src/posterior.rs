//! The Gaussian outputs of a trained run: what a method with distributions believes of images.
//!
//! An exported encoder ends at the backbone's features; mean, variance and the teacher's prior need
//! the heads and the teacher, which only a run's checkpoint has. Called by the evaluations of
//! uncertainty and by whatever writes posteriors out.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};

use crate::{
    encoder::{
        EncoderError, Input,
        export::{self, ExportError},
        images::images_to_tensor,
    },
    method::{Posterior, learner::Learner},
    methods,
    recipe::Recipe,
    run::{checkpoint::CheckpointError, folder},
    train,
};

/// The name of what [`score`] computes, for tables and pages.
pub const SCORE: &str = "KL(posterior ‖ prior)";

/// How unsure the network is of each image, one number an image; a larger number is less sure.
///
/// Among the scores that a posterior gives for one image without views, this one told unusual images
/// apart best, on the mean of the sets that were measured and for both objectives; log-variances told
/// nothing (record/2026-11-uncertainty). The score has no scale: it compares images of one run. It does
/// not measure the errors of a classifier: for them the classifier's own doubt was far better.
///
/// # Shapes — returns `[n]`.
pub fn score(posterior: &Posterior) -> Tensor<1> {
    posterior.divergence.clone()
}

/// The networks of a run whose method has a posterior.
pub struct Posteriors {
    /// What the networks expect their images to be.
    pub input: Input,
    /// The recipe that trained the networks.
    pub recipe: Recipe,
    /// Steps of training.
    pub step: u64,
    /// The run folder.
    pub path: PathBuf,
    device: Device,
    learner: Box<dyn Learner>,
}

impl Posteriors {
    /// The networks of the run folder `run` as they were in `checkpoint` (`latest`, `best` or `step-N`);
    /// `None` when the method of the run has no posterior.
    ///
    /// # Errors
    /// A folder that is no run, a checkpoint that is missing, damaged or of another network.
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
        // No method with a posterior remembers single images: their number shapes nothing.
        let sizes = train::sizes(&recipe, recipe.train.batch);
        let training = device.clone().autodiff();
        let mut learner = recipe.method.learner(&recipe.backbone, &sizes, &training, recipe.seed);
        let mut tensors = stored.tensors;
        let mut take = |kind| tensors.remove(kind).unwrap_or_default();
        learner.load(take("student"), take("memory")).map_err(|source| {
            let (path, source) = (run.to_owned(), Box::new(source));
            ExportError::from(CheckpointError::OtherNetwork { path, source })
        })?;
        Ok(Some(Self {
            input: Input::of(&recipe),
            recipe,
            step: stored.position.step,
            path: run.to_owned(),
            device: device.clone(),
            learner,
        }))
    }

    /// What the networks say of normalised images.
    ///
    /// `pixels`: `count · size · size · 3`, channels last.
    pub fn of(&self, pixels: Vec<f32>, count: usize) -> Posterior {
        self.of_tensor(images_to_tensor(pixels, count, self.input.size, &self.device))
    }

    /// What the networks say of images that are on the device, `[n, 3, h, w]`.
    pub fn of_tensor(&self, images: Tensor<4>) -> Posterior {
        self.learner.posterior(images).expect("`open` takes only methods that have one")
    }
}
