//! The plan of a run: a [`Plan`] is a recipe whose data are open and whose steps are counted. Everything that
//! can be checked before the first step has been checked.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use burn::tensor::Device;
use vssl_data::{
    Dataset, EvaluationPlan, Loader, LoaderPlan, Pipeline, counted, dataset, loader::workers,
};

use super::{
    TrainError,
    beginning::{Beginning, Continuation},
    environment::{
        Environment, adapt_batch, check_group, check_step, check_views, find_data, share,
        smaller_batch,
    },
    evaluation::{Evaluation, add_new, result_notes},
    loss_head::LossHeadTraining,
    probe::Probe,
    start,
    teacher::Teacher,
};
use crate::{
    collective::Group,
    encoder::{Input, images_of_a_pass, within_room},
    eval::evaluators::{self, Evaluator},
    layers::budget,
    method::{
        Sizes,
        learner::{BACKBONE, Learner},
    },
    methods,
    optim::Optimizer,
    recipe::{self, Recipe},
    run::{
        checkpoint::{Checkpoint, Position},
        clock::is_due,
        events::{StartedFrom, Summary, TaughtBy},
        folder::{self, RunFolderError},
        images::Images,
        length::Length,
        losses,
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
    /// Whether to replace an earlier run: see [`Environment::force`].
    pub force: bool,
    /// The processes that train together: see [`Environment::group`].
    pub group: Group,
    pipeline: Arc<Pipeline>,
    pub(super) sizes: Sizes,
    commit: Option<String>,
    /// The folder of the recipe: see [`Environment::recipe_folder`].
    pub(super) recipe_folder: Option<PathBuf>,
    /// The weights of the encoder that the run starts from, until the networks are made of them.
    pub(super) start: Mutex<Option<Tensors>>,
    /// The frozen teacher of a method that has one.
    pub(super) teacher: Option<Teacher>,
    /// The result of a run that came to its end and has no checkpoint any more.
    without_weights: Option<Summary>,
}

impl Plan {
    /// Plans a new run of `recipe` in the folder `run`.
    ///
    /// # Errors
    /// The data cannot be opened, settings do not fit together, or the disk is full.
    pub fn new(recipe: Recipe, run: &Path, environment: Environment) -> Result<Self, TrainError> {
        Self::resolve(recipe, run, environment, Beginning::default())
    }

    /// Plans to go on with the run in the folder `run` after the checkpoint `from` (`latest`, `best` or
    /// `step-…`). `recipe` is read from the folder; some of its settings may have been changed, the length
    /// among them.
    ///
    /// # Errors
    /// The errors of [`Plan::new`]; also, the checkpoint is damaged, was made with other settings than the
    /// length or with other images, or has done more steps than the new length has.
    pub fn resume(
        mut recipe: Recipe,
        run: &Path,
        from: &str,
        environment: Environment,
    ) -> Result<Self, TrainError> {
        let beginning = Beginning::of(run, from)?;
        let stored = match &beginning.checkpoint {
            Some(checkpoint) => checkpoint.recipe.clone(),
            None => folder::recipe_of(run)?,
        };
        // A recipe that cannot be read is told of below.
        if let Ok(was) = methods::recipe_from(&stored) {
            resume::keep_start(&was, &mut recipe);
            // Without a checkpoint the run begins again, and with the encoder that its folder holds.
            let kept = [(folder::START, "init."), (folder::TEACHER, "teacher.")];
            let is_kept = |key: &str| {
                kept.iter().any(|(file, of)| key.starts_with(of) && run.join(file).is_file())
            };
            if beginning.checkpoint.is_none() {
                let mut differences = recipe::difference(&was, &recipe);
                differences.retain(|found| is_kept(&found.key));
                if !differences.is_empty() {
                    return Err(TrainError::OtherRecipe { run: run.to_owned(), differences });
                }
            }
        }
        if let Some(checkpoint) = &beginning.checkpoint {
            recipe.data.normalisation = Some(recipe.data.normalisation());
            let differences = resume::differences_since(&checkpoint.recipe, &recipe);
            let differences = differences
                .map_err(|source| TrainError::StoredRecipe { run: run.to_owned(), source })?;
            let differences = resume::apart_from_length(differences);
            if !differences.is_empty() {
                return Err(TrainError::OtherRecipe { run: run.to_owned(), differences });
            }
        }
        Self::resolve(recipe, run, environment, beginning)
    }

    fn resolve(
        mut recipe: Recipe,
        run: &Path,
        environment: Environment,
        beginning: Beginning,
    ) -> Result<Self, TrainError> {
        recipe.data.path = find_data(&recipe.data.path, &environment)?;
        let recipe_folder = environment.recipe_folder.clone();
        let mut notes: Vec<String> = beginning.note.iter().cloned().collect();
        let mut start = None;
        if beginning.checkpoint.is_none() {
            let folder = recipe_folder.as_deref();
            let (told, weights) = start::take_over(&mut recipe, run, beginning.continues, folder)?;
            notes.extend(told);
            start = weights;
        }
        recipe.check().map_err(TrainError::Setting)?;
        // A recipe that a program made may lack the normalisation; the recipe of the run has it.
        recipe.data.normalisation = Some(recipe.data.normalisation());
        let (folder, begun) = (recipe_folder.as_deref(), beginning.continues);
        let device = &environment.device;
        let (teacher, told) = Teacher::of_run(&mut recipe, run, begun, folder, device)?;
        notes.extend(told);
        let group = environment.group.clone().with_joint_norms(recipe.train.sync_batchnorm);
        recipe.train.precision.check(&environment.device)?;
        if !beginning.continues && group.leads() {
            match environment.force {
                true => start::check_outside(&recipe, run, recipe_folder.as_deref())?,
                false => folder::check_free(run)?,
            }
        }
        let splits = dataset::open(&recipe.data.source(), None)?;
        let images = splits.train.len();
        let fingerprints =
            group.leads().then(|| Images::of(splits.train.as_ref(), splits.validation.as_deref()));
        let allows_changes = environment.allow_changed_data;
        beginning.check_images(run, fingerprints.as_ref(), allows_changes)?;
        if beginning.checkpoint.is_some() && group.leads() {
            notes.extend(losses::notes::<Summary>(run, true)?);
        }
        if environment.adapts_batch {
            notes.extend(adapt_batch(&mut recipe, &group, images));
        }
        check_group(&recipe, &group)?;
        check_views(&recipe, &group)?;
        notes.extend(check_step(&recipe, &group, device)?);
        let normalisation = recipe.data.normalisation();
        let pipeline = Arc::new(Pipeline::new(recipe.views.clone(), normalisation, recipe.seed)?);
        if recipe.train.batch > images {
            return Err(TrainError::Setting(format!(
                "train.batch = {}: larger than the training set of {}; {}",
                recipe.train.batch,
                counted(images, "image"),
                match smaller_batch(&recipe, &group, images) {
                    Some(batch) => {
                        format!("expected at most {images}, for instance --set train.batch={batch}")
                    }
                    None => "too few for any batch of this recipe: expected more images".to_owned(),
                }
            )));
        }
        let sizes = sizes(&recipe, images);
        let seen = images - images % recipe.train.batch;
        let train = &recipe.train;
        let length =
            Length { batch: train.batch, epochs: train.epochs, max_steps: train.max_steps };
        recipe.method.check(&Sizes { images: seen, ..sizes }).map_err(TrainError::Setting)?;
        for view in recipe.views.iter().filter(|view| !view.local) {
            let patches = recipe.backbone.patches(view.size);
            recipe.method.check_patches(patches).map_err(TrainError::Setting)?;
        }
        let found = (!splits.found.is_empty()).then(|| splits.found.to_string());
        let mut plan = Self {
            recipe_text: recipe.to_toml(),
            run: run.to_owned(),
            continues: beginning.continues,
            resume_from: beginning.checkpoint,
            images: fingerprints,
            train: splits.train,
            validation: splits.validation,
            device: environment.device,
            evaluators: evaluators::chosen(&evaluators::Settings::of(&recipe)).map_err(
                |problem| TrainError::Setting(format!("evaluation.evaluators: {problem}")),
            )?,
            steps_per_epoch: length.steps_per_epoch(images),
            total_steps: length.total_steps(images),
            notes: notes.into_iter().chain(found).collect(),
            force: environment.force,
            group,
            pipeline,
            sizes,
            commit: environment.commit,
            recipe_folder,
            start: Mutex::new(start),
            teacher,
            without_weights: beginning.without_weights,
            recipe,
        };
        let remarks = plan.remarks(length, allows_changes)?;
        plan.notes.extend(remarks);
        Ok(plan)
    }

    fn remarks(&mut self, length: Length, allow_changed: bool) -> Result<Vec<String>, TrainError> {
        let mut notes = Vec::new();
        if let Some(checkpoint) = &mut self.resume_from {
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
            notes.extend(continuation.notes(checkpoint)?);
        }
        let method = &self.recipe.method;
        if method.sees_labels() {
            let name = method.name();
            if self.train.labels().is_none() {
                return Err(TrainError::Setting(format!(
                    "method = \"{name}\" learns from the labels of the training images, and these images have none; \
                     expected a folder for each class, or another method"
                )));
            }
            let classes: BTreeSet<&u32> = self.train.labels().into_iter().flatten().collect();
            if classes.len() < 2 {
                return Err(TrainError::Setting(format!(
                    "method = \"{name}\" tells classes apart, and all training images have the same label; expected two \
                     classes or more"
                )));
            }
            notes.push(format!(
                "{name} sees the labels of the training images: its accuracies do not compare with those of methods \
                 that learn without labels"
            ));
        }
        if let Some(init) = self.recipe.init.as_ref().filter(|init| init.freeze_epochs > 0) {
            let (steps, total) =
                (init.freeze_epochs.saturating_mul(self.steps_per_epoch), self.total_steps);
            notes.push(match steps < total {
                true => format!("the heads train alone in the first {steps} of {total} steps"),
                false => format!(
                    "the heads train alone in all {total} steps, so the encoder stays as it is: init.freeze_epochs = {}",
                    init.freeze_epochs
                ),
            });
        }
        if self.train.labels().is_none() {
            notes.push("the images have no labels: probe and evaluations are skipped".to_owned());
        } else if self.validation.is_none() {
            notes.push("there is no validation split: evaluations are skipped".to_owned());
        } else if self.validation.as_ref().is_some_and(|split| split.labels().is_none()) {
            notes.push("the validation split has no labels: evaluations are skipped".to_owned());
        }
        if self.has_validation_labels() && self.recipe.knn.k > self.train.len() {
            let (k, images) = (self.recipe.knn.k, self.train.len());
            notes
                .push(format!("knn.k = {k}: there are {images} training images, all of them vote"));
        }
        notes.extend(self.recipe.schedule.remark("schedule.milestones", self.recipe.train.epochs));
        let memory = self.loading(0).memory_bound(&self.pipeline) >> 20;
        notes.push(format!("prefetched views take at most {memory} MiB"));
        Ok(notes)
    }

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

pub(crate) fn sizes(recipe: &Recipe, images: usize) -> Sizes {
    let views = |local: bool| {
        recipe.views.iter().filter(|group| group.local == local).map(|group| group.count).sum()
    };
    Sizes {
        images,
        batch: recipe.train.batch / recipe.train.accumulate,
        global_views: views(false),
        local_views: views(true),
    }
}
