//! The scores: what could say of one image that the network is unsure of it. Higher is less sure.
//!
//! With μ, σ the posterior's mean and variance, μ', σ' the prior's, h the feature, V views of the
//! recipe's own augmentation, and `gap(a, b) = 1 − cos(a, b)`. Called by `subject` and `assessment`.

use burn::tensor::Tensor;
use serde::Serialize;

use crate::{
    method::{HeadOutput, Posterior},
    posterior,
};

/// A score of one image, computed from the networks or their features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// KL(posterior ‖ prior), as the loss has it.
    Divergence,
    /// KL(posterior ‖ prior), the mean over the views.
    ViewDivergence,
    /// `gap(μ, μ')`.
    MeanGap,
    /// `gap(σ, σ')`.
    VarianceGap,
    /// `mean log σ`: the entropy of the posterior up to a constant. Only true variances have it.
    LogVariance,
    /// `mean log σ'` of the prior. Only true variances have it.
    PriorLogVariance,
    /// `‖σ‖` of a free vector, whose length no formula of the loss sees.
    VarianceNorm,
    /// `‖σ‖ / ‖μ‖` of a free vector: noise over signal in the latent sample.
    NoiseRatio,
    /// `1 − ‖mean of the unit vectors μ of the views‖`.
    MeanSpread,
    /// The loss that the head of `[uncertainty]` predicts. Only an encoder with such a head has it.
    PredictedLoss,
    /// `1 − ‖mean of the unit vectors h of the views‖`.
    FeatureSpread,
    /// `−‖h‖`.
    FeatureNorm,
    /// `1 − cosine` to the k-th nearest training feature (Sun et al. 2022, arXiv:2204.06507).
    NeighbourDistance,
    /// Entropy of a linear probe's classes, in nats. Needs labels.
    ProbeEntropy,
    /// One minus its largest probability (Hendrycks and Gimpel 2017, arXiv:1610.02136).
    ProbeDoubt,
}

impl Score {
    /// The name of the score, on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Divergence => "divergence",
            Self::ViewDivergence => "view-divergence",
            Self::MeanGap => "mean-gap",
            Self::VarianceGap => "variance-gap",
            Self::LogVariance => "log-variance",
            Self::PriorLogVariance => "prior-log-variance",
            Self::VarianceNorm => "variance-norm",
            Self::NoiseRatio => "noise-ratio",
            Self::MeanSpread => "mean-spread",
            Self::PredictedLoss => "predicted-loss",
            Self::FeatureSpread => "feature-spread",
            Self::FeatureNorm => "feature-norm",
            Self::NeighbourDistance => "neighbour-distance",
            Self::ProbeEntropy => "probe-entropy",
            Self::ProbeDoubt => "probe-doubt",
        }
    }

    /// Whether only a method with distributions has it.
    pub fn of_posterior(self) -> bool {
        self <= Self::MeanSpread
    }

    /// Whether every encoder has it, with nothing that was trained to be an uncertainty.
    pub fn is_baseline(self) -> bool {
        self > Self::PredictedLoss
    }
}

/// The scores of one method's outputs for a batch, in a fixed order.
pub fn of_posterior(posterior: &Posterior) -> Vec<(Score, Vec<f64>)> {
    let (q, p) = (&posterior.student, &posterior.teacher);
    let mut scores = vec![
        (Score::Divergence, numbers(&posterior::score(posterior))),
        (Score::MeanGap, gaps(&q.gaussian.mean, &p.gaussian.mean)),
        (Score::VarianceGap, gaps(&q.gaussian.variance, &p.gaussian.variance)),
    ];
    if posterior.free_variance {
        let lengths = |x: &Tensor<2>| each_row(x, length);
        let variance = lengths(&q.gaussian.variance);
        let mean = lengths(&q.gaussian.mean);
        let ratio = variance.iter().zip(mean).map(|(v, m)| v / m.max(SHORTEST)).collect();
        scores.push((Score::VarianceNorm, variance));
        scores.push((Score::NoiseRatio, ratio));
    } else {
        scores.push((Score::LogVariance, mean_log_variance(q)));
        scores.push((Score::PriorLogVariance, mean_log_variance(p)));
    }
    scores
}

/// Below this a vector has no direction.
const SHORTEST: f64 = 1e-12;

/// `mean log σ` of each image, `n` numbers.
pub fn mean_log_variance(output: &HeadOutput) -> Vec<f64> {
    let mean = |row: &[f64]| row.iter().map(|x| x.ln()).sum::<f64>() / row.len() as f64;
    each_row(&output.gaussian.variance, mean)
}

/// `1 − cos` of the rows of two tensors `[n, d]`.
fn gaps(a: &Tensor<2>, b: &Tensor<2>) -> Vec<f64> {
    let (a, b, d) = (numbers(a), numbers(b), a.dims()[1]);
    let gap = |(a, b): (&[f64], &[f64])| {
        let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        1.0 - product / (length(a) * length(b)).max(SHORTEST)
    };
    a.chunks(d).zip(b.chunks(d)).map(gap).collect()
}

/// Euclidean.
pub(super) fn length(row: &[f64]) -> f64 {
    row.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn each_row(x: &Tensor<2>, of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let d = x.dims()[1];
    numbers(x).chunks(d).map(of).collect()
}

/// Reads a tensor from the device.
pub(super) fn numbers<const D: usize>(x: &Tensor<D>) -> Vec<f64> {
    let values: Vec<f32> = x.to_data().try_into_vec().expect("outputs of the networks are f32");
    values.into_iter().map(f64::from).collect()
}

/// How far the directions of several vectors are apart, one sum for each image.
#[derive(Clone, Debug, Default)]
pub(super) struct Directions {
    sums: Vec<f64>,
    dim: usize,
    views: usize,
}

impl Directions {
    /// Takes in one view of all images: `rows` is `n × dim`.
    pub(super) fn add(&mut self, rows: &[f64], dim: usize) {
        self.sums.resize(rows.len(), 0.0);
        self.dim = dim;
        self.views += 1;
        for (sum, row) in self.sums.chunks_mut(dim).zip(rows.chunks(dim)) {
            let scale = length(row).max(SHORTEST).recip();
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * scale);
        }
    }

    /// `1 − ‖mean of the unit vectors‖` of each image: 0 where all views agree, at most 1.
    pub(super) fn spread(&self) -> Vec<f64> {
        let rows = self.sums.chunks(self.dim.max(1));
        rows.map(|sum| 1.0 - length(sum) / self.views as f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::objective::gaussian::Gaussian;

    fn output(mean: [[f32; 2]; 2], variance: [[f32; 2]; 2]) -> HeadOutput {
        let tensor = |x| Tensor::<2>::from_floats(x, &Device::flex());
        let gaussian = Gaussian { mean: tensor(mean), variance: tensor(variance) };
        HeadOutput { features: tensor(mean), gaussian }
    }

    fn posterior(free_variance: bool) -> Posterior {
        Posterior {
            student: output([[3.0, 4.0], [1.0, 0.0]], [[1.0, 1.0], [4.0, 1.0]]),
            teacher: output([[6.0, 8.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 4.0]]),
            divergence: Tensor::from_floats([0.5, 2.0], &Device::flex()),
            free_variance,
        }
    }

    fn of(posterior: &Posterior, score: Score) -> Option<Vec<f64>> {
        of_posterior(posterior).into_iter().find(|(name, _)| *name == score).map(|found| found.1)
    }

    #[track_caller]
    fn close(got: &[f64], expected: [f64; 2]) {
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
    }

    #[test]
    fn true_variances_have_an_entropy_and_free_vectors_a_length() {
        let (free, real) = (posterior(true), posterior(false));
        close(&of(&real, Score::LogVariance).unwrap(), [0.0, 4.0_f64.ln() / 2.0]);
        assert!(
            of(&real, Score::VarianceNorm).is_none() && of(&free, Score::LogVariance).is_none()
        );
        close(&of(&free, Score::VarianceNorm).unwrap(), [2.0_f64.sqrt(), 17.0_f64.sqrt()]);
        close(&of(&free, Score::NoiseRatio).unwrap(), [2.0_f64.sqrt() / 5.0, 17.0_f64.sqrt()]);
        close(&of(&free, Score::MeanGap).unwrap(), [0.0, 1.0]);
        close(&of(&free, Score::VarianceGap).unwrap(), [0.0, 1.0 - 8.0 / 17.0]);
        close(&of(&real, Score::Divergence).unwrap(), [0.5, 2.0]);
        close(&numbers(&posterior::score(&free)), [0.5, 2.0]);
    }

    #[test]
    fn views_that_agree_have_no_spread_and_opposite_ones_all_of_it() {
        let mut directions = Directions::default();
        directions.add(&[1.0, 0.0, 0.0, 3.0], 2);
        directions.add(&[5.0, 0.0, 0.0, -1.0], 2);
        close(&directions.spread(), [0.0, 1.0]);
    }

    #[test]
    fn baselines_are_those_that_need_no_distribution() {
        assert!(Score::NoiseRatio.of_posterior() && Score::MeanSpread.of_posterior());
        assert!(!Score::FeatureSpread.of_posterior() && !Score::ProbeDoubt.of_posterior());
        assert!(Score::FeatureSpread.is_baseline() && Score::FeatureNorm.is_baseline());
        assert!(!Score::PredictedLoss.is_baseline() && !Score::PredictedLoss.of_posterior());
    }
}
