//! Figures that are watched, not minimised.

use burn::tensor::Tensor;

use super::cosine::unit_rows;

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
