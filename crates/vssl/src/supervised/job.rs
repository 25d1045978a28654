//! A training on labels that is ready to start: its data are open, its settings and folder are checked.

use std::{path::PathBuf, sync::Arc};

use burn::tensor::Device;
use serde::{Serialize, de::DeserializeOwned};
use toml::Table;
use vssl_data::{
    Dataset, EvaluationPlan, Loader, LoaderPlan, Pipeline, Share, Splits, counted, loader::workers,
};
use vssl_kernels::accelerates;

use super::{
    Length, ReadingSection, Saving, Summary, View,
    resumption::{OutputOptions, Rate, check_folder, identity, resumption},
};
use crate::{
    backbone::Pooling,
    encoder::{Encoder, Input, Reading},
    eval::common_classes,
    method::learner::Network,
    recipe::{self, LogSection},
    run::{
        checkpoint::Checkpoint,
        clock::is_due,
        folder::{self, RunFolderError, SETTINGS},
        images::Images,
        length,
        outcome::Outcome,
        resume,
    },
    schedule::Step,
    train::TrainError,
};

/// The parts of the settings that every training on labels has.
pub(super) struct Common<'a> {
    pub seed: u64,
    pub train: &'a Length,
    pub view: &'a View,
    pub data: &'a ReadingSection,
    pub checkpoint: &'a Saving,
    pub log: &'a LogSection,
    /// The name of the learning rate that a note on another length tells.
    pub rate_name: String,
    /// Returns that learning rate at a step of a training of so many epochs.
    pub rate: Rate<'a>,
}

/// A training that is ready to start.
pub struct Job {
    /// The task: `linear` or `finetune`.
    pub task: &'static str,
    /// All settings as TOML.
    pub settings: String,
    /// The settings, encoder and data that must not change when the training goes on.
    pub(super) identity: String,
    /// The checkpoint to go on from. Where the images are not those of the checkpoint, the notes of its
    /// position say so.
    pub(super) resume_from: Option<Checkpoint>,
    pub(super) output: OutputOptions,
    /// The images to learn from.
    pub train: Arc<dyn Dataset>,
    /// The images to evaluate on.
    pub validation: Arc<dyn Dataset>,
    /// The fingerprints of both splits, which tell them from other images.
    pub(super) images: Images,
    /// The names and the texts of files that are written beside the settings.
    pub(super) records: Vec<(&'static str, String)>,
    /// The notes that a person should read before the training starts.
    pub notes: Vec<String>,
    pub(super) input: Input,
    pub(super) device: Device,
    /// How the validation split is read.
    evaluation: EvaluationPlan,
    pub(super) encoder: EncoderFacts,
    pub(super) seed: u64,
    pub(super) length: Length,
    pub(super) saving: Saving,
    pub(super) log: LogSection,
    reading: ReadingSection,
    pipeline: Arc<Pipeline>,
    /// The number of steps of one epoch.
    pub steps_per_epoch: u64,
}

/// The facts of the encoder that the summary repeats.
pub(super) struct EncoderFacts {
    pub path: PathBuf,
    pub step: Option<u64>,
    pub method: Option<String>,
    pub seed: Option<u64>,
    pub network: Option<Network>,
    pub pooling: Option<Pooling>,
}

impl EncoderFacts {
    pub(super) fn of(encoder: &Encoder) -> Self {
        let recipe = encoder.recipe.as_ref();
        Self {
            path: encoder.path.clone(),
            step: encoder.step,
            method: recipe.map(|recipe| recipe.method.name().to_owned()),
            seed: recipe.map(|recipe| recipe.seed),
            network: encoder.network,
            pooling: encoder.config.pooling(),
        }
    }
}

/// Returns how the images are read for an evaluation.
fn evaluation(encoder: &Encoder, common: &Common) -> EvaluationPlan {
    let mut plan = encoder.plan(&Reading {
        workers: workers(common.data.workers),
        prefetch: common.data.prefetch,
        on_bad_image: common.data.on_bad_image,
    });
    if !accelerates(&encoder.device) {
        // The number is not bounded by the room there, and a batch of the training fits.
        plan.batch = plan.batch.min(common.train.batch);
    }
    plan
}

impl Job {
    /// Checks everything that can be checked before the first step.
    ///
    /// # Errors
    /// Labels are missing, the batch is larger than the training set, or the folder is taken. For a training
    /// that goes on: the checkpoint is damaged, or the settings, encoder or images are others.
    pub(super) fn new<S: Serialize + DeserializeOwned>(
        task: &'static str,
        encoder: &Encoder,
        splits: &Splits,
        settings: &S,
        common: &Common,
        output: OutputOptions,
    ) -> Result<Self, TrainError> {
        let ([train, validation], unknown) = labelled(splits)?;
        check_folder(&output)?;
        let count = train.len();
        let (batch, epochs) = (common.train.batch, common.train.epochs);
        let length = length::Length { batch, epochs, max_steps: None };
        let images = Images::of(train.as_ref(), Some(validation.as_ref()));
        let group = common.view.group(encoder.input.size);
        let normalisation = encoder.input.normalisation;
        let pipeline = Arc::new(Pipeline::new(vec![group], normalisation, common.seed)?);
        let table = Table::try_from(settings).expect("settings are a table of plain values");
        let settings = table.to_string();
        let identity = identity(task, table, encoder, [&train, &validation]);
        let (resume_from, mut notes) =
            resumption(&identity, &images, &output, length, (&common.rate_name, common.rate))?;
        notes.extend(unknown);
        // Fewer images than at the beginning were found above.
        if batch > count {
            return Err(TrainError::Setting(format!(
                "train.batch = {batch}: larger than the training set of {}; expected at most {count}: --set \
                 train.batch={count}, or leave train.batch out",
                counted(count, "image")
            )));
        }
        Ok(Self {
            task,
            settings,
            identity: identity.to_string(),
            resume_from,
            output,
            steps_per_epoch: length.steps_per_epoch(count),
            train,
            validation,
            images,
            records: Vec::new(),
            notes,
            input: encoder.input,
            device: encoder.device.clone(),
            evaluation: evaluation(encoder, common),
            encoder: EncoderFacts::of(encoder),
            seed: common.seed,
            length: common.train.clone(),
            saving: common.checkpoint.clone(),
            log: common.log.clone(),
            reading: common.data.clone(),
            pipeline,
        })
    }

    /// Returns the number of steps of the whole training.
    pub fn total_steps(&self) -> u64 {
        self.steps_per_epoch.saturating_mul(self.length.epochs)
    }

    /// Returns the result of a training that goes on although it had come to its end; `None` for any other
    /// training.
    ///
    /// # Errors
    /// The result cannot be read.
    pub fn result(&self) -> Result<Option<Summary>, TrainError> {
        let Some(Checkpoint { position, .. }) = &self.resume_from else { return Ok(None) };
        if position.step != self.total_steps() {
            return Ok(None);
        }
        let folder = &self.output.folder;
        let summary = match folder::summary_of::<Summary>(folder) {
            // A damaged result is written again.
            Err(RunFolderError::Summary { .. }) => None,
            summary => summary?.filter(|summary| summary.is_of(position)),
        };
        Ok(summary.map(|summary| summary.found_in(folder)))
    }

    /// Returns whether the settings in the output folder say something else than what the training goes on
    /// with.
    pub(super) fn differs_from_folder(&self) -> bool {
        let tables = std::fs::read_to_string(self.output.folder.join(SETTINGS)).map(|stored| {
            let [stored, now] = [stored, self.settings.clone()].map(|text| text.parse::<Table>());
            Some((recipe::upgraded(stored.ok()?), now.ok()?))
        });
        match tables {
            Ok(Some((was, now))) => !resume::binding_differences_on_labels(&was, &now).is_empty(),
            // Settings that cannot be read are written anew.
            _ => true,
        }
    }

    /// Returns the position in the training after `index` steps.
    pub(super) fn step(&self, index: u64) -> Step {
        Step {
            index,
            epoch: index / self.steps_per_epoch,
            steps_per_epoch: self.steps_per_epoch,
            total: self.total_steps(),
            seed: self.seed,
            micro: 0,
            accumulate: 1,
            watch: false,
            image_losses: false,
        }
    }

    /// Makes the loader of the batches from `step` on.
    pub(super) fn loader(&self, step: u64) -> Result<Loader, TrainError> {
        let plan = LoaderPlan {
            seed: self.seed,
            batch: self.length.batch,
            share: Share::WHOLE,
            workers: workers(self.reading.workers),
            prefetch: self.reading.prefetch,
            on_bad_image: self.reading.on_bad_image,
            start_step: step,
            end_step: self.total_steps().max(step),
        };
        Ok(Loader::new(Arc::clone(&self.train), Arc::clone(&self.pipeline), plan)?)
    }

    /// Returns how the validation split is read.
    pub(super) fn evaluation(&self) -> EvaluationPlan {
        self.evaluation.clone()
    }

    pub(super) fn logs_after(&self, done: u64) -> bool {
        is_due(done, self.log.every_steps) || done == self.total_steps()
    }

    pub(super) fn saves_after(&self, done: u64) -> bool {
        is_due(done, self.saving.every_epochs.saturating_mul(self.steps_per_epoch))
            || is_due(done, self.saving.every_steps.unwrap_or(0))
            || done == self.total_steps()
    }

    /// Returns whether the validation split is evaluated after `epochs` epochs.
    pub(super) fn evaluates_after(&self, epochs: u64) -> bool {
        is_due(epochs, self.length.evaluate_every) || epochs == self.length.epochs
    }
}

/// The training and the validation split, and a note on validation images whose class has no training image.
pub(super) type Labelled = ([Arc<dyn Dataset>; 2], Option<String>);

/// Returns both splits, if both have labels.
pub(super) fn labelled(splits: &Splits) -> Result<Labelled, TrainError> {
    let missing = |what: String| TrainError::NoLabels { what };
    let train = Arc::clone(&splits.train);
    let Some(validation) = splits.validation.clone() else {
        return Err(missing("the images have no validation split".to_owned()));
    };
    for (set, name) in [(&train, "training"), (&validation, "validation")] {
        if set.labels().is_none() {
            return Err(missing(format!("the {name} images have no labels")));
        }
    }
    let labels = |set: &dyn Dataset| -> Vec<i64> {
        set.labels().unwrap_or_default().iter().map(|&label| label.into()).collect()
    };
    let (known, asked) = (labels(train.as_ref()), labels(validation.as_ref()));
    let note = common_classes::check(&known, &asked, train.classes())?;
    Ok(([train, validation], note))
}
