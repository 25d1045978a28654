//! Iterative normalisation (Huang et al. 2019, arXiv:1904.03441, algorithm 1): rows are whitened, in groups of columns,
//! by the inverse root of their covariance, which Newton's iterations approximate. The last layer of VIbCReg's
//! projector.
//!
//! For each group of c columns and m rows, with mean μ and `S = (x − μ)ᵀ(x − μ)/m + ε·I` of trace t: `P ← I`, T times
//! `P ← 1.5·P − 0.5·P³·S/t`, and the rows become `(x − μ)·P/√t`.

use burn::{
    module::{Module, Param, RunningState},
    tensor::Tensor,
};

use super::{Init, budget::claim, norm::blend};

/// The reference's values.
const ITERATIONS: usize = 5;
const EPS: f64 = 1e-5;
/// The share of the batch in each update of the running statistics.
const MOMENTUM: f64 = 0.1;

/// Whitens groups of columns, then scales and shifts each column.
#[derive(Module, Debug)]
pub struct IterNorm {
    /// The scale, `[columns]`.
    pub weight: Param<Tensor<1>>,
    /// The shift, `[columns]`.
    pub bias: Param<Tensor<1>>,
    /// The running mean, `[groups, c]`.
    pub running_mean: RunningState<Tensor<2>>,
    /// The running matrix `P/√t`, `[groups, c, c]`.
    pub running_wm: RunningState<Tensor<3>>,
    iterations: usize,
    eps: f64,
    momentum: f64,
}

impl IterNorm {
    /// Makes a normalisation of `groups · channels` columns with scale 1 and shift 0.
    pub fn new(groups: usize, channels: usize, init: &Init) -> Self {
        let (columns, device) = (groups * channels, init.device());
        claim(&[groups, channels, channels + 1]);
        let identity = Tensor::<2>::eye(channels, device).unsqueeze::<3>();
        Self {
            weight: init.constant([columns], 1.0),
            bias: init.constant([columns], 0.0),
            running_mean: RunningState::new(Tensor::zeros([groups, channels], device)),
            running_wm: RunningState::new(identity.repeat_dim(0, groups)),
            iterations: ITERATIONS,
            eps: EPS,
            momentum: MOMENTUM,
        }
    }

    /// Sets the number of iterations, ε and the momentum.
    pub fn with_constants(self, iterations: usize, eps: f64, momentum: f64) -> Self {
        Self { iterations, eps, momentum, ..self }
    }

    /// Returns how many columns each of about `groups` groups has: `columns / groups` rounded up, halved until it
    /// divides the columns.
    pub fn channels(columns: usize, groups: usize) -> usize {
        let mut channels = columns.saturating_sub(1) / groups.max(1) + 1;
        while channels > 1 && !columns.is_multiple_of(channels) {
            channels /= 2;
        }
        channels
    }

    /// Normalises the joint batch of `ranks` processes, each of which computes the same. The gradients of scale and
    /// shift are a rank's share, so that the sum over the ranks is the gradient.
    ///
    /// # Shapes — `[m, columns]` to the same.
    pub fn forward(&self, x: Tensor<2>, ranks: usize) -> Tensor<2> {
        let [m, columns] = x.dims();
        let [groups, channels] = self.running_mean.value_sync().dims();
        let x = x.reshape([m, groups, channels]).swap_dims(0, 1); // [groups, m, c]
        let mean = x.clone().mean_dim(1); // [groups, 1, c]
        let centred = x - mean.clone();
        let whitening = self.whitening(centred.clone());
        blend(&self.running_mean, mean.reshape([groups, channels]), self.momentum);
        blend(&self.running_wm, whitening.clone(), self.momentum);
        let y = centred.matmul(whitening.swap_dims(1, 2));
        let share = |factor: Tensor<1>| {
            let fixed = factor.clone().detach();
            fixed.clone() + (factor - fixed) / ranks as f64
        };
        let rows = y.swap_dims(0, 1).reshape([m, columns]);
        rows * share(self.weight.val()).unsqueeze() + share(self.bias.val()).unsqueeze()
    }

    /// Normalises by the running statistics, without gradient to `x`.
    ///
    /// # Shapes — `[m, columns]` to the same.
    pub fn forward_eval(&self, x: Tensor<2>) -> Tensor<2> {
        let [m, columns] = x.dims();
        let mean = self.running_mean.value_sync();
        let [groups, channels] = mean.dims();
        let x = x.detach().reshape([m, groups, channels]) - mean.unsqueeze::<3>();
        let whitening = self.running_wm.value_sync().swap_dims(1, 2);
        let y = x.swap_dims(0, 1).matmul(whitening).swap_dims(0, 1).reshape([m, columns]);
        y * self.weight.val().unsqueeze() + self.bias.val().unsqueeze()
    }

    /// Returns `P/√t` of each group.
    ///
    /// # Shapes — `[groups, m, c]` to `[groups, c, c]`.
    fn whitening(&self, centred: Tensor<3>) -> Tensor<3> {
        let [_, m, channels] = centred.dims();
        let identity = Tensor::<2>::eye(channels, &centred.device()).unsqueeze::<3>();
        let covariance = centred.clone().swap_dims(1, 2).matmul(centred) / m as f64
            + identity.clone() * self.eps;
        let trace = (covariance.clone() * identity.clone()).sum_dim(2).sum_dim(1); // [groups, 1, 1]
        let scaled = covariance / trace.clone();
        let mut root = identity.clone() + scaled.clone().zeros_like();
        for _ in 0..self.iterations {
            let cube = root.clone().matmul(root.clone()).matmul(root.clone());
            root = root * 1.5 - cube.matmul(scaled.clone()) * 0.5;
        }
        root / trace.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_divided_as_the_reference_divides_them() {
        for (columns, groups, expected) in [
            (2048, 64, 32),
            (64, 64, 1),
            (12, 3, 4),
            (10, 3, 2),
            (7, 2, 1),
            (8, 64, 1),
            (10, 1, 10),
        ] {
            let got = IterNorm::channels(columns, groups);
            assert_eq!(got, expected, "{columns} columns in {groups} groups");
        }
    }
}
