//! Trainings on labels, which judge an encoder: linear evaluation and fine-tuning.
//!
//! `settings` says what can be set, [`Job`] is a training of which everything that can be checked
//! has been, `run` is the loop that both share, `linear` and `finetune` are what learns in it.
//! `cached` is the fast answer without a loop. Called by `vssl linear` and `vssl finetune`.

mod cached;
mod finetune;
mod heads;
mod job;
pub mod labels;
mod linear;
mod run;
mod settings;
mod summary;

use std::collections::BTreeMap;

use burn::tensor::Tensor;

pub use cached::cached;
pub use finetune::finetune;
pub use heads::{HeadEpoch, HeadSummary};
pub use job::{Job, OutputOptions};
pub use linear::linear;
pub use settings::{
    Cached, FinetuneSettings, Length, LinearSettings, ReadingSection, Saving, View,
};
pub use summary::Summary;

use crate::{schedule::Step, tensors::state::Tensors, train::TrainError};

/// One batch of augmented images.
pub(crate) struct Sample<'a> {
    /// `n · size · size · 3`, channels last, normalised.
    pub pixels: Vec<f32>,
    /// Class of each image.
    pub labels: &'a [u32],
}

/// What a step made of one classifier.
pub(crate) struct HeadStep {
    /// Mean cross entropy of the batch; not finite when the classifier diverged.
    pub loss: f64,
    /// Images whose largest score was that of their class.
    pub correct: u64,
}

/// Scores of a batch of images `[n, 3, size, size]`: `[n, classes]` from each classifier.
pub(crate) type Judge<'a> = Box<dyn Fn(Tensor<4>) -> Vec<Tensor<2>> + 'a>;

/// What learns from labels: one classifier, or several side by side.
pub(crate) trait Classifier {
    /// Names of the classifiers.
    fn heads(&self) -> Vec<String>;

    /// Learns from one batch; says how each classifier did before it.
    ///
    /// # Errors
    /// When nothing is left that could learn.
    fn learn(&mut self, sample: Sample, at: &Step) -> Result<Vec<HeadStep>, TrainError>;

    /// The learning rate of the first classifier at this step, for the log.
    fn rate(&self, at: &Step) -> f64;

    /// As they are now.
    fn judge(&self) -> Judge<'_>;

    /// Numbers that are trained.
    fn numbers(&self) -> usize;

    /// All tensors that last, by kind.
    fn state(&self) -> BTreeMap<String, Tensors>;

    /// Puts the tensors of a checkpoint back.
    ///
    /// # Errors
    /// When they are of another network.
    fn load(&mut self, state: BTreeMap<String, Tensors>) -> Result<(), TrainError>;
}
