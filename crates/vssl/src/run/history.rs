//! `events.jsonl`: the events of a run beside its figures, for programs. `log.txt` holds the same in words
//! for people, and programs do not read it.
//!
//! ```text
//! {"time":"2026-11-27T18:00:00Z","event":"started","step":0,"steps":3900}
//! {"time":"2026-11-27T18:02:10Z","event":"warning","step":50,"message":"the features…"}
//! ```
//!
//! Steps are counted as in `metrics.jsonl`. The run folder writes the file, and the page of a run reads it.
//! Runs of earlier versions do not have the file, so their warnings are unknown.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    events::Event,
    json_lines::{self, JsonLinesError},
};

/// The name of the file in a run folder.
pub const FILE: &str = "events.jsonl";

/// An event of a run; `step` counts the optimiser steps that were done by then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Entry {
    /// A process began to work on the run, which has `steps` steps altogether.
    Started {
        /// The number of steps that earlier starts have done.
        step: u64,
        /// The number of steps of the whole run.
        steps: u64,
    },
    /// The start has a note, such as that the images changed and what that means.
    Note {
        /// The number of steps that earlier starts have done.
        step: u64,
        /// The text of the note.
        message: String,
    },
    /// The user should be warned.
    Warning {
        /// The number of steps done.
        step: u64,
        /// The text of the warning.
        message: String,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// The number of steps done.
        step: u64,
        /// The folder of the checkpoint.
        #[serde(serialize_with = "crate::run::path_text::one")]
        path: PathBuf,
    },
    /// A long piece of work began that is not a step, such as an evaluation.
    Phase {
        /// The number of steps done.
        step: u64,
        /// The name of the work.
        what: String,
    },
    /// The process ended its work on the run.
    Finished {
        /// The number of steps done.
        step: u64,
        /// Whether the process was asked to stop before the last step.
        interrupted: bool,
    },
    /// The process ended its work on the run because of an error, such as a loss that is not a finite number.
    Failed {
        /// The number of steps done.
        step: u64,
        /// The message of the error.
        message: String,
    },
    /// An event that only another version of vssl writes.
    #[serde(other, skip_serializing)]
    Unknown,
}

impl Entry {
    /// Returns the entry for `event`, which happens after `step` steps; `None` for events that are in
    /// `metrics.jsonl`, and for the end, which is written with the summary.
    pub(super) fn of(event: &Event, step: u64) -> Option<Self> {
        Some(match event {
            Event::Started { first_step, steps, .. } => {
                Self::Started { step: *first_step, steps: *steps }
            }
            Event::Warning { step, message } => {
                Self::Warning { step: *step, message: message.clone() }
            }
            Event::Checkpoint { step, path } => {
                Self::Checkpoint { step: *step, path: path.clone() }
            }
            Event::Phase { what } => Self::Phase { step, what: what.clone() },
            Event::Step { .. }
            | Event::Evaluated { .. }
            | Event::Progress { .. }
            | Event::Finished { .. } => return None,
        })
    }

    /// Returns the entry as a sentence for people.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Started { step, steps } => format!("starts at step {step} of {steps}"),
            Self::Note { message, .. } => message.clone(),
            Self::Warning { step, message } => format!("warning, step {step}: {message}"),
            Self::Checkpoint { path, .. } => format!("saved {}", path.display()),
            Self::Phase { what, .. } => what.clone(),
            Self::Finished { step, interrupted: true } => {
                format!("stopped on request after step {step}")
            }
            Self::Finished { step, interrupted: false } => format!("finished after step {step}"),
            Self::Failed { step, message } => format!("failed after step {step}: {message}"),
            Self::Unknown => String::new(),
        }
    }
}

/// Returns all events of the run in the folder `run`, in order; an empty list if the file is missing.
///
/// # Errors
/// The file cannot be read, or a line of it is damaged; the error names the first such line.
pub fn read(run: &Path) -> Result<Vec<Entry>, JsonLinesError> {
    json_lines::all(readable(run)?)
}

/// Returns the events as [`read`] does, without damaged lines, and the error of each damaged line.
///
/// # Errors
/// The file cannot be read.
pub fn readable(run: &Path) -> Result<(Vec<Entry>, Vec<JsonLinesError>), JsonLinesError> {
    json_lines::read(&run.join(FILE), |line| {
        let expected = "expected a JSON object with \"event\" and \"step\"";
        serde_json::from_slice(line).map_err(|error| format!("{error}; {expected}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_another_version_are_passed_over_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(folder.path().join(FILE), text).unwrap();
        write(
            "{\"time\":\"x\",\"event\":\"started\",\"step\":0,\"steps\":9}\n\
             {\"event\":\"paused\",\"step\":3,\"by\":\"nobody\"}\n\
             {\"event\":\"warning\",\"step\":3,\"mess",
        );
        let started = Entry::Started { step: 0, steps: 9 };
        assert_eq!(read(folder.path()).unwrap(), [started, Entry::Unknown]);
        write("{\"event\":\"warning\",\"step\":3}\n");
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("events.jsonl: line 1") && error.contains("message"), "{error}");
        assert_eq!(read(Path::new("no/such/run")).unwrap(), []);
    }
}
