//! Why a run cannot start or go on.

use std::path::PathBuf;

use crate::{
    collective::CollectiveError,
    eval::EvalError,
    features::FeatureError,
    optim::OptimError,
    precision::PrecisionError,
    recipe::Difference,
    run::{
        checkpoint::{CheckpointError, Store},
        folder::RunFolderError,
    },
    tensors::state::StateError,
};

/// Everything that ends a run with exit code 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Images.
    #[error(transparent)]
    Data(#[from] vssl_data::DataError),
    /// The data are nowhere.
    #[error("data.path = {path:?}: not found; looked at {}", list(looked))]
    NoData {
        /// As in the recipe.
        path: PathBuf,
        /// Where it could have been.
        looked: Vec<PathBuf>,
    },
    /// The optimiser's settings or state.
    #[error(transparent)]
    Optimizer(#[from] OptimError),
    /// The run folder.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// Reading a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// State of the online probe.
    #[error("the probe of the checkpoint: {0}; it was written for other features or classes")]
    Probe(Box<StateError>),
    /// A checkpoint that lacks a file.
    #[error("the checkpoint has no {kind}.safetensors; it is of another recipe")]
    Incomplete {
        /// `student`, `memory`, `optimizer` or `probe`.
        kind: &'static str,
    },
    /// Writing a checkpoint.
    #[error("the checkpoint after step {step} could not be written; {kept}")]
    Save {
        /// Steps done.
        step: u64,
        /// What is still there.
        kept: String,
        /// Why.
        source: Box<CheckpointError>,
    },
    /// The run diverged.
    #[error(
        "step {step}: {what} is not a finite number; the run stops before it spoils the weights, \
         the last checkpoint stays. Lower optimizer.lr, or set train.clip_norm"
    )]
    NonFinite {
        /// Counted from 1.
        step: u64,
        /// The first part that was not finite.
        what: String,
    },
    /// Gradients that no factor of the loss keeps in the range of 16-bit floats.
    #[error(
        "step {step}: {what} overflows train.precision = \"f16\" even with an unscaled loss; the last \
         checkpoint stays. Train with --precision bf16, which has the range of f32, or with f32, or \
         lower optimizer.lr"
    )]
    Overflow {
        /// Counted from 1.
        step: u64,
        /// The first gradient that was not finite.
        what: String,
    },
    /// A precision that the device does not have.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// Features that are not numbers.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// Labels that do not fit the features.
    #[error(transparent)]
    Evaluation(#[from] EvalError),
    /// Another process of the job.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// Settings that do not fit together or the data.
    #[error("{0}")]
    Setting(String),
    /// A run goes on only as it began.
    #[error("{}: the recipe differs from the one that the checkpoint was made with:\n{}", run.display(), lines(differences))]
    OtherRecipe {
        /// The run folder.
        run: PathBuf,
        /// Keys and both values.
        differences: Vec<Difference>,
    },
    /// Not enough room.
    #[error(
        "{}: {free_mib} MiB free, the checkpoints need about {needed_mib} MiB; \
         free some space, choose another --out or lower checkpoint.keep", path.display()
    )]
    NoSpace {
        /// The run folder.
        path: PathBuf,
        /// What is there.
        free_mib: u64,
        /// What it takes.
        needed_mib: u64,
    },
}

impl TrainError {
    /// For what is said of a checkpoint that `store` could not write after `step`.
    pub(crate) fn not_saved(store: &Store, step: u64) -> impl FnOnce(CheckpointError) -> Self {
        move |source| {
            let kept = match store.pointer("latest").ok().flatten() {
                Some(name) => {
                    format!("the checkpoint {name} is whole: go on from it with --resume")
                }
                None => "there is no earlier checkpoint".to_owned(),
            };
            Self::Save { step, kept, source: Box::new(source) }
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("  {difference}")).collect::<Vec<_>>().join("\n")
}
