//! Why the folder of a run cannot be made, opened, read or written.

use std::{io, path::PathBuf};

use super::{
    checkpoint::{CheckpointError, LATEST, Store},
    names::RECIPE,
};

/// Why a run folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFolderError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A new run would overwrite what is there.
    #[error(
        "{}: there is already something here; choose another --out, continue it with --resume, \
         or replace it with --force", path.display()
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// The same with `--force`, and no run left what is there.
    #[error(
        "{}: what is here is not a run; --force replaces runs only, choose another --out",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// Two processes would overwrite each other's files.
    #[error("{}: another process is at work on this run; wait for its end", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// `--resume` or another reader of runs was pointed at nothing.
    #[error("{}: does not exist; expected a run folder, as `vssl pretrain` makes them", path.display())]
    Missing {
        /// The place.
        path: PathBuf,
    },
    /// The same, pointed at something else.
    #[error("{}: not a run folder: there is no {RECIPE} in it", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The result of a run is not one.
    #[error("{}: {what}; remove the file to leave the result out", path.display())]
    Summary {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A checkpoint could not be written.
    #[error("the checkpoint after step {step} could not be written; {kept}")]
    NotSaved {
        /// Steps done.
        step: u64,
        /// What is still there.
        kept: String,
        /// Why.
        source: Box<CheckpointError>,
    },
}

impl RunFolderError {
    /// What is said of a checkpoint that `store` could not write after `step`.
    pub(super) fn not_saved(store: &Store, step: u64, source: CheckpointError) -> Self {
        let kept = match store.pointer(LATEST).ok().flatten() {
            Some(name) => {
                format!("the checkpoint {name} is whole: go on from it with --resume")
            }
            None => "there is no earlier checkpoint".to_owned(),
        };
        Self::NotSaved { step, kept, source: Box::new(source) }
    }
}
