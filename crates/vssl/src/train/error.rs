//! Why a run cannot start or go on.

use std::path::PathBuf;

use super::{
    error_words::{about, indented, lines, list, unfitting},
    recipe_words::as_keys,
};
use crate::{
    collective::CollectiveError,
    encoder::{EncoderError, foreign::ForeignError},
    eval::{EvalError, common_classes::CommonClassesError},
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
    /// The images cannot be read.
    #[error(transparent)]
    Data(#[from] vssl_data::DataError),
    /// The images are at none of the places where `data.path` may be.
    #[error("data.path = {path:?}: not found; looked at {}", list(looked))]
    NoData {
        /// The path as the recipe gives it.
        path: PathBuf,
        /// The places that were looked at.
        looked: Vec<PathBuf>,
    },
    /// There is nothing at the path of the encoder to start from.
    #[error(
        "{table}.from = {path:?}: not found; looked at {}; expected a run folder, a file that `vssl export` or `vssl import` \
         wrote, or another program's weights (.pth, .pt, .ckpt, .safetensors)",
        list(looked)
    )]
    NoStart {
        /// The table of the recipe: `init` or `teacher`.
        table: &'static str,
        /// The path as the recipe gives it.
        path: PathBuf,
        /// The places that were looked at.
        looked: Vec<PathBuf>,
    },
    /// The encoder to start from is not the one that the recipe of a run names.
    #[error(
        "{}: its SHA-256 is {got}, the recipe expects {expected} ({table}.digest); bring that file back, or begin a new \
         run without the key", path.display()
    )]
    OtherStart {
        /// The table of the recipe: `init` or `teacher`.
        table: &'static str,
        /// The encoder.
        path: PathBuf,
        /// Its digest.
        got: String,
        /// The digest in the recipe.
        expected: String,
    },
    /// Neither the copy of an encoder in the run folder nor the encoder itself can be read.
    #[error(
        "{}: {problem}, and the encoder that it was made of cannot be read either: {source}. A run goes on only with the \
         encoder that it began with: bring this copy back, from a copy of the run folder, or the encoder; or begin a new run \
         with another --out", file.display()
    )]
    NoCopy {
        /// The copy.
        file: PathBuf,
        /// Why it cannot be used.
        problem: &'static str,
        /// Why the encoder itself cannot be read.
        source: Box<TrainError>,
    },
    /// Weights of the encoder to start from, or of the teacher, are no numbers.
    #[error(
        "{}: of the {values} values of {tensor}, {count} {} infinite or not a number; expected finite weights, for example \
         those of an earlier checkpoint", path.display(), if *count == 1 { "is" } else { "are" }
    )]
    NotFinite {
        /// The file or run folder.
        path: PathBuf,
        /// The first such tensor.
        tensor: String,
        /// The number of its values that are no numbers.
        count: usize,
        /// The number of all its values.
        values: usize,
    },
    /// The encoder of a run, of a fine-tuning or of a file of this program cannot be read.
    #[error("{}", as_keys(table, &error.to_string()))]
    StartingEncoder {
        /// The table of the recipe: `init` or `teacher`.
        table: &'static str,
        /// The reason.
        error: EncoderError,
    },
    /// The weights of another program cannot be read.
    #[error("{}", as_keys(table, &about(path, source)))]
    ForeignStart {
        /// The table of the recipe: `init` or `teacher`.
        table: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: ForeignError,
    },
    /// A tensor of the encoder to start from is missing, superfluous or of another shape.
    #[error(
        "{}: {}, so the run does not start:\n{}\nexpected all tensors of a {architecture} and no others. `vssl import {} \
         --to encoder.safetensors --allow-partial` makes an encoder of what fits", path.display(), unfitting(*count),
        indented(tensors), path.display()
    )]
    StartDoesNotFit {
        /// The file.
        path: PathBuf,
        /// The name of the architecture.
        architecture: &'static str,
        /// The number of tensors that do not fit.
        count: usize,
        /// A sentence for each of the first of them.
        tensors: Vec<String>,
    },
    /// The recipe describes another network than the encoder to start from is.
    #[error(
        "[backbone] of the recipe and the encoder {} disagree (encoder -> recipe):\n{}\nleave these keys out of the \
         recipe, and the encoder decides (--set backbone= leaves out the whole table); or start from another encoder", from.display(), lines(differences)
    )]
    OtherBackbone {
        /// The path of the encoder.
        from: PathBuf,
        /// The keys that differ, each with both values.
        differences: Vec<Difference>,
    },
    /// The ranks of a run have read different encoders, or different features of the teacher.
    #[error(
        "{key}: rank {rank} has read another file than rank 0; expected the same file on every machine"
    )]
    StartsDiffer {
        /// The key of the recipe that names the file.
        key: &'static str,
        /// The rank.
        rank: usize,
    },
    /// A training that came to its end has no checkpoint any more.
    #[error(
        "{}: the training is finished and its checkpoints are gone: without weights it can be neither \
         evaluated again nor go on. The settings, metrics.jsonl and {} are kept. Bring the checkpoints back \
         from a copy, choose another --out, or train again in its place with --force", run.display(), folder::SUMMARY
    )]
    CheckpointsGone {
        /// The run folder.
        run: PathBuf,
    },
    /// The settings or the state of the optimiser do not fit.
    #[error(transparent)]
    Optimizer(#[from] OptimError),
    /// The run folder cannot be made, opened, read or written.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The state of the online probe does not fit.
    #[error("the probe of the checkpoint: {0}; it was written for other features or classes")]
    Probe(Box<StateError>),
    /// The state of the head that predicts losses does not fit.
    #[error(
        "the head of the checkpoint that predicts losses: {0}; it was written for other features, or with another \
         uncertainty.hidden"
    )]
    LossHead(Box<StateError>),
    /// The number of classes has changed, for which the online probe has no weights.
    #[error(
        "{}: the online probe learns {was} classes in it, the training images now have {now}; the probe cannot \
         go on with other classes, and probe.enabled cannot change within a run. Bring back images of {was} \
         classes, or begin a new run", folder.display()
    )]
    OtherClasses {
        /// The folder of the checkpoint.
        folder: PathBuf,
        /// The number of classes of the checkpoint.
        was: usize,
        /// The number of classes now.
        now: usize,
    },
    /// A checkpoint lacks a file of tensors.
    #[error("the checkpoint has no {kind}.safetensors; it is of another recipe")]
    Incomplete {
        /// The name of the file: `student`, `memory`, `optimizer`, `probe`, `uncertainty` or `uncertainty_optimizer`.
        kind: &'static str,
    },
    /// The loss or a gradient is not finite: the run diverged.
    #[error(
        "step {step}: {what} is not a finite number; the run stops before it spoils the weights, \
         the last checkpoint stays. Lower optimizer.lr, or set train.clip_norm"
    )]
    NonFinite {
        /// The step, counted from 1.
        step: u64,
        /// The first part of the step that was not finite.
        what: String,
    },
    /// The gradients exceed the range of 16-bit floats, whatever the loss is multiplied by.
    #[error(
        "step {step}: {what} overflows train.precision = \"f16\" even with an unscaled loss; the last \
         checkpoint stays. Train with --precision bf16, which has the range of f32, or with f32, or \
         lower optimizer.lr"
    )]
    Overflow {
        /// The step, counted from 1.
        step: u64,
        /// The name of the first gradient that was not finite.
        what: String,
    },
    /// The device lacks the precision.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// An evaluation failed, for instance because a feature is not a finite number.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// The labels do not fit the features.
    #[error(transparent)]
    Evaluation(#[from] EvalError),
    /// Another process of the job failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// The features that the teacher made before are missing, damaged, changed, or larger than the memory.
    #[error("teacher.features: {0}")]
    TeacherFeatures(String),
    /// Settings do not fit together or do not fit the data.
    #[error("{0}")]
    Setting(String),
    /// The recipe is not the one of the checkpoint: a run goes on only as it began.
    #[error(
        "{}: the recipe differs from the one that the run was begun with:\n{}\na run goes on only with the \
         settings that it began with: give these keys their first value again (leave out the --set, or mend the \
         file in the run folder), or begin a new run with the new settings and another --out", run.display(), lines(differences)
    )]
    OtherRecipe {
        /// The run folder.
        run: PathBuf,
        /// The keys that differ, each with both values.
        differences: Vec<Difference>,
    },
    /// The training has done more steps than the length has that it should go on with.
    #[error("{}: {what}", run.display())]
    EndHasPassed {
        /// The folder of the training.
        run: PathBuf,
        /// The length, the steps done, and what to do.
        what: String,
    },
    /// The images are not those of the checkpoint: a run goes on only with the images that it began with.
    #[error(
        "{}: the images are not those that the checkpoint was made with:\n{}\n\
         bring the earlier images back, or begin a new run; --allow-changed-data goes on all the same, and \
         then epochs, learning rates and the order of the images follow the new images", run.display(), indented(changes)
    )]
    OtherImages {
        /// The run folder.
        run: PathBuf,
        /// The changes, a line for each split.
        changes: Vec<String>,
    },
    /// The method remembers each image, and the number of images has changed.
    #[error(
        "{}: {source}: {method} remembers each training image, of which there were {was}, and cannot go on \
         with {now}; bring the earlier images back, or begin a new run", folder.display()
    )]
    RemembersImages {
        /// The folder of the checkpoint.
        folder: PathBuf,
        /// The first difference.
        source: Box<StateError>,
        /// The name of the method.
        method: String,
        /// The number of training images of the checkpoint.
        was: usize,
        /// The number of training images now.
        now: usize,
    },
    /// The method remembers each image by its place, and there are other images now.
    #[error(
        "{}: {method} remembers each of the {images} training images by its place, and images were renamed or \
         replaced: what it remembers would be taken for that of other images; bring the earlier images \
         back, or begin a new run", folder.display()
    )]
    RemembersPlaces {
        /// The folder of the checkpoint.
        folder: PathBuf,
        /// The name of the method.
        method: String,
        /// The number of training images.
        images: usize,
    },
    /// The recipe in a checkpoint cannot be read.
    #[error("{}: the recipe in the checkpoint: {source}", run.display())]
    StoredRecipe {
        /// The run folder.
        run: PathBuf,
        /// The error of the reader.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The state of a training on labels in a checkpoint cannot be read.
    #[error("{}: the checkpoint does not hold the state of a training on labels: {source}", folder.display())]
    StoredHeads {
        /// The output folder.
        folder: PathBuf,
        /// The error of the reader.
        source: serde_json::Error,
    },
    /// A training on labels lacks a split or its labels.
    #[error(
        "{what}; expected a training and a validation split with labels, as folders train/ and val/ with a \
         folder for each class have them"
    )]
    NoLabels {
        /// The split or the labels that are missing, in words.
        what: String,
    },
    /// The images to evaluate on have no class in common with the training images.
    #[error(transparent)]
    Classes(#[from] CommonClassesError),
    /// A training on labels would mix its files with those of a pretraining run.
    #[error(
        "{}: this is the folder of a pretraining run; choose a folder of its own with --out",
        folder.display()
    )]
    FolderOfRun {
        /// The output folder.
        folder: PathBuf,
    },
    /// `--resume` was given for a training on labels that was never begun.
    #[error(
        "{}: nothing to go on with: there is no {} in it; leave out --resume to begin", folder.display(), folder::SETTINGS
    )]
    NothingToResume {
        /// The output folder.
        folder: PathBuf,
    },
    /// The encoder that is judged, or its features, cannot be read.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A piece of work was ended by a request to stop.
    #[error("stopped on request")]
    Stopped,
    /// Every validation image was left out, so there is nothing to judge by.
    #[error(
        "no validation image could be read: all {images} were left out (data.on_bad_image = \"skip\"); \
         expected at least one. `vssl data check` names them with the reasons"
    )]
    NoImageRead {
        /// The number of validation images.
        images: usize,
    },
    /// The disk has too little room for the checkpoints.
    #[error(
        "{}: {free_mib} MiB free, the checkpoints need about {needed_mib} MiB; \
         free some space, choose another --out or lower checkpoint.keep", path.display()
    )]
    NoSpace {
        /// The run folder.
        path: PathBuf,
        /// The free space of the disk, in MiB.
        free_mib: u64,
        /// The space that the checkpoints need, in MiB.
        needed_mib: u64,
    },
}

impl TrainError {
    /// Returns whether the settings or the arguments have to change, as opposed to a failure while they were
    /// carried out.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Setting(_)
                | Self::OtherRecipe { .. }
                | Self::OtherBackbone { .. }
                | Self::EndHasPassed { .. }
                | Self::FolderOfRun { .. }
                | Self::NothingToResume { .. }
                | Self::Precision(_)
                | Self::Optimizer(OptimError::Rule { .. } | OptimError::Setting { .. })
        )
    }
}
