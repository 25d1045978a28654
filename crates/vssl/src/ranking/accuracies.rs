//! Reads the accuracies that a run has measured of its encoder with labels, to compare them with figures without labels.

use std::{collections::BTreeMap, path::Path};

use crate::{comparison, run::metrics};

/// The accuracies that are compared: their names in `summary.json` and in tables, and the titles of their columns.
/// `offline_top1` is of the linear evaluation in the run folder.
pub const ACCURACIES: [(&str, &str); 3] =
    [("knn_top1", "kNN %"), ("linear_top1", "linear %"), ("offline_top1", "offline %")];

/// Accuracies in percent, by name.
pub type Accuracies = BTreeMap<&'static str, f64>;

/// Returns the accuracies of the student of the run in the folder `run` after `step` steps: those of its result, if
/// these are of that step, or else of the evaluation after it. Files that cannot be read say nothing.
pub fn accuracies(run: &Path, step: u64) -> Accuracies {
    let mut known = Accuracies::new();
    let lines = metrics::readable(run).map_or_else(|_| Vec::new(), |(lines, _)| lines);
    for line in lines.iter().filter(|line| line.evaluation && line.step == step) {
        known.extend(line.figure("evaluation/knn_top1").map(|top1| ("knn_top1", top1)));
    }
    if let Ok(Some(finished)) = comparison::finished(run)
        && finished.steps == step
    {
        for (name, _) in ACCURACIES {
            known.extend(finished.figures.get(name).map(|&top1| (name, top1)));
        }
    }
    known
}
