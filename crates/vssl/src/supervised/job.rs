//! A training on labels that is ready to start: data open, settings and folder checked.

use std::{path::PathBuf, sync::Arc};

use burn::tensor::Device;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use toml::Table;
use vssl_data::{Dataset, EvaluationPlan, Loader, LoaderPlan, Pipeline, Share, Splits};

use super::{Length, ReadingSection, Saving, View};
use crate::{
    encoder::{Encoder, Input},
    formats::hex,
    recipe::{self, LogSection},
    run::{
        checkpoint::{Checkpoint, Store},
        folder::{self, RunFolderError},
    },
    schedule::Step,
    tensors::state,
    train::{TrainError, plan::due},
};

/// Keys that may change while a training goes on: they change no number.
const FREE_KEYS: [&str; 5] =
    ["data.workers", "data.prefetch", "checkpoint.", "log.", "train.evaluate_every"];

/// What does not belong into the settings.
#[derive(Clone, Debug)]
pub struct Outset {
    /// The output folder.
    pub folder: PathBuf,
    /// Go on with the training in it.
    pub resume: bool,
    /// Replace what is in it.
    pub force: bool,
    /// Commit that the program was built from.
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
}

/// A training that is ready to start.
pub struct Job {
    /// `linear` or `finetune`.
    pub task: &'static str,
    /// All settings as TOML.
    pub settings: String,
    /// Settings, encoder and data as they have to be when it goes on.
    pub(super) identity: String,
    /// Where it stood.
    pub(super) resume_from: Option<Checkpoint>,
    pub(super) outset: Outset,
    /// Images to learn from.
    pub train: Arc<dyn Dataset>,
    /// Images to judge by.
    pub validation: Arc<dyn Dataset>,
    /// Names of a file and its text, written beside the settings.
    pub(super) record: Option<(&'static str, String)>,
    /// What a person should know before it starts.
    pub notes: Vec<String>,
    pub(super) input: Input,
    pub(super) device: Device,
    pub(super) encoder: EncoderFacts,
    pub(super) seed: u64,
    pub(super) length: Length,
    pub(super) saving: Saving,
    pub(super) log: LogSection,
    reading: ReadingSection,
    pipeline: Arc<Pipeline>,
    /// Steps of one pass.
    pub steps_per_epoch: u64,
}

/// What the summary says of the encoder.
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
            method: recipe.map(|recipe| recipe.method.clone()),
            seed: recipe.map(|recipe| recipe.seed),
        }
    }
}

impl Job {
    /// Checks everything that can be checked before the first step.
    ///
    /// # Errors
    /// Missing labels, a batch larger than the training set, a folder that is taken; for a training
    /// that goes on, a damaged checkpoint or other settings, encoder or images.
    pub(super) fn new<S: Serialize + DeserializeOwned>(
        task: &'static str,
        encoder: &Encoder,
        splits: &Splits,
        settings: &S,
        common: &Common,
        outset: Outset,
    ) -> Result<Self, TrainError> {
        let [train, validation] = labelled(splits)?;
        check_folder(&outset)?;
        let images = train.len();
        let batch = common.train.batch;
        if batch > images {
            return Err(TrainError::Setting(format!(
                "train.batch = {batch}: larger than the training set of {images} images; expected \
                 at most {images}"
            )));
        }
        let group = common.view.group(encoder.input.size);
        let normalisation = encoder.input.normalisation;
        let pipeline = Arc::new(Pipeline::new(vec![group], normalisation, common.seed)?);
        let table = Table::try_from(settings).expect("settings are a table of plain values");
        let settings = table.to_string();
        let identity = identity(task, table, encoder, [&train, &validation]);
        let resume_from = match outset.resume {
            true => resumed(&identity, &outset)?,
            false => None,
        };
        let mut notes = Vec::new();
        if outset.resume && resume_from.is_none() {
            notes.push("no checkpoint was saved yet: the training starts again".to_owned());
        }
        Ok(Self {
            task,
            settings,
            identity: identity.to_string(),
            resume_from,
            outset,
            steps_per_epoch: (images / batch) as u64,
            train,
            validation,
            record: None,
            notes,
            input: encoder.input,
            device: encoder.device.clone(),
            encoder: EncoderFacts::of(encoder),
            seed: common.seed,
            length: common.train.clone(),
            saving: common.checkpoint.clone(),
            log: common.log.clone(),
            reading: common.data.clone(),
            pipeline,
        })
    }

    /// Steps of the whole training.
    pub fn total_steps(&self) -> u64 {
        self.steps_per_epoch * self.length.epochs
    }

    /// Where it is after `index` steps.
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
        }
    }

    /// The batches from `step` on.
    pub(super) fn loader(&self, step: u64) -> Result<Loader, TrainError> {
        let plan = LoaderPlan {
            seed: self.seed,
            batch: self.length.batch,
            share: Share::WHOLE,
            workers: self.workers(),
            prefetch: self.reading.prefetch,
            on_bad_image: self.reading.on_bad_image,
            start_step: step,
            end_step: self.total_steps().max(step),
        };
        Ok(Loader::new(Arc::clone(&self.train), Arc::clone(&self.pipeline), plan)?)
    }

    /// How the validation split is read.
    pub(super) fn evaluation(&self) -> EvaluationPlan {
        EvaluationPlan {
            transform: self.input.transform(),
            normalisation: self.input.normalisation,
            batch: self.length.batch,
            workers: self.workers(),
            prefetch: self.reading.prefetch,
            on_bad_image: self.reading.on_bad_image,
        }
    }

    fn workers(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.reading.workers.unwrap_or_else(cores)
    }

    pub(super) fn logs_after(&self, done: u64) -> bool {
        due(done, self.log.every_steps) || done == self.total_steps()
    }

    pub(super) fn saves_after(&self, done: u64) -> bool {
        due(done, self.saving.every_epochs * self.steps_per_epoch)
            || due(done, self.saving.every_steps.unwrap_or(0))
            || done == self.total_steps()
    }

    /// Whether the validation split is evaluated after this many epochs.
    pub(super) fn evaluates_after(&self, epochs: u64) -> bool {
        due(epochs, self.length.evaluate_every) || epochs == self.length.epochs
    }
}

/// Both splits, if both have labels.
pub(super) fn labelled(splits: &Splits) -> Result<[Arc<dyn Dataset>; 2], TrainError> {
    let missing = |what: &str| {
        TrainError::Setting(format!(
            "{what}; expected a training and a validation split with labels, as folders train/ and \
             val/ with a folder for each class have them"
        ))
    };
    let train = Arc::clone(&splits.train);
    let Some(validation) = splits.validation.clone() else {
        return Err(missing("the images have no validation split"));
    };
    for (set, name) in [(&train, "training"), (&validation, "validation")] {
        if set.labels().is_none() {
            return Err(missing(&format!("the {name} images have no labels")));
        }
    }
    Ok([train, validation])
}

/// Refuses a folder that holds something else.
pub(super) fn check_folder(outset: &Outset) -> Result<(), TrainError> {
    let folder = &outset.folder;
    if folder::is_run(folder) {
        return Err(TrainError::Setting(format!(
            "{}: this is the folder of a pretraining run; choose a folder of its own with --out",
            folder.display()
        )));
    }
    let begun = folder.join(folder::SETTINGS).is_file();
    if outset.resume && !begun {
        return Err(TrainError::Setting(format!(
            "{}: nothing to go on with: there is no {} in it; leave out --resume to begin",
            folder.display(),
            folder::SETTINGS
        )));
    }
    if outset.force && !begun {
        // Somebody else's files are not ours to replace.
        folder::check_free(folder)?;
    }
    if !outset.resume && !outset.force {
        folder::check_free(folder)?;
    }
    Ok(())
}

/// Settings, encoder and images: what has to be the same when a training goes on.
fn identity(
    task: &str,
    settings: Table,
    encoder: &Encoder,
    [train, validation]: [&Arc<dyn Dataset>; 2],
) -> Table {
    let mut hash = Sha256::new();
    for (name, tensor) in state::collect(&encoder.backbone) {
        hash.update(name.as_bytes());
        hash.update(tensor.as_bytes());
    }
    let digest = hex(&hash.finalize());
    let mut table = Table::new();
    let mut say = |key: &str, value: toml::Value| table.insert(key.to_owned(), value);
    say("task", task.into());
    say("encoder", digest.into());
    let count = |set: &Arc<dyn Dataset>| toml::Value::Integer(set.len() as i64);
    say("training images", count(train));
    say("validation images", count(validation));
    say("classes", train.classes().to_vec().into());
    table.extend(settings);
    table
}

/// The last checkpoint, if it is of the same training.
fn resumed(now: &Table, outset: &Outset) -> Result<Option<Checkpoint>, TrainError> {
    let folder = &outset.folder;
    let Some(checkpoint) = Store::of(folder).load("latest")? else { return Ok(None) };
    let was: Table = checkpoint.recipe.parse().map_err(|error: toml::de::Error| {
        let path = folder.join("checkpoints");
        TrainError::Folder(RunFolderError::Io { path, source: std::io::Error::other(error) })
    })?;
    let mut differences = recipe::of_tables(&was, now);
    differences.retain(|d| !FREE_KEYS.iter().any(|free| d.key.starts_with(free)));
    match differences.is_empty() {
        true => Ok(Some(checkpoint)),
        false => Err(TrainError::OtherRecipe { run: folder.clone(), differences }),
    }
}
