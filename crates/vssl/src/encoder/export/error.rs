//! Why an encoder could not be exported, in words for the person who asked.

use std::{io, path::PathBuf};

use burn::store::RecordError;

use crate::{
    encoder::onnx::OnnxError,
    recipe::RecipeError,
    run::{checkpoint::CheckpointError, folder::RunFolderError},
    tensors::file::TensorFileError,
};

/// Why an encoder could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The run folder cannot be read.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The requested checkpoint does not exist.
    #[error("{}: no checkpoint {wanted}; there {}{}", run.display(), listed(available), about(wanted))]
    Missing {
        /// The run folder.
        run: PathBuf,
        /// The name that the user gave: `latest`, `best` or `step-…`.
        wanted: String,
        /// Names of the checkpoints of the run.
        available: Vec<String>,
    },
    /// The recipe inside the checkpoint is not valid.
    #[error("{}: the recipe of its checkpoint: {source}", run.display())]
    Recipe {
        /// The run folder.
        run: PathBuf,
        /// The first error of the recipe.
        source: Box<RecipeError>,
    },
    /// The teacher of a method without a teacher was requested.
    #[error(
        "{}: the method {method:?} has no momentum network, so its checkpoint has no teacher; it has the \
         student: leave --network teacher out", run.display()
    )]
    NoTeacher {
        /// The run folder.
        run: PathBuf,
        /// The name of the run's method.
        method: String,
    },
    /// The teacher of a run whose teacher is frozen was requested.
    #[error(
        "{}: the method {method:?} has no momentum network: its teacher is frozen and lies in {}, which can be named in \
         place of the run; the run has the student: leave --network teacher out", run.display(), file.display()
    )]
    FrozenTeacher {
        /// The run folder.
        run: PathBuf,
        /// The file of the teacher.
        file: PathBuf,
        /// The name of the run's method.
        method: String,
    },
    /// A weight has numbers that half precision does not have.
    #[error(
        "tensor {name:?} has a number beyond 65504, the largest of half precision; leave half precision out"
    )]
    Half {
        /// The tensor.
        name: String,
    },
    /// A format does not have an option.
    #[error("{option}: only {format} has it; leave it out or take another format")]
    Option {
        /// The option.
        option: &'static str,
        /// The formats that have it.
        format: &'static str,
    },
    /// The tensors could not be written.
    #[error(transparent)]
    Write(#[from] TensorFileError),
    /// The encoder could not be written as ONNX.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The encoder could not be written as a record of Burn.
    #[error("{}: writing Burn's record: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The error of Burn.
        source: RecordError,
    },
    /// The file could not be moved to its name.
    #[error("{}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// Returns when a run has the checkpoint that was wanted.
fn about(wanted: &str) -> &'static str {
    match wanted {
        "best" => {
            ". A run keeps its best checkpoint where checkpoint.best = true and its images have labels and a \
             validation split; expected latest, or one of these"
        }
        _ => "",
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "is none".to_owned(),
        [name] => format!("is {name}"),
        names => format!("are {}", names.join(", ")),
    }
}
