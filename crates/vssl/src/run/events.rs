//! The events that a run reports to its observer while it goes on: a progress bar, lines for a log file, a
//! test.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{images::Images, outcome::Outcome};
use crate::{method::learner::Network, recipe::InitSection};

/// An observer of a run.
pub trait Observer {
    /// Receives an event. The training thread calls this method in the order of events, so it must be quick.
    fn event(&mut self, event: &Event);
}

/// An event of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Everything is checked and loaded; the first step comes next.
    Started {
        /// The name of the method.
        method: String,
        /// The run folder.
        #[serde(serialize_with = "crate::run::path_text::one")]
        run: PathBuf,
        /// The number of parameters that the optimiser trains.
        parameters: usize,
        /// The number of training images.
        train_images: usize,
        /// The number of validation images.
        validation_images: Option<usize>,
        /// The number of classes, 0 without labels.
        classes: usize,
        /// The number of steps of the whole run.
        steps: u64,
        /// The number of steps that an earlier start has done.
        first_step: u64,
        /// Notes for the user, such as what is skipped and why, and the memory of the loader.
        notes: Vec<String>,
    },
    /// A step that is logged was done.
    Step {
        /// The number of steps done so far.
        step: u64,
        /// The epoch, counted from 0.
        epoch: u64,
        /// The loss that was minimised.
        loss: f64,
        /// The terms of the loss and other figures.
        parts: Vec<(String, f64)>,
        /// The learning rate.
        lr: f64,
        /// The Euclidean norm over all gradients before clipping, where it was measured.
        #[serde(skip_serializing_if = "Option::is_none")]
        gradient_norm: Option<f64>,
        /// The images per second since the last such event.
        images_per_s: f64,
        /// The share of the time since then in which the loop waited for images, 0 to 1.
        loader_wait: f64,
        /// The accuracy of the online probe on this batch, percent.
        probe_top1: Option<f64>,
    },
    /// The validation split was evaluated; accuracies are percent.
    Evaluated {
        /// The number of steps done so far.
        step: u64,
        /// The number of epochs done so far.
        epoch: u64,
        /// The accuracy of nearest neighbours.
        knn_top1: Option<f64>,
        /// The accuracy of the online probe.
        probe_top1: Option<f64>,
    },
    /// The user should be warned.
    Warning {
        /// The number of steps done so far.
        step: u64,
        /// The text of the warning.
        message: String,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// The number of steps done so far.
        step: u64,
        /// The folder of the checkpoint.
        #[serde(serialize_with = "crate::run::path_text::one")]
        path: PathBuf,
    },
    /// A long piece of work begins that is not a step.
    Phase {
        /// The name of the work.
        what: String,
    },
    /// A long piece of work goes on.
    Progress {
        /// The name of the work.
        what: String,
        /// The number of things done so far.
        done: u64,
        /// The number of things to do; 0 where it is not known.
        of: u64,
        /// The seconds since the work began.
        seconds: u64,
    },
    /// The run ended, or stopped on request.
    Finished {
        /// The result of the run.
        summary: Summary,
    },
}

/// The encoder that a run started from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartedFrom {
    /// The path as the recipe gives it.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub from: PathBuf,
    /// Which network of a run it was.
    pub network: Network,
    /// The checkpoint of a run that it was, `step-N`; `None` for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// SHA-256 of the file that the weights were read from.
    pub digest: Option<String>,
    /// The number of epochs in which the heads trained alone.
    pub freeze_epochs: u64,
}

impl StartedFrom {
    /// Returns the encoder that a resolved recipe names.
    pub(crate) fn of(init: &InitSection) -> Self {
        let InitSection { from, network, checkpoint, digest, freeze_epochs, .. } = init.clone();
        Self { from, network, checkpoint, digest, freeze_epochs }
    }
}

/// The frozen teacher of a run whose method learns from one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaughtBy {
    /// The path as the recipe gives it.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub from: PathBuf,
    /// Which network of a run it was.
    pub network: Network,
    /// The checkpoint of a run that it was, `step-N`; `None` for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// SHA-256 of the file that the weights were read from.
    pub digest: Option<String>,
    /// The file of features that it made once; `None` where it saw the views.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<PathBuf>,
    /// SHA-256 of that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features_digest: Option<String>,
}

impl TaughtBy {
    /// Returns the teacher that a resolved recipe names.
    pub(crate) fn of(teacher: &InitSection) -> Self {
        let InitSection { from, network, checkpoint, digest, features, features_digest, .. } =
            teacher.clone();
        Self { from, network, checkpoint, digest, features, features_digest }
    }
}

/// The result of a run: `summary.json`. Accuracies are percent, and `None` without labels or without a
/// validation split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The name of the method.
    pub method: String,
    /// The seed of the recipe.
    pub seed: u64,
    /// The number of optimiser steps done.
    pub steps: u64,
    /// Whether the run was stopped before its last step.
    pub interrupted: bool,
    /// The seconds of training over all starts, with the evaluations between steps.
    pub seconds: f64,
    /// The images (not views) per second over that time.
    pub images_per_s: f64,
    /// The largest resident memory of this process, MiB.
    pub peak_rss_mib: Option<u64>,
    /// The processor and the number of threads of the machine; `None` where the system does not say.
    #[serde(default)]
    pub machine: Option<String>,
    /// The commit that the program was built from.
    pub commit: Option<String>,
    /// The version of the program.
    pub version: String,
    /// The number of bad images that were replaced.
    pub replaced_images: u64,
    /// The last validation accuracy of the online probe, which learns beside the encoder.
    pub online_top1: Option<f64>,
    /// The figures that the evaluators measured at the end, each under its own key: `knn_top1` of the trained
    /// student encoder, `untrained_knn_top1` of the same encoder before its first step, which is called
    /// `before_knn_top1` where the run started from a trained encoder, and `pixels_knn_top1` of the pixels. `None` for a figure that was not measured.
    #[serde(flatten, deserialize_with = "numbers")]
    pub figures: BTreeMap<String, Option<f64>>,
    /// What the images are: their number, classes and fingerprints, which tell runs on other images apart.
    /// `None` in results of earlier versions.
    #[serde(default)]
    pub images: Option<Box<Images>>,
    /// The encoder that the run started from; `None` for random weights.
    #[serde(default)]
    pub init: Option<Box<StartedFrom>>,
    /// The frozen teacher; `None` for a method without one.
    #[serde(default)]
    pub teacher: Option<Box<TaughtBy>>,
    /// Notes, such as why a figure is missing. A note on changed images is in the result of every later start.
    pub notes: Vec<String>,
    /// The run folder.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub run: PathBuf,
}

impl Summary {
    /// The keys of `summary.json` that a figure cannot have.
    pub const KEYS: [&str; 17] = [
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
        "images",
        "init",
        "teacher",
        "notes",
        "run",
    ];

    /// Returns the figure called `name`, if it was measured.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied().flatten()
    }
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
        Self { run: folder.to_owned(), ..self }
    }
}

/// Reads the keys that are not fields, as far as they are numbers or `null`: a later version may have others.
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
