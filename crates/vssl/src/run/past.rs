//! What the folder of a training tells about its past where there is no checkpoint to go on from, or where its
//! images are not there any more.

use std::{fs, path::Path};

use toml::Table;

use super::{
    checkpoint::{LATEST, Store},
    folder::{self, RunFolderError},
    history::{self, Entry},
    length::LENGTH,
    names::{RECIPE, SETTINGS},
    outcome::Outcome,
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

impl<Summary: Outcome> Past<Summary> {
    /// Returns the past of the training in the folder `path`.
    ///
    /// # Errors
    /// The result cannot be read. It may be the only thing that is left of a finished training.
    pub(crate) fn of(path: &Path) -> Result<Self, RunFolderError> {
        let summary = folder::summary_of::<Summary>(path)?;
        let was_stopped = summary.is_some();
        if let Some(summary) = summary.filter(|summary| !summary.interrupted()) {
            return Ok(Self::Finished(summary.found_in(path)));
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

/// Returns the result of the training in the folder `path` if it came to its end and its settings ask for no other
/// length since; `None` for any other training. Neither its images nor its checkpoints are needed.
///
/// # Errors
/// The result cannot be read.
pub fn finished<Summary: Outcome>(path: &Path) -> Result<Option<Summary>, RunFolderError> {
    let Past::Finished(summary) = Past::<Summary>::of(path)? else { return Ok(None) };
    // Without a checkpoint, or with a damaged one, the result is all that is known.
    let Ok(Some(stated)) = Store::of(path).stated(LATEST) else { return Ok(Some(summary)) };
    let is_whole = summary.is_of(&stated.position) && has_length_of(path, &stated.recipe);
    Ok(is_whole.then_some(summary))
}

/// Returns whether the settings in the folder `path` have the length of the settings `then`.
fn has_length_of(path: &Path, then: &str) -> bool {
    let file =
        [RECIPE, SETTINGS].map(|name| path.join(name)).into_iter().find(|file| file.is_file());
    let now = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let (Ok(now), Ok(then)) = (now.parse::<Table>(), then.parse::<Table>()) else { return false };
    let value = |table: &Table, key: &str| {
        let (section, key) = key.split_once('.').expect("the length is in a section");
        table.get(section)?.get(key).cloned()
    };
    LENGTH.iter().all(|key| value(&now, key) == value(&then, key))
}
