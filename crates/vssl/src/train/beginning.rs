//! The place where a run begins or goes on: its checkpoint, or what its folder tells where there is none.

use std::path::Path;

use super::TrainError;
use crate::run::{
    checkpoint::{Checkpoint, CheckpointError, Store},
    events::Summary,
    past::Past,
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

/// Returns the result of the run in the folder `run` if it came to its end; `None` for any other run. Neither
/// its images nor its checkpoints are needed.
///
/// # Errors
/// The result cannot be read.
pub fn finished(run: &Path) -> Result<Option<Summary>, TrainError> {
    match Past::of(run, |summary: &Summary| summary.interrupted)? {
        Past::Finished(summary) => Ok(Some(summary)),
        _ => Ok(None),
    }
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
            Ok(None) => Past::of(run, |summary: &Summary| summary.interrupted)?,
            // `latest` is all that is left of the checkpoints. A result needs no weights.
            Err(CheckpointError::NoneWhole { folder, reason, damaged }) if damaged.is_empty() => {
                match Past::of(run, |summary: &Summary| summary.interrupted)? {
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
