//! The plan of a run: a [`Plan`] is a recipe whose data are open and whose steps are counted. Everything that
//! can be checked before the first step has been checked, by [`resolve`](super::resolve).

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use burn::tensor::Device;
use vssl_data::{Dataset, EvaluationPlan, Loader, LoaderPlan, Pipeline, loader::workers};

use super::{
    TrainError,
    environment::share,
    evaluation::{Evaluation, add_new, result_notes},
    loss_head::LossHeadTraining,
    probe::Probe,
    teacher::Teacher,
};
use crate::{
    collective::Group,
    encoder::{Input, images_of_a_pass, within_room},
    eval::evaluators::Evaluator,
    layers::budget,
    method::{
        Sizes,
        learner::{BACKBONE, Learner},
    },
    optim::Optimizer,
    recipe::Recipe,
    run::{
        checkpoint::{Checkpoint, Position},
        clock::is_due,
        events::{StartedFrom, Summary, TaughtBy},
        folder::{self, RunFolderError},
        images::Images,
        outcome::Outcome,
        resume, space,
    },
    schedule::Step,
    tensors::{ParameterInfo, state::Tensors},
};

/// A run that is ready to start.
pub struct Plan {
    /// The resolved recipe; `data.path` is where the data were found.
    pub recipe: Recipe,
    /// The resolved recipe as TOML.
    pub recipe_text: String,
    /// The run folder.
    pub run: PathBuf,
    /// Whether the run goes on with an earlier start.
    pub continues: bool,
    /// The checkpoint to go on from; `None` before the first checkpoint. Where the images are not those of the
    /// checkpoint, the notes of its position say so.
    pub resume_from: Option<Checkpoint>,
    /// The training images.
    pub train: Arc<dyn Dataset>,
    /// The validation images.
    pub validation: Option<Arc<dyn Dataset>>,
    /// The fingerprints of both splits, which tell them from other images; `None` on ranks other than the
    /// first, which alone saves and checks: computing them asks the file system for the size of each image.
    pub images: Option<Images>,
    /// The device of evaluations.
    pub device: Device,
    /// The number of steps of one epoch.
    pub steps_per_epoch: u64,
    /// The number of steps of the whole run.
    pub total_steps: u64,
    /// The evaluators that measure the encoder at the end: those that the recipe names. Others can be added.
    pub evaluators: Vec<Arc<dyn Evaluator>>,
    /// The notes that a person should read before the run starts.
    pub notes: Vec<String>,
    /// Whether to replace an earlier run: see [`Environment::force`](super::Environment::force).
    pub force: bool,
    /// The processes that train together: see [`Environment::group`](super::Environment::group).
    pub group: Group,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) sizes: Sizes,
    pub(super) commit: Option<String>,
    /// The folder of the recipe: see [`Environment::recipe_folder`](super::Environment::recipe_folder).
    pub(super) recipe_folder: Option<PathBuf>,
    /// The weights of the encoder that the run starts from, until the networks are made of them.
    pub(super) start: Mutex<Option<Tensors>>,
    /// The frozen teacher of a method that has one.
    pub(super) teacher: Option<Teacher>,
    /// The result of a run that came to its end and has no checkpoint any more.
    pub(super) without_weights: Option<Summary>,
}

impl Plan {
    /// Returns the result of a run that was already trained and evaluated to its end; `None` for any other
    /// run.
    ///
    /// # Errors
    /// The result cannot be read.
    pub fn result(&self) -> Result<Option<Summary>, TrainError> {
        if self.without_weights.is_some() {
            return Ok(self.without_weights.clone());
        }
        let trained = self.resume_from.as_ref().map(|checkpoint| checkpoint.position.step);
        match trained == Some(self.total_steps) {
            true => self.earlier_result(),
            false => Ok(None),
        }
    }

    /// Returns the result of an earlier evaluation of the weights in the checkpoint to go on from; `None`
    /// where there is no such result.
    ///
    /// # Errors
    /// The result cannot be read.
    pub fn earlier_result(&self) -> Result<Option<Summary>, TrainError> {
        let Some(Checkpoint { position, .. }) = &self.resume_from else { return Ok(None) };
        let is_of_these_weights = |summary: &Summary| {
            // Without a note of the checkpoint, the result is of weights that had other images.
            let mut lasting = position.notes.iter().filter(|note| !self.notes.contains(note));
            !summary.interrupted
                && summary.steps == position.step
                && lasting.all(|note| summary.notes.contains(note))
        };
        match folder::summary_of(&self.run) {
            // A result of another version or a damaged result is made again.
            Err(RunFolderError::Summary { .. }) => Ok(None),
            summary => {
                let summary: Option<Summary> = summary?.filter(is_of_these_weights);
                Ok(summary.map(|summary| summary.found_in(&self.run)))
            }
        }
    }

    /// Returns whether the recipe in the run folder says something else than what the run goes on with.
    ///
    /// # Errors
    /// The recipe cannot be read.
    pub(super) fn differs_from_folder(&self) -> Result<bool, TrainError> {
        let stored = folder::recipe_of(&self.run)?;
        let differences = resume::differences_since(&stored, &self.recipe);
        Ok(differences.map_or(true, |differences| !differences.is_empty()))
    }

    /// Checks that the run is not one that came to its end and lost its checkpoints: to train it again would
    /// replace its result.
    ///
    /// # Errors
    /// The run is one.
    pub(super) fn check_weights(&self) -> Result<(), TrainError> {
        match self.without_weights {
            Some(_) => Err(TrainError::CheckpointsGone { run: self.run.clone() }),
            None => Ok(()),
        }
    }

    /// Makes the networks with their first weights, as [`Plan::learner`] does.
    ///
    /// # Errors
    /// This machine has too little memory for them.
    pub fn fitting_learner(&self) -> Result<Box<dyn Learner>, TrainError> {
        let made = budget::fitted(|| self.learner()).map_err(|space| {
            let method = self.recipe.method.name();
            TrainError::Setting(format!(
                "the networks of this recipe take {space}: lower the sizes in [backbone] or in [{method}]"
            ))
        });
        let learner = made??;
        let freezes = self.recipe.init.as_ref().filter(|init| init.freeze_epochs > 0);
        let is_head = |one: &ParameterInfo| !one.path.starts_with(&format!("{BACKBONE}."));
        match freezes {
            Some(init) if !learner.parameters().iter().any(is_head) => {
                Err(TrainError::Setting(format!(
                    "init.freeze_epochs = {}: with these settings {} has no heads that could train alone; expected 0",
                    init.freeze_epochs,
                    self.recipe.method.name()
                )))
            }
            _ => Ok(learner),
        }
    }

    /// Makes the optimiser of these networks.
    ///
    /// # Errors
    /// A parameter group matches no parameter.
    pub fn optimizer(&self, learner: &dyn Learner) -> Result<Optimizer, TrainError> {
        let Recipe { optimizer, train, .. } = &self.recipe;
        Ok(Optimizer::of(optimizer.clone(), train.batch, &learner.parameters())?)
    }

    /// Makes the online probe, if the images have labels and the recipe asks for it.
    pub fn probe(&self) -> Option<Probe> {
        let wanted = self.recipe.probe.enabled && self.train.labels().is_some();
        wanted.then(|| {
            let (dim, classes) = (self.recipe.backbone.dim(), self.train.classes().len());
            let config = self.recipe.probe.clone();
            Probe::new(config, dim, classes, &self.device, self.recipe.seed)
        })
    }

    /// Makes the head that predicts losses, if the recipe asks for it.
    ///
    /// # Errors
    /// A setting of the head is out of range.
    pub(super) fn loss_head(&self) -> Result<Option<LossHeadTraining>, TrainError> {
        let Some(section) = self.recipe.uncertainty.clone() else { return Ok(None) };
        let dim = self.recipe.backbone.dim();
        LossHeadTraining::new(section, dim, &self.device, self.recipe.seed).map(Some)
    }

    /// Makes the loader of the batches from `step` on.
    ///
    /// # Errors
    /// The worker threads cannot be started.
    pub fn loader(&self, step: u64) -> Result<Loader, TrainError> {
        let (train, pipeline) = (Arc::clone(&self.train), Arc::clone(&self.pipeline));
        Ok(Loader::new(train, pipeline, self.loading(step))?)
    }

    /// Returns how many bytes the views that wait for training take at most.
    pub(super) fn prefetched_bytes(&self) -> usize {
        self.loading(0).memory_bound(&self.pipeline)
    }

    fn loading(&self, step: u64) -> LoaderPlan {
        LoaderPlan {
            seed: self.recipe.seed,
            batch: self.recipe.train.batch,
            share: share(&self.recipe, &self.group),
            workers: workers(self.recipe.data.workers),
            prefetch: self.recipe.data.prefetch,
            on_bad_image: self.recipe.data.on_bad_image,
            start_step: step,
            end_step: self.total_steps.max(step),
        }
    }

    /// Returns how a split is read for an evaluation: see [`Input::of`].
    pub fn evaluation(&self) -> EvaluationPlan {
        let input = Input::of(&self.recipe);
        let batch = (input.size, input.channels());
        let batch = images_of_a_pass(&self.recipe.backbone, batch, &self.device);
        let plan = EvaluationPlan {
            transform: input.transform(),
            normalisation: input.normalisation,
            batch,
            workers: workers(self.recipe.data.workers),
            prefetch: self.recipe.data.prefetch,
            on_bad_image: self.recipe.data.on_bad_image,
        };
        within_room(plan, &self.recipe.backbone, &self.device)
    }

    /// Returns the side in pixels of the images of an evaluation: that of the first global view.
    pub fn evaluation_size(&self) -> usize {
        Input::of(&self.recipe).size
    }

    /// Returns the position in the run after `index` steps.
    pub fn step(&self, index: u64) -> Step {
        let done = index + 1;
        Step {
            index,
            epoch: index / self.steps_per_epoch,
            steps_per_epoch: self.steps_per_epoch,
            // A run that is cut short by max_steps follows the schedule of the short run.
            total: self.total_steps,
            seed: self.recipe.seed,
            micro: 0,
            accumulate: self.recipe.train.accumulate as u64,
            watch: self.logs_after(done) || self.checks_health_after(done),
            image_losses: self.recipe.uncertainty.is_some(),
        }
    }

    /// Returns the learning rate at the step `at` for the base rate `base`.
    pub fn rate(&self, base: f64, at: &Step) -> f64 {
        self.recipe.schedule.at(base, at)
    }

    /// Returns the base learning rate, scaled by the batch size.
    pub fn base_rate(&self) -> f64 {
        self.recipe.optimizer.base_rate(self.recipe.train.batch)
    }

    /// Returns the online probe's learning rate at the step `at`: it follows the schedule of the run.
    pub fn probe_rate(&self, at: &Step) -> f64 {
        self.rate(self.recipe.probe.lr * self.recipe.train.batch as f64 / 256.0, at)
    }

    /// Returns whether a line of metrics is due after `done` steps.
    pub fn logs_after(&self, done: u64) -> bool {
        is_due(done, self.recipe.log.every_steps) || done == self.total_steps
    }

    /// Returns whether the figures of the features are due after `done` steps.
    pub fn checks_health_after(&self, done: u64) -> bool {
        is_due(done, self.recipe.health.every_steps)
    }

    /// Returns whether an evaluation by nearest neighbours on the validation split is due after `done` steps.
    pub fn evaluates_after(&self, done: u64) -> bool {
        let every = self.recipe.knn.every_epochs.saturating_mul(self.steps_per_epoch);
        is_due(done, every) || (every > 0 && done == self.total_steps)
    }

    /// Returns whether a checkpoint is due after `done` steps.
    pub fn saves_after(&self, done: u64) -> bool {
        let config = &self.recipe.checkpoint;
        is_due(done, config.every_epochs.saturating_mul(self.steps_per_epoch))
            || is_due(done, config.every_steps.unwrap_or(0))
            || done == self.total_steps
    }

    /// Returns whether accuracies on the validation split can be measured.
    pub fn has_validation_labels(&self) -> bool {
        let labels = |set: &Arc<dyn Dataset>| set.labels().is_some();
        labels(&self.train) && self.validation.as_ref().is_some_and(labels)
    }

    /// Returns the result of the run.
    pub fn summary(&self, position: &Position, seconds: f64, evaluation: Evaluation) -> Summary {
        let mut notes = result_notes(&position.notes, &self.notes, evaluation.left_out);
        add_new(&mut notes, evaluation.notes);
        Summary {
            method: self.recipe.method.name().to_owned(),
            seed: self.recipe.seed,
            steps: position.step,
            interrupted: position.step < self.total_steps,
            seconds,
            images_per_s: position.step as f64 * self.recipe.train.batch as f64 / seconds,
            peak_rss_mib: space::peak_rss_mib(),
            machine: space::machine(),
            commit: self.commit.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replaced_images: position.replaced,
            figures: evaluation.figures,
            online_top1: position.online,
            images: self.images.clone().map(Box::new),
            init: self.recipe.init.as_ref().map(|init| Box::new(StartedFrom::of(init))),
            teacher: self.recipe.teacher.as_ref().map(|named| Box::new(TaughtBy::of(named))),
            notes,
            run: self.run.clone(),
        }
    }
}
