//! What a run tells its observer while it goes on: a progress bar, lines for a log file, a test.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Watches a run.
pub trait Observer {
    /// Called in order, from the training thread: be quick.
    fn event(&mut self, event: &Event);
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Everything is checked and loaded; the first step comes next.
    Started {
        /// Name of the method.
        method: String,
        /// The run folder.
        run: PathBuf,
        /// Numbers that the optimiser trains.
        parameters: usize,
        /// Images to train on.
        train_images: usize,
        /// Images to validate on.
        validation_images: Option<usize>,
        /// Classes, 0 without labels.
        classes: usize,
        /// Steps of the whole run.
        steps: u64,
        /// Steps that an earlier start has done.
        first_step: u64,
        /// What is worth knowing: what is skipped and why, memory of the loader.
        notes: Vec<String>,
    },
    /// A step is done that is logged.
    Step {
        /// Steps done so far.
        step: u64,
        /// Counted from 0.
        epoch: u64,
        /// What was minimised.
        loss: f64,
        /// Its terms and figures.
        parts: Vec<(String, f64)>,
        /// Learning rate.
        lr: f64,
        /// Euclidean norm over all gradients, before clipping, where it was measured.
        #[serde(skip_serializing_if = "Option::is_none")]
        gradient_norm: Option<f64>,
        /// Since the last such event.
        images_per_s: f64,
        /// Share of the time since then that the loop waited for images, 0 to 1.
        loader_wait: f64,
        /// Accuracy of the online probe on this batch, percent.
        probe_top1: Option<f64>,
    },
    /// Accuracy on the validation split, percent.
    Evaluated {
        /// Steps done so far.
        step: u64,
        /// Epochs done so far.
        epoch: u64,
        /// Nearest neighbours.
        knn_top1: Option<f64>,
        /// The online probe.
        probe_top1: Option<f64>,
    },
    /// Something a person should see.
    Warning {
        /// Steps done so far.
        step: u64,
        /// In words.
        message: String,
    },
    /// A checkpoint is whole.
    Checkpoint {
        /// Steps done so far.
        step: u64,
        /// Its folder.
        path: PathBuf,
    },
    /// Something long begins that is no step.
    Phase {
        /// In words.
        what: String,
    },
    /// The run ended, or stopped on request.
    Finished {
        /// The result.
        summary: Summary,
    },
}

/// The result of a run: `summary.json`. Accuracies are percent, `None` where there are no labels
/// or no validation split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the method.
    pub method: String,
    /// Of the recipe.
    pub seed: u64,
    /// Optimiser steps done.
    pub steps: u64,
    /// Whether the run was stopped before its last step.
    pub interrupted: bool,
    /// Of training, over all starts, evaluations between steps included.
    pub seconds: f64,
    /// Images (not views) a second over that time.
    pub images_per_s: f64,
    /// Largest resident memory of this process, MiB.
    pub peak_rss_mib: Option<u64>,
    /// Processor and threads of the machine; `None` where the system does not say.
    #[serde(default)]
    pub machine: Option<String>,
    /// Commit that the program was built from.
    pub commit: Option<String>,
    /// Version of the program.
    pub version: String,
    /// Bad images that were replaced.
    pub replaced_images: u64,
    /// Of the trained student encoder.
    pub knn_top1: Option<f64>,
    /// Logistic regression on frozen features of the trained student encoder.
    pub linear_top1: Option<f64>,
    /// Last validation accuracy of the probe that learnt beside the encoder.
    pub online_top1: Option<f64>,
    /// The same encoder before its first step.
    pub untrained_knn_top1: Option<f64>,
    /// The same encoder before its first step.
    pub untrained_linear_top1: Option<f64>,
    /// Nearest neighbours on the pixels themselves.
    pub pixels_knn_top1: Option<f64>,
    /// Why a figure above is missing.
    pub notes: Vec<String>,
    /// The run folder.
    pub run: PathBuf,
}
