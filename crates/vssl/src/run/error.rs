//! The errors of making, opening, reading and writing the folder of a run.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    checkpoint::{CheckpointError, Store},
    names::RECIPE,
};

/// Why a run folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFolderError {
    /// The operating system refused.
    #[error("{}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A new run would overwrite the files in the folder.
    #[error(
        "{}: there is already something here; choose another --out, continue it with --resume, \
         or replace it with --force", path.display()
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// `--force` was given, but the files in the folder are not those of a run.
    #[error(
        "{}: what is here is not a run; --force replaces runs only, choose another --out",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// Another process works on the run, and both would overwrite each other's files.
    #[error("{}: another process is at work on this run; wait for its end", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody has moved or removed the run folder while the run was at work.
    #[error(
        "{}: the run folder was moved or removed while the run was at work; the run ends here. The whole state \
         after step {step} was saved in {}: go on with --resume there", path.display(), saved.display()
    )]
    Lost {
        /// The folder.
        path: PathBuf,
        /// The number of steps done.
        step: u64,
        /// The folder in which the state was saved.
        saved: PathBuf,
    },
    /// The path of a run to resume or to read does not exist.
    #[error("{}: does not exist; expected a run folder, as `vssl pretrain` makes them", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The path of a run to resume or to read is a file.
    #[error("{}: a file; expected a run folder{}", path.display(), advice(path))]
    File {
        /// The path.
        path: PathBuf,
    },
    /// The folder of a run to resume or to read is not a run folder.
    #[error(
        "{}: not a run folder: there is no {RECIPE} in it, as `vssl pretrain` writes it", path.display()
    )]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The result of a run is not valid.
    #[error("{}: {what}; remove the file to leave the result out", path.display())]
    Summary {
        /// The file.
        path: PathBuf,
        /// The fault of the result.
        what: String,
    },
    /// A checkpoint could not be written.
    #[error("the checkpoint after step {step} could not be written; {kept}")]
    NotSaved {
        /// The number of steps done.
        step: u64,
        /// A clause on the checkpoints that are still there.
        kept: String,
        /// The reason.
        source: Box<CheckpointError>,
    },
}

fn advice(path: &Path) -> String {
    match path.extension().is_some_and(|ending| ending == "toml") {
        true => format!(". A recipe begins a run: vssl pretrain {}", path.display()),
        false => ", as `vssl pretrain` makes them".to_owned(),
    }
}

impl RunFolderError {
    /// Returns the error for a checkpoint that `store` could not write after `step`.
    pub(super) fn not_saved(store: &Store, step: u64, source: CheckpointError) -> Self {
        let kept = match store.name_of_latest().ok().flatten() {
            Some(name) => {
                format!("the checkpoint {name} is whole: go on from it with --resume")
            }
            None => "there is no earlier checkpoint".to_owned(),
        };
        Self::NotSaved { step, kept, source: Box::new(source) }
    }
}

/// Makes the error of a call of the system on `path`.
pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> RunFolderError {
    let path = path.to_owned();
    move |source| RunFolderError::Io { path, source }
}
