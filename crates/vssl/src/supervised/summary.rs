//! The result of a training on labels: `summary.json` in its output folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HeadSummary;
use crate::{
    backbone::Pooling,
    method::learner::Network,
    run::{images::Images, outcome::Outcome},
};

/// The result of a training on labels, which `vssl table` reads as well. Accuracies are percent of the
/// validation split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The task: `linear`, `linear-cached` or `finetune`.
    pub task: String,
    /// The run folder or file that the encoder came from.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub encoder: PathBuf,
    /// The number of pretraining steps of the encoder; `None` where the file does not say.
    pub encoder_step: Option<u64>,
    /// The method that pretrained the encoder; `None` for a file.
    pub method: Option<String>,
    /// The seed of the pretraining; `None` for a file.
    pub pretraining_seed: Option<u64>,
    /// Whether the encoder is the student or the teacher; `None` for a file that does not say, and in results of earlier
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// How the tokens of a transformer became one feature; `None` for other networks, and in results of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// The seed of this training.
    pub seed: u64,
    /// The number of optimiser steps done.
    pub steps: u64,
    /// Whether the training was stopped before its last step.
    pub interrupted: bool,
    /// The number of images to learn from, those that cannot be read among them: `replaced_images` and the notes count these.
    pub train_images: usize,
    /// The number of images to evaluate on.
    pub validation_images: usize,
    /// The number of classes.
    pub classes: usize,
    /// The seconds over all starts, evaluations included.
    pub seconds: f64,
    /// The largest resident memory of this process, MiB.
    pub peak_rss_mib: Option<u64>,
    /// The commit that the program was built from.
    pub commit: Option<String>,
    /// The version of the program.
    pub version: String,
    /// The number of bad images that were replaced.
    pub replaced_images: u64,
    /// The name of the classifier that counts. It is chosen by its accuracy on training images, never by the
    /// validation split.
    pub chosen: Option<String>,
    /// The top-1 accuracy of the chosen classifier after the last epoch.
    pub top1: Option<f64>,
    /// The top-5 accuracy of the chosen classifier after the last epoch.
    pub top5: Option<f64>,
    /// The mean over the classes of the chosen classifier's accuracy in each, after the last epoch. The file
    /// `classes.json` has the accuracy of each class.
    #[serde(default)]
    pub balanced_top1: Option<f64>,
    /// The top-1 accuracy of the chosen classifier after its best epoch. The validation split itself picks
    /// that epoch, so the figure is optimistic; it is given because others report it.
    pub best_top1: Option<f64>,
    /// The top-5 accuracy after the same epoch.
    pub best_top5: Option<f64>,
    /// The best epoch, counted from 1.
    pub best_epoch: Option<u64>,
    /// The results of all classifiers.
    pub heads: Vec<HeadSummary>,
    /// What the images are; `None` in results of earlier versions, and of cached evaluations.
    #[serde(default)]
    pub images: Option<Images>,
    /// Notes on the training, such as skipped images.
    pub notes: Vec<String>,
    /// The output folder.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub folder: PathBuf,
}

impl Outcome for Summary {
    fn interrupted(&self) -> bool {
        self.interrupted
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn found_in(self, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..self }
    }
}
