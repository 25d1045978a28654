//! A training on labels that is ready to start: its data are open, its settings and folder are checked.

use std::{path::PathBuf, sync::Arc};

use burn::tensor::Device;
use serde::{Serialize, de::DeserializeOwned};
use toml::Table;
use vssl_data::{
    Dataset, EvaluationPlan, Loader, LoaderPlan, Pipeline, Share, Splits, loader::workers,
};
use vssl_kernels::accelerates;

use super::{Length, ReadingSection, Saving, Summary, View};
use crate::{
    encoder::{Encoder, Input, Reading},
    eval::common_classes,
    recipe::{self, LogSection},
    run::{
        checkpoint::{Checkpoint, LATEST, StandIn, Store},
        clock::is_due,
        digest::sha256,
        folder::{self, RunFolderError, SETTINGS},
        images::Images,
        length::{self, NewLength},
        losses,
        outcome::Outcome,
        past::Past,
        resume,
    },
    schedule::Step,
    tensors::state,
    train::TrainError,
};

/// The keys of a checkpoint's identity that count images. They are not compared: since format 2, a checkpoint
/// holds a fingerprint of its images, which says more than their number.
const COUNTS: [&str; 2] = ["training images", "validation images"];

/// The output folder, and how to treat the files that are in it.
#[derive(Clone, Debug)]
pub struct OutputOptions {
    /// The output folder.
    pub folder: PathBuf,
    /// Whether to go on with the training in the folder.
    pub resume: bool,
    /// Whether to replace the results in the folder.
    pub force: bool,
    /// Whether to go on with the training although its images are not those of its checkpoint.
    pub allow_changed_data: bool,
    /// The commit that the program was built from.
    pub commit: Option<String>,
}

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
    pub rate: &'a dyn Fn(u64, &Step) -> f64,
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
}

impl EncoderFacts {
    pub(super) fn of(encoder: &Encoder) -> Self {
        let recipe = encoder.recipe.as_ref();
        Self {
            path: encoder.path.clone(),
            step: encoder.step,
            method: recipe.map(|recipe| recipe.method.name().to_owned()),
            seed: recipe.map(|recipe| recipe.seed),
        }
    }
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
        let (resume_from, mut notes) = resumption(&identity, &images, &output, length, common)?;
        notes.extend(unknown);
        // Fewer images than at the beginning were found above.
        if batch > count {
            return Err(TrainError::Setting(format!(
                "train.batch = {batch}: larger than the training set of {count} images; expected \
                 at most {count}: --set train.batch={count}, or leave train.batch out"
            )));
        }
        let mut evaluation = encoder.plan(&Reading {
            workers: workers(common.data.workers),
            prefetch: common.data.prefetch,
            on_bad_image: common.data.on_bad_image,
        });
        if !accelerates(&encoder.device) {
            // The number is not bounded by the room there, and a batch of the training fits.
            evaluation.batch = evaluation.batch.min(batch);
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
            evaluation,
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

/// Checks that the folder is free or holds a training that may be resumed or replaced.
pub(super) fn check_folder(output: &OutputOptions) -> Result<(), TrainError> {
    let folder = &output.folder;
    if folder::is_run(folder) {
        return Err(TrainError::FolderOfRun { folder: folder.clone() });
    }
    match folder::is_on_labels(folder) {
        false if output.resume => Err(TrainError::NothingToResume { folder: folder.clone() }),
        true if output.resume || output.force => Ok(()),
        // A folder whose files are not of a training on labels is not replaced either.
        _ => Ok(folder::check_free(folder)?),
    }
}

/// Returns the settings, encoder and images that must not change when a training goes on.
fn identity(
    task: &str,
    settings: Table,
    encoder: &Encoder,
    [train, validation]: [&Arc<dyn Dataset>; 2],
) -> Table {
    let tensors = state::collect(&*encoder.backbone);
    let digest =
        sha256(tensors.iter().flat_map(|(name, tensor)| [name.as_bytes(), tensor.as_bytes()]));
    let mut table = Table::new();
    let mut say = |key: &str, value: toml::Value| table.insert(key.to_owned(), value);
    say("task", task.into());
    say("encoder", digest.into());
    let count = |set: &Arc<dyn Dataset>| toml::Value::Integer(set.len() as i64);
    say(COUNTS[0], count(train));
    say(COUNTS[1], count(validation));
    say("classes", train.classes().to_vec().into());
    table.extend(settings);
    table
}

/// Returns the checkpoint to go on from, if the training goes on and has a checkpoint, and the notes for the
/// user. The position of the checkpoint has the note on changed images as well, so that it lasts.
fn resumption(
    identity: &Table,
    images: &Images,
    output: &OutputOptions,
    length: length::Length,
    common: &Common,
) -> Result<(Option<Checkpoint>, Vec<String>), TrainError> {
    if !output.resume {
        return Ok((None, Vec::new()));
    }
    let Some((mut checkpoint, stand_in)) = resumed(identity, images, output)? else {
        return Ok((None, vec![note_on_new_start(output)?]));
    };
    // Other images are told first: a length may be too short only because images are missing.
    let changed = checked(&checkpoint, images, output, length)?;
    let mut notes: Vec<String> =
        note_on_new_length(&checkpoint, images, output, length, common)?.into_iter().collect();
    notes.extend(changed);
    checkpoint.position.notes.extend(notes.iter().cloned());
    let stand_in = stand_in.map(|stand_in| stand_in.note("goes on from"));
    let lost = losses::notes::<Summary>(&output.folder, true)?;
    Ok((Some(checkpoint), stand_in.into_iter().chain(lost).chain(notes).collect()))
}

/// Returns a note on a training that goes on with another number of epochs.
fn note_on_new_length(
    checkpoint: &Checkpoint,
    images: &Images,
    output: &OutputOptions,
    length: length::Length,
    common: &Common,
) -> Result<Option<String>, TrainError> {
    let settings = settings_of(checkpoint, output)?;
    let batch = batch_of(&settings).unwrap_or(length.batch);
    let was = length::Length { batch, ..length.stated_in(&settings) };
    let now = images.training.count;
    let then = checkpoint.images.as_ref().map_or(now, |images| images.training.count);
    let change = NewLength {
        was: (was, then),
        now: (length, now),
        step: checkpoint.position.step,
        rate_name: &common.rate_name,
        rate: &|length, at| (common.rate)(length.epochs, at),
    };
    let note = (was.epochs != length.epochs).then(|| change.note()).transpose();
    note.map_err(|what| TrainError::EndHasPassed { run: output.folder.clone(), what })
}

/// Returns the settings with which `checkpoint` was made.
fn settings_of(checkpoint: &Checkpoint, output: &OutputOptions) -> Result<Table, TrainError> {
    let settings = checkpoint.recipe.parse().map_err(|error: toml::de::Error| {
        TrainError::StoredRecipe { run: output.folder.clone(), source: error.into() }
    })?;
    Ok(recipe::upgraded(settings))
}

/// Returns the size of a batch that the settings `table` state.
fn batch_of(table: &Table) -> Option<usize> {
    table.get("train")?.get("batch")?.as_integer()?.try_into().ok()
}

/// Returns whether a batch is as large as the training set now, and was as large as the set then or has no room
/// in the set now: such a batch follows the number of images.
fn batch_follows_images(
    (was, now): (&Table, &Table),
    checkpoint: &Checkpoint,
    images: &Images,
) -> bool {
    let (Some(batch), count) = (batch_of(was), images.training.count) else { return false };
    let then = checkpoint.images.as_ref().map(|images| images.training.count);
    batch_of(now) == Some(count) && (batch > count || then == Some(batch))
}

/// Returns the last checkpoint, if it belongs to the same training, and whether it stands in for `latest`.
fn resumed(
    now: &Table,
    images: &Images,
    output: &OutputOptions,
) -> Result<Option<(Checkpoint, Option<StandIn>)>, TrainError> {
    let run = &output.folder;
    let Some((checkpoint, stand_in)) = Store::of(run).find(LATEST)? else { return Ok(None) };
    let was = settings_of(&checkpoint, output)?;
    let differences = resume::binding_differences_on_labels(&was, now);
    let mut differences = resume::apart_from_length(differences);
    if checkpoint.images.is_some() || output.allow_changed_data {
        differences.retain(|difference| !COUNTS.contains(&difference.key.as_str()));
    }
    if batch_follows_images((&was, now), &checkpoint, images) {
        differences.retain(|difference| difference.key != "train.batch");
    }
    match differences.is_empty() {
        true => Ok(Some((checkpoint, stand_in))),
        false => Err(TrainError::OtherRecipe { run: run.clone(), differences }),
    }
}

/// Returns a note on a training that starts again because it has no checkpoint, unless it came to its end: to
/// train it again would replace its result.
fn note_on_new_start(output: &OutputOptions) -> Result<String, TrainError> {
    match Past::<Summary>::of(&output.folder)? {
        Past::Finished(_) => Err(TrainError::CheckpointsGone { run: output.folder.clone() }),
        past => Ok(past.note("training")),
    }
}

/// Returns notes on changed images of a training that goes on, if changed images are allowed.
fn checked(
    checkpoint: &Checkpoint,
    now: &Images,
    output: &OutputOptions,
    length: length::Length,
) -> Result<Option<String>, TrainError> {
    let (was, allowed) = (checkpoint.images.as_ref(), output.allow_changed_data);
    let checked = resume::check_images(was, now, allowed, length, checkpoint.position.step);
    checked.map_err(|changes| TrainError::OtherImages { run: output.folder.clone(), changes })
}
