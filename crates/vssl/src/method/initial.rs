//! What the networks of a learner begin with. Called by [`super::learner`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::FrozenTeacher;
use crate::tensors::state::Tensors;

/// The name of the backbone in the student of every method.
pub const BACKBONE: &str = "backbone";

/// What a learner starts from; the default is initial values, for images of three channels, and a backbone that trains
/// from the first step.
#[derive(Clone, Debug)]
pub struct Initial {
    /// The number of channels of the images.
    pub channels: usize,
    /// All tensors of an encoder, with which the backbones start.
    pub weights: Option<Tensors>,
    /// The number of epochs in which the heads train alone. The backbones keep every bit in these epochs, and run by
    /// their running statistics.
    pub freeze_epochs: u64,
    /// The frozen teacher of a method that has one; `None` makes an untrained one.
    pub teacher: Option<Arc<FrozenTeacher>>,
}

impl Default for Initial {
    fn default() -> Self {
        Self { channels: 3, weights: None, freeze_epochs: 0, teacher: None }
    }
}

/// The two encoders that a run may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The encoder that the optimiser trains.
    #[default]
    Student,
    /// The moving average of the student's encoder.
    Teacher,
}
