//! What a run tells its observer while it goes on: a progress bar, lines for a log file, a test.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

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
        #[serde(serialize_with = "crate::run::path_text::one")]
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
        #[serde(serialize_with = "crate::run::path_text::one")]
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
    /// Last validation accuracy of the probe that learnt beside the encoder.
    pub online_top1: Option<f64>,
    /// What the evaluators of the end measured, each figure under a key of its own: `knn_top1` of the
    /// trained student encoder, `untrained_knn_top1` of the same encoder before its first step,
    /// `pixels_knn_top1` of the pixels. `None` for a figure that was not measured.
    #[serde(flatten, deserialize_with = "numbers")]
    pub figures: BTreeMap<String, Option<f64>>,
    /// Why a figure is missing.
    pub notes: Vec<String>,
    /// The run folder.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub run: PathBuf,
}

impl Summary {
    /// The keys of `summary.json` that no figure can have.
    pub const KEYS: [&str; 14] = [
        "method",
        "seed",
        "steps",
        "interrupted",
        "seconds",
        "images_per_s",
        "peak_rss_mib",
        "machine",
        "commit",
        "version",
        "replaced_images",
        "online_top1",
        "notes",
        "run",
    ];

    /// The figure called `name`, if it was measured.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied().flatten()
    }
}

/// The keys that no field has, as far as they are numbers or `null`: a later version may have others.
fn numbers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Option<f64>>, D::Error> {
    let others = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let numbers = others.into_iter().filter(|(_, value)| value.is_number() || value.is_null());
    Ok(numbers.map(|(key, value)| (key, value.as_f64())).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_summary_keeps_figures_that_it_does_not_know() {
        let text = r#"{"method":"byol","seed":0,"steps":9,"interrupted":false,"seconds":1.5,
            "images_per_s":6.0,"peak_rss_mib":null,"commit":null,"version":"0.1.0",
            "replaced_images":0,"knn_top1":40,"linear_top1":null,"online_top1":30.5,"other":7.25,
            "pixels_knn_top1":null,"remark":"of a later version","notes":[],"run":"runs/a"}"#;
        let summary: Summary = serde_json::from_str(text).unwrap();
        assert_eq!(summary.online_top1, Some(30.5));
        assert_eq!((summary.figure("knn_top1"), summary.figure("other")), (Some(40.0), Some(7.25)));
        assert_eq!((summary.figure("linear_top1"), summary.figure("seconds")), (None, None));
        let written = serde_json::to_value(&summary).unwrap();
        assert_eq!((&written["knn_top1"], &written["other"]), (&40.0.into(), &7.25.into()));
        assert!(written["linear_top1"].is_null() && written.get("linear_top1").is_some());
        assert!(written.get("remark").is_none() && written.get("figures").is_none());
        let bare = serde_json::to_value(Summary { figures: BTreeMap::new(), ..summary }).unwrap();
        let keys: BTreeSet<&str> = bare.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(Summary::KEYS));
    }
}
