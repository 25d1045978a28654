//! The exchanges of a data-parallel job inside an operation: the sums of a batch normalisation over the joint
//! batch, forward and backward (SyncBN).
//!
//! Each process holds some rows of the batch. Forward, the processes combine counts, means and variances
//! (Chan, Golub and LeVeque 1979); backward, they combine the two sums over the batch on which `dx` depends.
//! `dγ` and `dβ` remain those of the own rows: they are summed with all other gradients.

use std::{fmt, sync::Arc};

use crate::raw::norm::Moments;

/// The ranks of a job, in the form in which an operation uses them.
pub trait Ranks: Send + Sync {
    /// Returns the values of all ranks, in the order of ranks; each rank brings as many as `own`. All ranks
    /// make the same calls in the same order.
    fn gather(&self, what: &'static str, own: &[f64]) -> Vec<f64>;
}

/// The processes that share a batch with this process, if there are any.
#[derive(Clone, Default)]
pub struct AcrossRanks(Option<Arc<dyn Ranks>>);

impl AcrossRanks {
    /// Makes the ranks of a batch that is wholly in this process.
    pub fn alone() -> Self {
        Self(None)
    }

    /// Makes the ranks of a batch that is spread over these processes and this one.
    pub fn with(ranks: Arc<dyn Ranks>) -> Self {
        Self(Some(ranks))
    }

    /// Returns the statistics of the joint batch from those of the `rows` rows of this process.
    pub(crate) fn moments(&self, own: Moments, rows: usize) -> Moments {
        if self.is_alone() {
            return own;
        }
        let values = own.mean.iter().chain(&own.variance).map(|&value| f64::from(value));
        let (joint, _) = self.combine(&values.collect::<Vec<f64>>(), rows);
        let (mean, variance) = joint.split_at(own.mean.len());
        let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        Moments { mean: single(mean), variance: single(variance) }
    }

    /// Returns the means, followed by the variances, of the joint batch from those of the `rows` rows of this
    /// process; and the number of all rows.
    pub(crate) fn combine(&self, own: &[f64], rows: usize) -> (Vec<f64>, f64) {
        let Some(ranks) = &self.0 else { return (own.to_vec(), rows as f64) };
        let channels = own.len() / 2;
        let mut message = vec![rows as f64];
        message.extend(own);
        let all = ranks.gather("batch norm, forward", &message);
        let shares: Vec<&[f64]> = all.chunks_exact(message.len()).collect();
        let total: f64 = shares.iter().map(|share| share[0]).sum();
        let weighted = |value: &dyn Fn(&[f64]) -> f64| {
            shares.iter().map(|share| share[0] * value(share)).sum::<f64>() / total
        };
        let mut joint = vec![0.0; own.len()];
        for c in 0..channels {
            let mean = weighted(&|share| share[1 + c]);
            let variance =
                weighted(&|share| share[1 + channels + c] + (share[1 + c] - mean).powi(2));
            joint[c] = mean;
            joint[channels + c] = variance;
        }
        (joint, total)
    }

    /// Returns the sums over the joint batch from those over the `rows` rows of this process, and the number
    /// of all rows.
    pub(crate) fn sums(&self, own: &[Vec<f64>; 2], rows: usize) -> ([Vec<f64>; 2], f64) {
        let Some(ranks) = &self.0 else { return (own.clone(), rows as f64) };
        let mut message = vec![rows as f64];
        message.extend(own.iter().flatten());
        let all = ranks.gather("batch norm, backward", &message);
        let mut sums = vec![0.0; message.len()];
        for share in all.chunks_exact(message.len()) {
            sums.iter_mut().zip(share).for_each(|(sum, value)| *sum += value);
        }
        let channels = own[0].len();
        let line = |index: usize| sums[1 + index * channels..][..channels].to_vec();
        ([line(0), line(1)], sums[0])
    }

    /// Replaces each value by its sum over all processes.
    pub(crate) fn sum(&self, what: &'static str, values: &mut [f64]) {
        let Some(ranks) = &self.0 else { return };
        let all = ranks.gather(what, values);
        let count = values.len();
        for (index, value) in values.iter_mut().enumerate() {
            *value = all.iter().skip(index).step_by(count).sum();
        }
    }

    /// Returns whether the whole batch is in this process.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for AcrossRanks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_alone() { "AcrossRanks::alone" } else { "AcrossRanks::with(…)" })
    }
}
