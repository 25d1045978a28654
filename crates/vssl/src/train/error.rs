//! Why a run cannot start or go on.

use std::path::PathBuf;

use crate::{
    collective::CollectiveError,
    encoder::EncoderError,
    eval::EvalError,
    features::FeatureError,
    optim::OptimError,
    precision::PrecisionError,
    recipe::Difference,
    run::{
        checkpoint::CheckpointError,
        folder::{self, RunFolderError},
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
    /// A run goes on only with the images that it began with.
    #[error(
        "{}: the images are not those that the checkpoint was made with:\n{}\n\
         bring the earlier images back, or begin a new run; --allow-changed-data goes on all the same, and \
         then epochs, learning rates and the order of the images follow the new images", run.display(), indented(changes)
    )]
    OtherImages {
        /// The run folder.
        run: PathBuf,
        /// What has changed, a line for each split.
        changes: Vec<String>,
    },
    /// The method remembers each image, and there are more or fewer images now.
    #[error(
        "{}: {source}: {method} remembers each training image, of which there were {was}, and cannot go on \
         with {now}; bring the earlier images back, or begin a new run", folder.display()
    )]
    RemembersImages {
        /// The checkpoint.
        folder: PathBuf,
        /// The first difference.
        source: Box<StateError>,
        /// Name of the method.
        method: String,
        /// Training images of the checkpoint.
        was: usize,
        /// Training images now.
        now: usize,
    },
    /// The recipe in a checkpoint cannot be read.
    #[error("{}: the recipe in the checkpoint: {source}", run.display())]
    StoredRecipe {
        /// The run folder.
        run: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The state of a training on labels in a checkpoint cannot be read.
    #[error("{}: the checkpoint does not hold the state of a training on labels: {source}", folder.display())]
    StoredHeads {
        /// The output folder.
        folder: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A training on labels lacks them.
    #[error(
        "{what}; expected a training and a validation split with labels, as folders train/ and val/ with a \
         folder for each class have them"
    )]
    NoLabels {
        /// Which split, or which labels.
        what: String,
    },
    /// A training on labels would mix its files with those of a run.
    #[error(
        "{}: this is the folder of a pretraining run; choose a folder of its own with --out",
        folder.display()
    )]
    FolderOfRun {
        /// The folder.
        folder: PathBuf,
    },
    /// `--resume` of a training on labels that was not begun.
    #[error(
        "{}: nothing to go on with: there is no {} in it; leave out --resume to begin", folder.display(), folder::SETTINGS
    )]
    NothingToResume {
        /// The folder.
        folder: PathBuf,
    },
    /// The encoder that is judged, or its features.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
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
    /// Whether the request makes no sense, as opposed to one that could not be done: the settings or the
    /// arguments have to change.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Setting(_)
                | Self::OtherRecipe { .. }
                | Self::NoLabels { .. }
                | Self::FolderOfRun { .. }
                | Self::NothingToResume { .. }
        )
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn lines(differences: &[Difference]) -> String {
    indented(&differences.iter().map(ToString::to_string).collect::<Vec<_>>())
}
