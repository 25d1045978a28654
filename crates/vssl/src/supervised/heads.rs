//! The results of the classifiers of a training on labels: the sums of the current epoch, the epochs so far,
//! and which of several classifiers counts.

use serde::{Deserialize, Serialize};

/// The progress of a classifier that learns from labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct HeadPosition {
    /// The number of steps in the sums of this epoch. It may differ between epochs where the training went on
    /// with other images.
    #[serde(default)]
    pub steps: u64,
    /// The sum of the losses of these steps.
    pub loss: f64,
    /// The number of right answers in these steps.
    pub correct: u64,
    /// Whether the loss was once not a finite number.
    pub diverged: bool,
    /// The results of the epochs so far.
    pub epochs: Vec<HeadEpoch>,
}

/// The result of an epoch of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadEpoch {
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// The mean cross entropy of the epoch's steps on augmented images; `None` when the classifier diverged.
    pub train_loss: Option<f64>,
    /// The top-1 accuracy on the same images, percent.
    pub train_top1: f64,
    /// The top-1 accuracy on the validation split, percent; `None` after epochs without an evaluation.
    pub top1: Option<f64>,
    /// The share of validation images whose class is among the five with the highest scores, percent.
    pub top5: Option<f64>,
    /// The mean over the classes of the share of right images in each, percent.
    #[serde(default)]
    pub balanced_top1: Option<f64>,
}

/// The result of one classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadSummary {
    /// The name that tells it from the other classifiers, such as `lr 0.1`.
    pub name: String,
    /// Whether the loss was once not a finite number.
    pub diverged: bool,
    /// The result of the last epoch.
    pub last: Option<HeadEpoch>,
    /// The result of the epoch with the highest top-1 accuracy, the first of equals.
    pub best: Option<HeadEpoch>,
}

impl HeadSummary {
    /// Summarises the results of all epochs of a classifier.
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

/// Chooses the classifier with the highest accuracy on the training images of the last epoch, the first of
/// equals. A classifier that diverged is chosen only when all diverged.
pub(super) fn choose(heads: &[HeadSummary]) -> Option<&HeadSummary> {
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
        let (train_loss, top1, top5) = (Some(1.0), Some(top1), Some(100.0));
        HeadEpoch { epoch, train_loss, train_top1, top1, top5, balanced_top1: top1 }
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
