//! Trainings on labels that evaluate an encoder: linear evaluation and fine-tuning.
//!
//! `settings` holds the settings, [`Job`] is a training that passed all checks before its first step, `run`
//! is the loop that both tasks share, `linear` and `finetune` are the classifiers that learn in it. `cached`
//! is the fast evaluation without a loop. Called by `vssl linear` and `vssl finetune`.

mod cached;
mod finetune;
mod heads;
mod job;
mod judging;
pub mod labels;
mod linear;
mod resumption;
mod run;
mod settings;
mod summary;

use std::collections::BTreeMap;

use burn::tensor::Tensor;

pub use cached::cached;
pub use finetune::finetune;
pub use heads::{HeadEpoch, HeadSummary};
pub use job::Job;
pub use linear::linear;
pub use resumption::OutputOptions;
pub use settings::{
    Cached, FinetuneSettings, Length, LinearSettings, ReadingSection, Saving, View,
};
pub use summary::Summary;

use crate::{schedule::Step, tensors::state::Tensors, train::TrainError};

/// One batch of augmented images.
pub(crate) struct Sample<'a> {
    /// The normalised pixels, `n · size · size · channels`, channels last.
    pub pixels: Vec<f32>,
    /// The class of each image.
    pub labels: &'a [u32],
}

/// The figures of one step of one classifier.
pub(crate) struct HeadStep {
    /// The mean cross entropy of the batch; not finite when the classifier diverged.
    pub loss: f64,
    /// The number of images whose largest score was that of their class.
    pub correct: u64,
}

/// A function from a batch of images `[n, channels, size, size]` to the scores `[n, classes]` of each classifier. It
/// owns what it needs, so that an evaluation can run in a thread of its own.
pub(crate) type Judge = Box<dyn Fn(Tensor<4>) -> Vec<Tensor<2>> + Send>;

/// One classifier or several side by side that learn from labels.
pub(crate) trait Classifier {
    /// Returns the names of the classifiers.
    fn heads(&self) -> Vec<String>;

    /// Learns from one batch. Returns the figures of each classifier before the update.
    ///
    /// # Errors
    /// All classifiers diverged.
    fn learn(&mut self, sample: Sample, at: &Step) -> Result<Vec<HeadStep>, TrainError>;

    /// Returns the learning rate of the first classifier at this step, for the log.
    fn rate(&self, at: &Step) -> f64;

    /// Returns a function that scores images by the classifiers as they are now.
    fn judge(&self) -> Judge;

    /// Returns the number of trained parameters.
    fn numbers(&self) -> usize;

    /// Returns all tensors that a checkpoint holds, by kind.
    fn state(&self) -> BTreeMap<String, Tensors>;

    /// Restores the tensors of a checkpoint.
    ///
    /// # Errors
    /// The tensors are of another network.
    fn load(&mut self, state: BTreeMap<String, Tensors>) -> Result<(), TrainError>;
}
