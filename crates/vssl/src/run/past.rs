//! What the folder of a training tells about its past where there is no checkpoint to go on from.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::{
    folder::{self, RunFolderError},
    history::{self, Entry},
};

/// The past of a training without checkpoints.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Past<Summary> {
    /// It was stopped before its first checkpoint.
    NothingSaved,
    /// It saved checkpoints, which were removed since, and did not come to its end.
    Stopped,
    /// It came to its end, with this result; its checkpoints were removed since.
    Finished(Summary),
}

impl<Summary: DeserializeOwned> Past<Summary> {
    /// Returns the past of the training in the folder `path`; `interrupted` says of a result whether it is
    /// one of a training that was stopped before its last step.
    ///
    /// # Errors
    /// The result cannot be read. It may be the only thing that is left of a finished training.
    pub(crate) fn of(
        path: &Path,
        interrupted: impl Fn(&Summary) -> bool,
    ) -> Result<Self, RunFolderError> {
        let summary = folder::summary_of::<Summary>(path)?;
        let was_stopped = summary.is_some();
        if let Some(summary) = summary.filter(|summary| !interrupted(summary)) {
            return Ok(Self::Finished(summary));
        }
        let saved = |entry: &Entry| matches!(entry, Entry::Checkpoint { .. });
        // A history that cannot be read tells nothing about checkpoints.
        let has_saved = history::read(path).is_ok_and(|entries| entries.iter().any(saved));
        Ok(if was_stopped || has_saved { Self::Stopped } else { Self::NothingSaved })
    }

    /// Returns the note on a start from the first step; `training` is its name, as in "run".
    pub(crate) fn note(&self, training: &str) -> String {
        let reason = match self {
            Self::NothingSaved => "no checkpoint was saved yet",
            _ => "the checkpoints that were saved are gone",
        };
        format!("{reason}: the {training} starts again")
    }
}
