//! The result of a training on labels: `summary.json` in its output folder.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::HeadSummary;

/// Read by `vssl table`, too. Accuracies are percent of the validation split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// `linear`, `linear-cached` or `finetune`.
    pub task: String,
    /// The run folder or file that the encoder came from.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub encoder: PathBuf,
    /// Steps of pretraining behind it; `None` where the file does not say.
    pub encoder_step: Option<u64>,
    /// The method that trained it; `None` for a file.
    pub method: Option<String>,
    /// The seed that it was trained with; `None` for a file.
    pub pretraining_seed: Option<u64>,
    /// Of this training.
    pub seed: u64,
    /// Optimiser steps done.
    pub steps: u64,
    /// Whether it was stopped before its last step.
    pub interrupted: bool,
    /// Images that it learnt from.
    pub train_images: usize,
    /// Images that it was judged by.
    pub validation_images: usize,
    /// Classes.
    pub classes: usize,
    /// Over all starts, evaluations included.
    pub seconds: f64,
    /// Largest resident memory of this process, MiB.
    pub peak_rss_mib: Option<u64>,
    /// Commit that the program was built from.
    pub commit: Option<String>,
    /// Version of the program.
    pub version: String,
    /// Bad images that were replaced.
    pub replaced_images: u64,
    /// The classifier that counts: chosen by its accuracy on training images, never by the
    /// validation split.
    pub chosen: Option<String>,
    /// Of the chosen classifier after the last epoch.
    pub top1: Option<f64>,
    /// Likewise, the right class among the first five.
    pub top5: Option<f64>,
    /// Of the chosen classifier after its best epoch, which the validation split itself picks: an
    /// optimistic figure, given because others report it.
    pub best_top1: Option<f64>,
    /// Of the same epoch.
    pub best_top5: Option<f64>,
    /// That epoch, counted from 1.
    pub best_epoch: Option<u64>,
    /// All classifiers.
    pub heads: Vec<HeadSummary>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// The output folder.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub folder: PathBuf,
}
