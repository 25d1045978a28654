//! What the uncertainty of a network is worth, in figures.
//!
//! VSSL trains distributions, so it can say of one image how unsure it is. Whether that is worth
//! anything is a question of measurement: does the score rise on images of another kind, on spoiled
//! images, on images that a probe gets wrong, and does it so better than scores that need no
//! distribution? [`Assessment::of`] asks all scores of [`Score`] the same questions about the same
//! images. Called by `vssl uncertainty`.

mod assessment;
mod auroc;
mod judge;
mod picture;
mod retrieval;
mod risk;
mod score;
mod sheet;
mod subject;

use std::path::PathBuf;

use serde::Serialize;
use vssl_data::DataError;

pub use assessment::{Assessment, Change, Comparison, Material, Recall, Report, Retrieval, TEST};
pub use auroc::{Auroc, auroc, auroc_of_pairs};
pub use retrieval::{
    RetrievalAuroc, correct_retrievals, in_single_precision, nearest_others, retrieval_auroc,
};
pub use risk::{POINTS, Risk, risk};
pub use score::{Score, mean_log_variance, of_posterior};
pub use subject::Subject;

use crate::{encoder::EncoderError, eval::EvalError};

/// Is told what is being done, how many images are done and of how many; 0 of 0 where that is not known.
pub type Progress<'a> = dyn FnMut(&str, usize, usize) + 'a;

/// How much is measured, and by which random numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Images of each set at most; evenly over the classes where there are labels.
    pub images: usize,
    /// Which nearest training feature gives the distance.
    pub neighbour: usize,
    /// Views of each image, for the spreads; 0 leaves them out.
    pub views: usize,
    /// The seed of the views, of the noise and of the generated pictures.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { images: 1000, neighbour: 50, views: 8, seed: 0 }
    }
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UncertaintyError {
    /// The run or the file.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The features.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A set without enough images.
    #[error("{set}: {got} images; expected at least 2, or there is nothing to compare")]
    TooFew {
        /// Which set.
        set: String,
        /// Images in it.
        got: usize,
    },
    /// A score that is not a finite number.
    #[error(
        "{}: the score {score} of image {image} of {set} is {value}; the model has diverged, \
         evaluate an earlier checkpoint",
        run.display()
    )]
    NotFinite {
        /// The run or the file.
        run: PathBuf,
        /// Which score.
        score: &'static str,
        /// The set that the image is in.
        set: String,
        /// Number of the image in the set.
        image: usize,
        /// Its value.
        value: f64,
    },
}
