//! What a training on labels finds in its output folder: nothing, results to replace, or a training that goes on.

use std::{path::PathBuf, sync::Arc};

use toml::Table;
use vssl_data::Dataset;

use super::Summary;
use crate::{
    encoder::Encoder,
    recipe,
    run::{
        checkpoint::{Checkpoint, LATEST, StandIn, Store},
        digest::sha256,
        folder,
        images::Images,
        length::{self, NewLength},
        losses,
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

/// The key of a checkpoint's identity for what decides the feature of the encoder beside its weights.
const NETWORK: &str = "network";

/// A learning rate at a step of a training of so many epochs.
pub(super) type Rate<'a> = &'a dyn Fn(u64, &Step) -> f64;

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
pub(super) fn identity(
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
    if let Some(pooling) = encoder.pooling {
        say("pooling", pooling.name().into());
    }
    say(NETWORK, toml::Value::Table(encoder.config.of_feature()));
    let count = |set: &Arc<dyn Dataset>| toml::Value::Integer(set.len() as i64);
    say(COUNTS[0], count(train));
    say(COUNTS[1], count(validation));
    say("classes", train.classes().to_vec().into());
    table.extend(settings);
    table
}

/// Returns the checkpoint to go on from, if the training goes on and has a checkpoint, and the notes for the
/// user. The position of the checkpoint has the note on changed images as well, so that it lasts.
pub(super) fn resumption(
    identity: &Table,
    images: &Images,
    output: &OutputOptions,
    length: length::Length,
    rate: (&str, Rate),
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
        note_on_new_length(&checkpoint, images, output, length, rate)?.into_iter().collect();
    notes.extend(changed);
    notes.extend((!settings_of(&checkpoint, output)?.contains_key(NETWORK)).then(|| {
        "the checkpoint is of an earlier version, which noted the weights of the encoder and not its settings: that its \
         pooling and the like are the same was not checked"
            .to_owned()
    }));
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
    (rate_name, rate): (&str, Rate),
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
        rate_name,
        rate: &|length, at| rate(length.epochs, at),
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
    if !was.contains_key(NETWORK) {
        differences.retain(|difference| !difference.key.starts_with("network."));
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
