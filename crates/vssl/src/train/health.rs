//! Figures that show whether the features collapse. The loss cannot show it, because it also falls when all
//! images get the same features.

use serde::Serialize;

use crate::{
    eval::{EvalError, spectrum},
    features::Features,
    recipe::HealthConfig,
};

/// The figures of one batch of backbone features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Health {
    /// The standard deviation of the L2-normalised features over the batch, averaged over the dimensions and
    /// multiplied by √dim: 1 for random directions, 0 when all images look the same.
    pub spread: f64,
    /// The exponential of the entropy of the singular values (RankMe, arXiv:2210.02885).
    pub effective_rank: f64,
    /// The mean cosine similarity of different images.
    pub mean_cosine: f64,
}

impl Health {
    /// Computes the figures of one view's features.
    ///
    /// # Errors
    /// A feature is not a finite number.
    pub fn of(features: &Features) -> Result<Self, EvalError> {
        let found = spectrum::spectrum(features)?;
        Ok(Self {
            spread: found.spread,
            effective_rank: found.effective_rank,
            mean_cosine: found.mean_cosine,
        })
    }

    /// Returns a warning where a figure is below the limit that `config` sets.
    pub fn symptom(&self, config: &HealthConfig) -> Option<String> {
        let Self { spread, effective_rank, .. } = *self;
        let HealthConfig { min_rank, min_spread, .. } = *config;
        let what = match (effective_rank < min_rank, spread < min_spread) {
            (false, false) => return None,
            (true, false) => format!("effective rank {effective_rank:.2} is below {min_rank}"),
            (false, true) => format!("spread {spread:.3} is below {min_spread}"),
            (true, true) => format!(
                "effective rank {effective_rank:.2} is below {min_rank} and spread {spread:.3} \
                 below {min_spread}"
            ),
        };
        Some(format!(
            "the features are collapsing: {what}; the encoder is about to give every image the \
             same vector. Lower the learning rate, or look at the parts of the loss"
        ))
    }
}
