//! From what the user typed to what runs: a [`Plan`] is a recipe whose data are open, whose steps
//! are counted and of which everything that can be checked before the first step has been.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::tensor::Device;
use vssl_data::{Dataset, EvaluationPlan, Loader, LoaderPlan, Pipeline, dataset, loader::workers};

use super::{
    TrainError,
    environment::{Environment, check_group, find_data, share},
    evaluation::{Evaluation, left_out_note},
    probe::Probe,
};
use crate::{
    collective::Group,
    encoder::Input,
    eval::evaluators::{self, Evaluator},
    method::{Sizes, learner::Learner},
    optim::Optimizer,
    recipe::Recipe,
    run::{
        checkpoint::{Checkpoint, Position, Store},
        clock::is_due,
        events::Summary,
        folder::{self, RunFolderError},
        images::Images,
        resume::{self, Length},
        space,
    },
    schedule::Step,
};

/// A run that is ready to start.
pub struct Plan {
    /// Resolved; `data.path` is where the data were found.
    pub recipe: Recipe,
    /// The same as TOML.
    pub recipe_text: String,
    /// The run folder.
    pub run: PathBuf,
    /// Whether the run folder is that of an earlier start.
    pub continues: bool,
    /// Where that one stood; `None` before its first checkpoint.
    pub resume_from: Option<Checkpoint>,
    /// Training images.
    pub train: Arc<dyn Dataset>,
    /// Validation images.
    pub validation: Option<Arc<dyn Dataset>>,
    /// What tells both from other images.
    pub images: Images,
    /// Where evaluations run.
    pub device: Device,
    /// Steps of one pass.
    pub steps_per_epoch: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// What measures the encoder at the end: those that the recipe names. Others can be added.
    pub evaluators: Vec<Box<dyn Evaluator>>,
    /// What a person should know before it starts.
    pub notes: Vec<String>,
    /// See [`Environment::force`].
    pub force: bool,
    /// See [`Environment::group`].
    pub group: Group,
    pipeline: Arc<Pipeline>,
    sizes: Sizes,
    commit: Option<String>,
}

impl Plan {
    /// A new run of `recipe` in the folder `run`.
    ///
    /// # Errors
    /// Data that cannot be opened, settings that do not fit together, a full disk.
    pub fn new(recipe: Recipe, run: &Path, environment: Environment) -> Result<Self, TrainError> {
        Self::resolve(recipe, run, environment, None, false)
    }

    /// Goes on with the run in the folder `run`, after the checkpoint `from` (`latest`, `best` or
    /// `step-…`). `recipe` is read from the folder, perhaps changed.
    ///
    /// # Errors
    /// Also when the checkpoint is damaged, or was made with another recipe or other images.
    pub fn resume(
        mut recipe: Recipe,
        run: &Path,
        from: &str,
        environment: Environment,
    ) -> Result<Self, TrainError> {
        recipe.data.normalisation = Some(recipe.data.normalisation());
        let checkpoint = Store::of(run).load(from)?;
        if let Some(checkpoint) = &checkpoint {
            let differences = resume::differences_since(&checkpoint.recipe, &recipe);
            let differences = differences
                .map_err(|source| TrainError::StoredRecipe { run: run.to_owned(), source })?;
            if !differences.is_empty() {
                return Err(TrainError::OtherRecipe { run: run.to_owned(), differences });
            }
        }
        Self::resolve(recipe, run, environment, checkpoint, true)
    }

    fn resolve(
        mut recipe: Recipe,
        run: &Path,
        environment: Environment,
        resume_from: Option<Checkpoint>,
        continues: bool,
    ) -> Result<Self, TrainError> {
        recipe.data.path = find_data(&recipe.data.path, &environment)?;
        recipe.check().map_err(TrainError::Setting)?;
        // A recipe that was not read from a file need not say it; that of the run does.
        recipe.data.normalisation = Some(recipe.data.normalisation());
        let group = environment.group.clone().with_joint_norms(recipe.train.sync_batchnorm);
        check_group(&recipe, &group)?;
        recipe.train.precision.check(&environment.device)?;
        if !continues && !environment.force && group.leads() {
            folder::check_free(run)?;
        }
        let splits = dataset::open(&recipe.data.source(), None)?;
        let normalisation = recipe.data.normalisation();
        let pipeline = Arc::new(Pipeline::new(recipe.views.clone(), normalisation, recipe.seed)?);
        let images = splits.train.len();
        if recipe.train.batch > images {
            return Err(TrainError::Setting(format!(
                "train.batch = {}: larger than the training set of {images} images; expected at \
                 most {images}",
                recipe.train.batch
            )));
        }
        let sizes = sizes(&recipe, images);
        let seen = images - images % recipe.train.batch;
        let train = &recipe.train;
        let length =
            Length { batch: train.batch, epochs: train.epochs, max_steps: train.max_steps };
        recipe.method.check(&Sizes { images: seen, ..sizes }).map_err(TrainError::Setting)?;
        let mut plan = Self {
            recipe_text: recipe.to_toml(),
            run: run.to_owned(),
            continues,
            resume_from,
            images: Images::of(splits.train.as_ref(), splits.validation.as_deref()),
            train: splits.train,
            validation: splits.validation,
            device: environment.device,
            evaluators: evaluators::chosen(&recipe).map_err(TrainError::Setting)?,
            steps_per_epoch: length.steps_per_epoch(images),
            total_steps: length.total_steps(images),
            notes: Vec::new(),
            force: environment.force,
            group,
            pipeline,
            sizes,
            commit: environment.commit,
            recipe,
        };
        plan.notes = plan.remarks(length, environment.allow_changed_data)?;
        Ok(plan)
    }

    fn remarks(&self, length: Length, allow_changed: bool) -> Result<Vec<String>, TrainError> {
        let mut notes = Vec::new();
        if let Some(Checkpoint { images, position, .. }) = &self.resume_from {
            let checked = resume::check_images(
                images.as_ref(),
                &self.images,
                allow_changed,
                length,
                position.step,
            );
            let run = || self.run.clone();
            notes.extend(
                checked.map_err(|changes| TrainError::OtherImages { run: run(), changes })?,
            );
        }
        if self.train.labels().is_none() {
            notes.push("the images have no labels: probe and evaluations are skipped".to_owned());
        } else if self.validation.is_none() {
            notes.push("there is no validation split: evaluations are skipped".to_owned());
        } else if self.validation.as_ref().is_some_and(|split| split.labels().is_none()) {
            notes.push("the validation split has no labels: evaluations are skipped".to_owned());
        }
        if self.continues && self.resume_from.is_none() {
            notes.push("no checkpoint was saved yet: the run starts again".to_owned());
        }
        let memory = self.loading(0).memory_bound(&self.pipeline) >> 20;
        notes.push(format!("prefetched views take at most {memory} MiB"));
        Ok(notes)
    }

    /// The result of the run, where this goes on with a run that was trained and evaluated to its end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn result(&self) -> Result<Option<Summary>, TrainError> {
        let trained = self.resume_from.as_ref().map(|checkpoint| checkpoint.position.step);
        if trained != Some(self.total_steps) {
            return Ok(None);
        }
        let is_whole =
            |summary: &Summary| !summary.interrupted && summary.steps == self.total_steps;
        match folder::summary_of(&self.run) {
            // A result of another version, or a damaged one: it is made again.
            Err(RunFolderError::Summary { .. }) => Ok(None),
            summary => Ok(summary?.filter(is_whole)),
        }
    }

    /// Fresh networks. The same seed gives the same ones.
    pub fn learner(&self) -> Box<dyn Learner> {
        let device = self.device.clone().autodiff();
        let Recipe { method, backbone, seed, .. } = &self.recipe;
        method.learner(backbone, &self.sizes, &device, *seed)
    }

    /// The optimiser for these networks.
    ///
    /// # Errors
    /// When a group matches no parameter.
    pub fn optimizer(&self, learner: &dyn Learner) -> Result<Optimizer, TrainError> {
        self.recipe.optimizer.cover(&learner.parameters())?;
        Ok(Optimizer::new(self.recipe.optimizer.clone(), self.recipe.train.batch)?)
    }

    /// The online probe, if there are labels and it is wanted.
    pub fn probe(&self) -> Option<Probe> {
        let wanted = self.recipe.probe.enabled && self.train.labels().is_some();
        wanted.then(|| {
            let (dim, classes) = (self.recipe.backbone.dim(), self.train.classes().len());
            let config = self.recipe.probe.clone();
            Probe::new(config, dim, classes, &self.device, self.recipe.seed)
        })
    }

    /// The batches from `step` on.
    ///
    /// # Errors
    /// When the workers cannot be started.
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

    /// How a split is read for an evaluation: see [`Input::of`].
    pub fn evaluation(&self, batch: usize) -> EvaluationPlan {
        let input = Input::of(&self.recipe);
        EvaluationPlan {
            transform: input.transform(),
            normalisation: input.normalisation,
            batch,
            workers: workers(self.recipe.data.workers),
            prefetch: self.recipe.data.prefetch,
            on_bad_image: self.recipe.data.on_bad_image,
        }
    }

    /// Side of the images that an evaluation sees: that of the first global view.
    pub fn evaluation_size(&self) -> usize {
        Input::of(&self.recipe).size
    }

    /// Where the run is after `index` steps.
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
        }
    }

    /// The learning rate for a base rate at this step.
    pub fn rate(&self, base: f64, at: &Step) -> f64 {
        self.recipe.schedule.at(base, at)
    }

    /// The base rate, batch size included.
    pub fn base_rate(&self) -> f64 {
        self.recipe.optimizer.base_rate(self.recipe.train.batch)
    }

    /// The online probe's rate at this step: it follows the schedule of the run.
    pub fn probe_rate(&self, at: &Step) -> f64 {
        self.rate(self.recipe.probe.lr * self.recipe.train.batch as f64 / 256.0, at)
    }

    /// Whether `done` steps call for a line of metrics.
    pub fn logs_after(&self, done: u64) -> bool {
        is_due(done, self.recipe.log.every_steps) || done == self.total_steps
    }

    /// Whether they call for figures of the features.
    pub fn checks_health_after(&self, done: u64) -> bool {
        is_due(done, self.recipe.health.every_steps)
    }

    /// Whether they call for nearest neighbours on the validation split.
    pub fn evaluates_after(&self, done: u64) -> bool {
        let every = self.recipe.knn.every_epochs * self.steps_per_epoch;
        is_due(done, every) || (every > 0 && done == self.total_steps)
    }

    /// Whether they call for a checkpoint.
    pub fn saves_after(&self, done: u64) -> bool {
        let config = &self.recipe.checkpoint;
        is_due(done, config.every_epochs * self.steps_per_epoch)
            || is_due(done, config.every_steps.unwrap_or(0))
            || done == self.total_steps
    }

    /// Whether accuracies on the validation split can be had.
    pub fn has_validation_labels(&self) -> bool {
        let labels = |set: &Arc<dyn Dataset>| set.labels().is_some();
        labels(&self.train) && self.validation.as_ref().is_some_and(labels)
    }

    /// The result of the run.
    pub fn summary(&self, position: &Position, seconds: f64, evaluation: Evaluation) -> Summary {
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
            notes: self.notes.iter().cloned().chain(left_out_note(evaluation.left_out)).collect(),
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
