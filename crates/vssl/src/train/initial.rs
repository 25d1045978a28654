//! The networks of a run before its first step: random weights, or those of the encoder that the run starts from.

use std::sync::PoisonError;

use super::{
    Plan, TrainError,
    start::{self, Start},
};
use crate::{
    backbone::Backbone,
    method::learner::{Initial, Learner, Network},
    recipe::Recipe,
};

impl Plan {
    /// Makes the networks with their first weights: random ones, which are the same for the same seed, and in the
    /// backbones those of the encoder that the run starts from. Where the run goes on from a checkpoint the encoder is
    /// not read: all weights are replaced.
    ///
    /// # Errors
    /// The encoder that the run starts from cannot be read any more.
    pub fn learner(&self) -> Result<Box<dyn Learner>, TrainError> {
        let device = self.device.clone().autodiff();
        let Recipe { method, backbone, seed, init, .. } = &self.recipe;
        let mut initial = Initial::default();
        if let Some(init) = init {
            initial.freeze_epochs = init.freeze_epochs;
            if self.resume_from.is_none() {
                let folder = self.recipe_folder.as_deref();
                let kept = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
                initial.weights = Some(match kept {
                    Some(weights) => weights,
                    // They were used before.
                    None => Start::of_run(&self.run, self.continues, init, folder)?.weights,
                });
            }
        }
        let made = method.learner_from(initial, backbone, &self.sizes, &device, *seed);
        Ok(made.expect("the recipe has the backbone of the encoder"))
    }

    /// Returns the encoder before the first step: the one that the run starts from, or an untrained one. `None` where
    /// the encoder that the run started from is gone or damaged.
    ///
    /// # Errors
    /// The networks of the run cannot be made.
    pub(super) fn encoder_before(&self) -> Result<Option<Backbone>, TrainError> {
        match &self.recipe.init {
            Some(init) => Ok(start::before(&self.run, init, &self.device)),
            None => Ok(self.learner()?.encoder(Network::Student)),
        }
    }

    /// Writes a copy of the encoder that the run starts from into the run folder, before the first step of `learner`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn keep_start(&self, learner: &dyn Learner) -> Result<(), TrainError> {
        if self.recipe.init.is_none() || self.resume_from.is_some() {
            return Ok(());
        }
        let encoder = learner.encoder(Network::Student).expect("every method has a student");
        start::keep(&self.run, &self.recipe, &encoder)
    }

    /// Checks that all ranks start from the same encoder.
    ///
    /// # Errors
    /// They do not, or a rank has failed.
    pub(super) fn check_start(&self) -> Result<(), TrainError> {
        let Some(digest) = self.recipe.init.as_ref().and_then(|init| init.digest.as_ref()) else {
            return Ok(());
        };
        let own = digest.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let all = self.group.gather_numbers(&[own.unwrap_or_default()]);
        self.group.check()?;
        match all.iter().position(|other| Some(other) != all.first()) {
            Some(rank) => Err(TrainError::StartsDiffer { rank }),
            None => Ok(()),
        }
    }
}
