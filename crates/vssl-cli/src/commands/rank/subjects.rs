//! Finds the encoders that `vssl rank` is to judge.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use vssl::{
    comparison,
    run::{
        checkpoint::Store,
        folder::{self, RECIPE},
    },
};

use super::super::encoder::is_fine_tuned;
use crate::{arguments::Rank, failure::Failure};

/// An encoder that is to be judged.
pub(super) struct Subject {
    /// The run folder, the folder of a fine-tuning, or the file.
    pub(super) path: PathBuf,
    /// The checkpoint of a run.
    pub(super) checkpoint: String,
    /// Whether the checkpoint is a part of the name, because several of a run are judged.
    names_checkpoint: bool,
}

impl Subject {
    /// The name in messages and tables.
    pub(super) fn name(&self) -> String {
        match self.names_checkpoint {
            true => format!("{} {}", self.path.display(), self.checkpoint),
            false => self.path.display().to_string(),
        }
    }

    /// Whether it is of a run that was pretrained.
    pub(super) fn is_run(&self) -> bool {
        folder::is_run(&self.path)
    }
}

/// An encoder that could not be judged, and the reason.
pub(super) struct Unread {
    pub(super) encoder: String,
    pub(super) reason: String,
}

/// All encoders that the arguments name, in order, and the runs whose checkpoints cannot be listed.
pub(super) fn of(arguments: &Rank) -> Result<(Vec<Subject>, Vec<Unread>), Failure> {
    let (mut subjects, mut unread) = (Vec::new(), Vec::new());
    for path in paths(&arguments.runs)? {
        if path.is_file() && arguments.images.is_none() {
            return Err(Failure::usage(anyhow!(
                "{} does not name its images, as a run does; name them with --images DIR",
                path.display()
            )));
        }
        if !arguments.checkpoints || path.is_file() {
            let checkpoint = arguments.copy.checkpoint.clone();
            subjects.push(Subject { path, checkpoint, names_checkpoint: false });
            continue;
        }
        match Store::of(&path).list() {
            Ok(names) if names.is_empty() => unread.push(Unread {
                encoder: path.display().to_string(),
                reason: "the run has not saved a checkpoint".to_owned(),
            }),
            Ok(names) => subjects.extend(names.into_iter().map(|checkpoint| Subject {
                path: path.clone(),
                checkpoint,
                names_checkpoint: true,
            })),
            Err(error) => unread
                .push(Unread { encoder: path.display().to_string(), reason: error.to_string() }),
        }
    }
    Ok((subjects, unread))
}

/// The run folders in and below folders, and the other paths as they are; each once.
fn paths(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut all: Vec<PathBuf> = Vec::new();
    for path in named {
        let found = match path.is_file() || is_fine_tuned(path) {
            true => vec![path.clone()],
            false => below(path)?,
        };
        for path in found {
            let is_known = |known: &PathBuf| same(known, &path);
            if !all.iter().any(is_known) {
                all.push(path);
            }
        }
    }
    Ok(all)
}

fn below(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.exists() {
        return Err(anyhow!(
            "{}: does not exist; expected a run folder with {RECIPE}, a folder of such folders, or a file that \
             `vssl export` or `vssl import` wrote",
            path.display()
        )
        .into());
    }
    Ok(comparison::folders(&[path.to_owned()])?)
}

fn same(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
