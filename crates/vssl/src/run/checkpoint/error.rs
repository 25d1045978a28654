//! What can be wrong with a checkpoint, and what to do about it.

use std::path::{Path, PathBuf};

use super::{FORMAT, OLDEST_FORMAT};
use crate::tensors::{file::TensorFileError, state::StateError};

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A tensor file could not be written or read.
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    /// A file does not match its checksum, or a manifest is not valid.
    #[error("{}: damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The content that was found, and the content that was expected.
        what: String,
    },
    /// The checkpoint has a format that this version does not read.
    #[error(
        "{}: checkpoint format {got}, this version of vssl reads formats {OLDEST_FORMAT} to {FORMAT}",
        path.display()
    )]
    Format {
        /// The manifest.
        path: PathBuf,
        /// The number of the format.
        got: u32,
    },
    /// `latest` leads to no checkpoint, and no other checkpoint is whole.
    #[error(
        "{}: {reason}, and {}; expected a whole checkpoint step-…: bring one back from a copy, or train \
         again with another --out or with --force", folder.display(), none_whole(damaged)
    )]
    NoneWhole {
        /// The folder of the checkpoints.
        folder: PathBuf,
        /// The reason why `latest` leads to no checkpoint, as a clause.
        reason: String,
        /// The damaged checkpoints, newest first, each with the damage; empty if there are none.
        damaged: Vec<(String, String)>,
    },
    /// The checkpoint that `latest` names is damaged.
    #[error("{source}; {}", advice(folder, other.as_deref()))]
    LatestDamaged {
        /// The folder of the checkpoint.
        folder: PathBuf,
        /// The name of the newest whole checkpoint, if there is one.
        other: Option<String>,
        /// The damage.
        source: Box<CheckpointError>,
    },
    /// The checkpoint is of another method, width or architecture.
    #[error(
        "{}: {source}; the checkpoint is of another method, architecture or width than the recipe, or of a \
         method that remembers every image and of another number of images", path.display()
    )]
    OtherNetwork {
        /// The tensor file.
        path: PathBuf,
        /// The first difference.
        source: Box<StateError>,
    },
}

impl CheckpointError {
    /// Returns whether the checkpoint is there but not whole. A file that cannot be read for another reason,
    /// or is of a later version, may be whole.
    pub(super) fn is_damage(&self) -> bool {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        match self {
            Self::Io { source, .. } => matches!(source.kind(), NotFound | NotADirectory),
            Self::Tensors(TensorFileError::Io { .. }) => false,
            Self::Tensors(_) | Self::Damaged { .. } => true,
            _ => false,
        }
    }
}

/// Returns what to do about the damaged checkpoint in `folder`. An older checkpoint is not taken in silence:
/// it has other weights, and the damaged one may come back from a copy.
fn advice(folder: &Path, other: Option<&str>) -> String {
    let folder = folder.display();
    match other {
        Some(other) => format!(
            "bring {folder} back from a copy, or move it away to go on from {other}, the newest whole checkpoint"
        ),
        None => format!(
            "bring {folder} back from a copy: no other checkpoint is whole. Or train again with another --out \
             or with --force"
        ),
    }
}

fn none_whole(damaged: &[(String, String)]) -> String {
    if damaged.is_empty() {
        return "there is no other checkpoint".to_owned();
    }
    let damages: Vec<&str> = damaged.iter().map(|(_, damage)| damage.as_str()).collect();
    format!("no checkpoint is whole ({})", damages.join("; "))
}

/// Makes the error of a call of the system on `path`.
pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| CheckpointError::Io { path, source }
}
