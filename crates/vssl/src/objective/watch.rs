//! Figures that are watched, not minimised.

use burn::tensor::Tensor;

use super::{cosine::unit_rows, normalise};

/// Standard deviation over the batch of L2-normalised rows, mean over the d dimensions, times √d:
/// about 1 for random directions, 0 when all rows point the same way.
///
/// # Shapes — `[n, d]` to `[1]`.
pub fn spread(x: Tensor<2>) -> Tensor<1> {
    let [n, d] = x.dims();
    let x = unit_rows(x);
    let centred = x.clone() - x.mean_dim(0); // [n, d] − [1, d]
    let variance = centred.square().sum_dim(0) / n as f64;
    variance.sqrt().mean() * (d as f64).sqrt()
}

/// Standard deviation over the batch (unbiased) of L2-normalised rows, mean over the d dimensions
/// and over the views: `1/√d` for random directions, 0 for rows that all point the same way. The
/// figure that solo-learn logs as `z_std`.
///
/// # Shapes — each view `[n, d]`, n at least 2; returns `[1]`.
///
/// # Panics
/// Without a view.
pub fn unit_std(views: &[Tensor<2>]) -> Tensor<1> {
    let stds = views.iter().map(|x| {
        let x = normalise::unit_rows(x.clone());
        x.var(0).sqrt().mean() // [n, d] -> [1, d] -> [1]
    });
    let sum = stds.reduce(|a, b| a + b).expect("there is a view at least");
    sum / views.len() as f64
}

/// Mean Euclidean norm of the rows.
///
/// # Shapes — `[n, d]` to `[1]`.
pub fn mean_norm(x: Tensor<2>) -> Tensor<1> {
    x.square().sum_dim(1).sqrt().mean()
}

/// Standard deviation of all numbers.
///
/// # Shapes — `[n, d]` to `[1]`.
pub fn deviation(x: Tensor<2>) -> Tensor<1> {
    let mean = x.clone().mean();
    (x.square().mean() - mean.square()).clamp_min(0.0).sqrt()
}
