//! The place where a run begins or goes on: its checkpoint, or what its folder tells where there is none.

use std::path::Path;

use toml::Table;

use super::TrainError;
use crate::{
    run::{
        checkpoint::{Checkpoint, CheckpointError, Store},
        events::Summary,
        images::Images,
        length::{Length, NewLength},
        past::Past,
        resume,
    },
    schedule::Step,
};

/// Where a run begins: the default is at the first step of a new run.
#[derive(Default)]
pub(super) struct Beginning {
    /// Whether the run goes on with an earlier start.
    pub continues: bool,
    /// The checkpoint to go on from.
    pub checkpoint: Option<Checkpoint>,
    /// A note on the checkpoint, or on the lack of one.
    pub note: Option<String>,
    /// The result of a run that came to its end and has no checkpoint any more.
    pub without_weights: Option<Summary>,
}

impl Beginning {
    /// Returns the place where the run in the folder `run` goes on from the checkpoint `from`.
    ///
    /// # Errors
    /// The checkpoint or the result cannot be read.
    pub(super) fn of(run: &Path, from: &str) -> Result<Self, TrainError> {
        let mut beginning = Self { continues: true, ..Self::default() };
        let past = match Store::of(run).find(from) {
            Ok(Some((checkpoint, stand_in))) => {
                beginning.note = stand_in.map(|stand_in| stand_in.note("goes on from"));
                beginning.checkpoint = Some(checkpoint);
                return Ok(beginning);
            }
            Ok(None) => Past::of(run)?,
            // `latest` is all that is left of the checkpoints. A result needs no weights.
            Err(CheckpointError::NoneWhole { folder, reason, damaged }) if damaged.is_empty() => {
                match Past::of(run)? {
                    finished @ Past::Finished(_) => finished,
                    _ => {
                        let error = CheckpointError::NoneWhole { folder, reason, damaged };
                        return Err(error.into());
                    }
                }
            }
            Err(error) => return Err(error.into()),
        };
        match past {
            Past::Finished(summary) => beginning.without_weights = Some(summary),
            past => beginning.note = Some(past.note("run")),
        }
        Ok(beginning)
    }
}

impl Beginning {
    /// Checks that the images are those of the checkpoint, unless they are `allowed` to be others: the first thing
    /// that is checked, because other images are behind many an error of later checks. Ranks that do not
    /// look at the images pass `None`.
    ///
    /// # Errors
    /// The images are others.
    pub(super) fn check_images(
        &self,
        run: &Path,
        now: Option<&Images>,
        allowed: bool,
    ) -> Result<(), TrainError> {
        let was = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.images.as_ref());
        let (Some(was), Some(now), false) = (was, now, allowed) else { return Ok(()) };
        let changes: Vec<String> = now.changes_since(was).iter().map(ToString::to_string).collect();
        match changes.is_empty() {
            true => Ok(()),
            false => Err(TrainError::OtherImages { run: run.to_owned(), changes }),
        }
    }
}

/// The length and the images of a run that goes on.
pub(super) struct Continuation<'a> {
    /// The run folder.
    pub run: &'a Path,
    /// The length from now on.
    pub length: Length,
    /// The number of training images from now on.
    pub count: usize,
    /// The images from now on; `None` on ranks that do not look at them.
    pub images: Option<&'a Images>,
    /// Whether the images may be others than those of the checkpoint.
    pub allow_changed_data: bool,
    /// Returns the learning rate at a step.
    pub rate: &'a dyn Fn(&Step) -> f64,
}

impl Continuation<'_> {
    /// Returns the notes on a run that goes on from `checkpoint`: on another length and on other images. The
    /// checkpoint takes the notes as well, so that they last.
    ///
    /// # Errors
    /// The new length has passed already, or the images are others and may not be.
    pub(super) fn notes(&self, checkpoint: &mut Checkpoint) -> Result<Vec<String>, TrainError> {
        let run = || self.run.to_owned();
        let (images, step) = (checkpoint.images.as_ref(), checkpoint.position.step);
        let settings: Table = checkpoint.recipe.parse().map_err(|source: toml::de::Error| {
            TrainError::StoredRecipe { run: run(), source: source.into() }
        })?;
        let was = self.length.stated_in(&settings);
        let mut notes = Vec::new();
        if was != self.length {
            let now = self.count;
            let change = NewLength {
                was: (was, images.map_or(now, |images| images.training.count)),
                now: (self.length, now),
                step,
                rate_name: "the learning rate",
                rate: &|_, at| (self.rate)(at),
            };
            let note = change.note();
            notes.push(note.map_err(|what| TrainError::EndHasPassed { run: run(), what })?);
        }
        let allowed = self.allow_changed_data;
        if let Some(own) = self.images {
            let checked = resume::check_images(images, own, allowed, self.length, step);
            let changed = |changes| TrainError::OtherImages { run: run(), changes };
            notes.extend(checked.map_err(changed)?);
        }
        checkpoint.position.notes.extend(notes.iter().cloned());
        Ok(notes)
    }
}
