//! What the results of a run and of a training on labels have in common.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::checkpoint::Position;

/// The result of a training: of a run, or of a training on labels.
pub trait Outcome: DeserializeOwned {
    /// Returns whether the training was stopped before its last step.
    fn interrupted(&self) -> bool;

    /// Returns the number of steps done.
    fn steps(&self) -> u64;

    /// Returns the notes on the training.
    fn notes(&self) -> &[String];

    /// Returns the result with the path of the folder that it was read from, which may have been moved or
    /// copied since.
    fn found_in(self, folder: &Path) -> Self;

    /// Returns whether this is the result of a training that came to its end at `position`.
    fn is_of(&self, position: &Position) -> bool {
        !self.interrupted()
            && self.steps() == position.step
            && position.notes.iter().all(|note| self.notes().contains(note))
    }
}
