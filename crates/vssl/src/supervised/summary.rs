//! The result of a training on labels: `summary.json` in its output folder.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::run::checkpoint::HeadEpoch;

/// Read by `vssl table`, too. Accuracies are percent of the validation split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// `linear`, `linear-cached` or `finetune`.
    pub task: String,
    /// The run folder or file that the encoder came from.
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
    /// optimistic figure, told because others report it.
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
    pub folder: PathBuf,
}

/// One classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadSummary {
    /// What tells it from the others: `lr 0.1`.
    pub name: String,
    /// Whether its loss was once no finite number.
    pub diverged: bool,
    /// After the last epoch.
    pub last: Option<HeadEpoch>,
    /// After the epoch with the highest top-1, the first of equals.
    pub best: Option<HeadEpoch>,
}

impl HeadSummary {
    /// Of its epochs.
    pub fn of(name: String, diverged: bool, epochs: &[HeadEpoch]) -> Self {
        let mut best: Option<HeadEpoch> = None;
        for epoch in epochs.iter().filter(|epoch| epoch.top1.is_some()) {
            if best.is_none_or(|best| epoch.top1 > best.top1) {
                best = Some(*epoch);
            }
        }
        Self { name, diverged, last: epochs.last().copied(), best }
    }
}

/// The classifier with the highest accuracy on the training images of the last epoch, the first of
/// equals; one that diverged only when all did.
pub fn choose(heads: &[HeadSummary]) -> Option<&HeadSummary> {
    let rank = |head: &HeadSummary| {
        let train = head.last.map_or(0.0, |last| last.train_top1);
        (!head.diverged, train)
    };
    let mut chosen: Option<&HeadSummary> = None;
    for head in heads {
        if chosen.is_none_or(|chosen| rank(head) > rank(chosen)) {
            chosen = Some(head);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: u64, train_top1: f64, top1: f64) -> HeadEpoch {
        HeadEpoch { epoch, train_loss: Some(1.0), train_top1, top1: Some(top1), top5: Some(100.0) }
    }

    #[test]
    fn the_choice_sees_training_images_only() {
        let overfit_to_the_test = HeadSummary::of("a".into(), false, &[epoch(1, 50.0, 90.0)]);
        let better_fit = HeadSummary::of("b".into(), false, &[epoch(1, 60.0, 70.0)]);
        let diverged = HeadSummary::of("c".into(), true, &[epoch(1, 99.0, 99.0)]);
        let heads = [overfit_to_the_test, better_fit, diverged];
        assert_eq!(choose(&heads).unwrap().name, "b");
    }

    #[test]
    fn best_is_the_first_of_equals_and_last_is_the_last() {
        let epochs = [epoch(1, 1.0, 70.0), epoch(2, 2.0, 80.0), epoch(3, 3.0, 80.0)];
        let head = HeadSummary::of("a".into(), false, &epochs);
        assert_eq!((head.best.unwrap().epoch, head.last.unwrap().epoch), (2, 3));
    }
}
