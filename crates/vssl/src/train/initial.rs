//! The networks of a run before its first step: random weights, or those of the encoder that the run starts from.

use std::sync::{Arc, PoisonError};

use super::{
    Plan, TrainError,
    kept::{self, Role},
    start::{self, Start},
    stem,
};
use crate::{
    backbone::Backbone,
    encoder::Input,
    method::learner::{Initial, Learner, Network},
    recipe::{InitSection, Recipe},
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
        let teacher = self.teacher.as_ref().map(|teacher| Arc::clone(&teacher.network));
        let channels = self.recipe.data.channels;
        let mut initial = Initial { channels, teacher, ..Initial::default() };
        if let Some(init) = init {
            initial.freeze_epochs = init.freeze_epochs;
            if self.resume_from.is_none() {
                let folder = self.recipe_folder.as_deref();
                let kept = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
                let mut weights = match kept {
                    Some(weights) => weights,
                    // They were used before.
                    None => {
                        Start::of_run(Role::Start, &self.run, self.continues, init, folder)?.weights
                    }
                };
                stem::fit(&mut weights, backbone, channels, init.stem_channels);
                initial.weights = Some(weights);
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
            Some(init) => {
                let init = (init, self.recipe.data.channels);
                Ok(start::before(&self.run, init, &self.device))
            }
            None => Ok(self.learner()?.encoder(Network::Student)),
        }
    }

    /// Writes copies of the encoder that the run starts from, before the first step of `learner`, and of the frozen teacher
    /// into the run folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn keep_start(&self, learner: &dyn Learner) -> Result<(), TrainError> {
        if let Some(teacher) = &self.teacher {
            teacher.keep(&self.run, &self.recipe)?;
        }
        let Recipe { init: Some(init), backbone, .. } = &self.recipe else { return Ok(()) };
        if self.resume_from.is_some() {
            return Ok(());
        }
        let encoder = learner.encoder(Network::Student).expect("every method has a student");
        let to = self.run.join(Role::Start.file());
        kept::keep(&to, init, backbone, &Input::of(&self.recipe), &encoder)
    }

    /// Checks that all ranks start from the same encoder and learn from the same teacher and the same features of it.
    ///
    /// # Errors
    /// They do not, or a rank has failed.
    pub(super) fn check_start(&self) -> Result<(), TrainError> {
        let Recipe { init, teacher, .. } = &self.recipe;
        let digest = |named: &Option<InitSection>| named.as_ref()?.digest.clone();
        let features = teacher.as_ref().and_then(|teacher| teacher.features_digest.clone());
        let read = [
            ("init.from", digest(init)),
            ("teacher.from", digest(teacher)),
            ("teacher.features", features),
        ];
        for (key, digest) in read {
            let Some(digest) = digest else { continue };
            let own = digest.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let all = self.group.gather_numbers(&[own.unwrap_or_default()]);
            self.group.check()?;
            if let Some(rank) = all.iter().position(|other| Some(other) != all.first()) {
                return Err(TrainError::StartsDiffer { key, rank });
            }
        }
        Ok(())
    }
}
