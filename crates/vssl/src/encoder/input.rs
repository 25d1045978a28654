//! How images come to an encoder: their preparation, and how they are read. Called by `encoder`.

use serde::{Deserialize, Serialize};
use vssl_data::{EvaluationTransform, Normalisation, OnBadImage, dataset::Format, loader::workers};

use crate::recipe::Recipe;

/// The preparation of the images that an encoder expects.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The side in pixels of the square that the network sees.
    pub size: usize,
    /// The length of the shorter side before the centre is cut out; `None` leaves images of the right size as
    /// they are.
    pub resize: Option<usize>,
    /// The mean and standard deviation of the channels.
    pub normalisation: Normalisation,
}

impl Input {
    /// Returns the input of a run's encoder. The size is that of the first global view. Photographs are
    /// resized as for ImageNet, the shorter side to 256/224 of the crop; small images stay as they are.
    pub fn of(recipe: &Recipe) -> Self {
        let global = recipe.views.iter().find(|group| !group.local);
        let size = global.expect("a loaded recipe has a global view").size;
        Self::new(size, recipe.data.format, recipe.data.normalisation())
    }

    /// Returns an input of squares of `size` from images that are stored as `format`.
    pub fn new(size: usize, format: Format, normalisation: Normalisation) -> Self {
        let photographs = format.is_photographs();
        Self { size, resize: photographs.then(|| (size * 256).div_ceil(224)), normalisation }
    }

    /// Returns the number of channels of the images.
    pub fn channels(&self) -> usize {
        self.normalisation.channels()
    }

    /// Returns the same preparation in the form that the loader takes.
    pub fn transform(&self) -> EvaluationTransform {
        EvaluationTransform { resize: self.resize, crop: self.size }
    }
}

/// How images are read. This changes the speed and the treatment of bad images, but no feature.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The number of threads that decode, at most; fewer decode where their batches would take too much memory.
    pub workers: usize,
    /// The largest number of batches that wait.
    pub prefetch: usize,
    /// Whether an image that cannot be read stops the evaluation or is left out.
    pub on_bad_image: OnBadImage,
}

impl Default for Reading {
    fn default() -> Self {
        Self { workers: workers(None), prefetch: 2, on_bad_image: OnBadImage::Stop }
    }
}
