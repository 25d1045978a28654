//! What a person should know before a run starts. Called when the plan of the run is made.

use std::collections::BTreeSet;

use super::{Plan, TrainError, beginning::Continuation};
use crate::{recipe::Recipe, run::length::Length};

impl Plan {
    /// Returns the notes on a plan whose data are open.
    ///
    /// # Errors
    /// The run cannot go on from its checkpoint, the method needs labels that the images do not have, or the evaluations
    /// ask for a feature that the network does not have.
    pub(super) fn remarks(
        &mut self,
        length: Length,
        allow_changed: bool,
    ) -> Result<Vec<String>, TrainError> {
        let mut notes = Vec::from_iter(self.remark_on_feature()?);
        notes.extend(self.on_going_on(length, allow_changed)?);
        notes.extend(self.on_labels()?);
        notes.extend(self.on_freezing());
        notes.extend(self.on_evaluations());
        notes.extend(self.recipe.schedule.remark("schedule.milestones", self.recipe.train.epochs));
        notes.push(format!("prefetched views take at most {} MiB", self.prefetched_bytes() >> 20));
        Ok(notes)
    }

    /// Returns the notes on a run that goes on from a checkpoint, which takes them as well.
    fn on_going_on(
        &mut self,
        length: Length,
        allow_changed: bool,
    ) -> Result<Vec<String>, TrainError> {
        let Some(checkpoint) = &mut self.resume_from else { return Ok(Vec::new()) };
        let Recipe { schedule, optimizer, train, .. } = &self.recipe;
        let base = optimizer.base_rate(train.batch);
        let continuation = Continuation {
            run: &self.run,
            length,
            count: self.train.len(),
            images: self.images.as_ref(),
            allow_changed_data: allow_changed,
            rate: &|at| schedule.at(base, at),
        };
        continuation.notes(checkpoint)
    }

    /// Returns a note on a method that learns from labels.
    ///
    /// # Errors
    /// The images have no labels, or all have the same.
    fn on_labels(&self) -> Result<Option<String>, TrainError> {
        let method = &self.recipe.method;
        if !method.sees_labels() {
            return Ok(None);
        }
        let name = method.name();
        let Some(labels) = self.train.labels() else {
            return Err(TrainError::Setting(format!(
                "method = \"{name}\" learns from the labels of the training images, and these images have none; \
                 expected a folder for each class, or another method"
            )));
        };
        let classes: BTreeSet<&u32> = labels.iter().collect();
        if classes.len() < 2 {
            return Err(TrainError::Setting(format!(
                "method = \"{name}\" tells classes apart, and all training images have the same label; expected two \
                 classes or more"
            )));
        }
        Ok(Some(format!(
            "{name} sees the labels of the training images: its accuracies do not compare with those of methods \
             that learn without labels"
        )))
    }

    /// Returns a note on how long the encoder that the run starts from stays as it is.
    fn on_freezing(&self) -> Option<String> {
        let init = self.recipe.init.as_ref().filter(|init| init.freeze_epochs > 0)?;
        let steps = init.freeze_epochs.saturating_mul(self.steps_per_epoch);
        let total = self.total_steps;
        Some(match steps < total {
            true => format!("the heads train alone in the first {steps} of {total} steps"),
            false => format!(
                "the heads train alone in all {total} steps, so the encoder stays as it is: init.freeze_epochs = {}",
                init.freeze_epochs
            ),
        })
    }

    /// Returns the notes on evaluations that are skipped or see less than they were asked to.
    fn on_evaluations(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.train.labels().is_none() {
            notes.push("the images have no labels: probe and evaluations are skipped".to_owned());
        } else if self.validation.is_none() {
            notes.push("there is no validation split: evaluations are skipped".to_owned());
        } else if self.validation.as_ref().is_some_and(|split| split.labels().is_none()) {
            notes.push("the validation split has no labels: evaluations are skipped".to_owned());
        }
        let (k, images) = (self.recipe.knn.k, self.train.len());
        if self.has_validation_labels() && k > images {
            notes
                .push(format!("knn.k = {k}: there are {images} training images, all of them vote"));
        }
        notes
    }
}
