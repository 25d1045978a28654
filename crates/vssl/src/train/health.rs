//! Is the encoder still alive? The loss cannot tell: it also falls when everything collapses.

use serde::Serialize;

use crate::{
    eval::{EvalError, spectrum},
    features::Features,
    recipe::HealthConfig,
};

/// Figures of one batch of backbone features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Health {
    /// Standard deviation of the L2-normalised features over the batch, mean over dimensions,
    /// times √dim: 1 for random directions, 0 when all images look the same.
    pub spread: f64,
    /// Exponential of the entropy of the singular values (RankMe, arXiv:2210.02885).
    pub effective_rank: f64,
    /// Mean cosine between different images.
    pub mean_cosine: f64,
}

impl Health {
    /// Of one view's features.
    ///
    /// # Errors
    /// Features that are not numbers.
    pub fn of(features: &Features) -> Result<Self, EvalError> {
        let found = spectrum::spectrum(features)?;
        Ok(Self {
            spread: found.spread,
            effective_rank: found.effective_rank,
            mean_cosine: found.mean_cosine,
        })
    }

    /// What is wrong, if anything.
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
