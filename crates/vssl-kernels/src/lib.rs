//! Tensor operations of the training step, each a fast path beside a reference.
//!
//! Whether the fast path or the reference runs is decided here and nowhere else.

pub mod raw;
#[allow(missing_docs)] mod reference;

use burn::tensor::Tensor;

/// `x ∗ weight`, no bias. Cross-correlation as everywhere in deep learning.
///
/// # Shapes — `x`: `[n, c, h, w]`; `weight`: `[k, c, r, s]`; returns `[n, k, h', w']` with
/// `h' = (h + 2·padding − r) / stride + 1`.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    reference::conv2d(x, weight, stride, padding)
}

/// What a batch normalisation over channels put out, and the statistics it used.
pub struct Normalised<const D: usize> {
    /// The normalised, scaled and shifted (and added and rectified) activations.
    pub output: Tensor<D>,
    /// Mean of each channel over the batch, `[c]`, no gradient.
    pub mean: Tensor<1>,
    /// *Biased* variance of each channel over the batch, `[c]`, no gradient.
    pub variance: Tensor<1>,
}

/// Training-mode batch normalisation over all axes but the second, then `+ residual`, then ReLU:
/// `relu?(γ·(x − mean)/√(var + eps) + β (+ residual))` with the batch's own biased variance.
///
/// # Shapes — `x`, `residual`: `[n, c, h, w]`; `gamma`, `beta`: `[c]`.
pub fn batch_norm_train(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<4>>,
    relu: bool,
    eps: f64,
) -> Normalised<4> {
    reference::batch_norm_train(x, gamma, beta, residual, relu, eps)
}

/// Evaluation-mode batch normalisation with given statistics, then `+ residual`, then ReLU.
///
/// # Shapes — as [`batch_norm_train`]; `mean`, `variance`: `[c]`.
#[allow(clippy::too_many_arguments, reason = "the formula has this many terms")]
pub fn batch_norm_eval(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    residual: Option<Tensor<4>>,
    relu: bool,
    eps: f64,
) -> Tensor<4> {
    reference::batch_norm_eval(x, gamma, beta, mean, variance, residual, relu, eps)
}

/// Max-pooling, padded with −∞.
///
/// # Shapes — `[n, c, h, w]` to `[n, c, h', w']`.
pub fn max_pool2d(x: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    reference::max_pool2d(x, kernel, stride, padding)
}

/// Mean over the two spatial axes.
///
/// # Shapes — `[n, c, h, w]` to `[n, c]`.
pub fn global_average_pool(x: Tensor<4>) -> Tensor<2> {
    reference::global_average_pool(x)
}

/// `x · weightᵀ + bias`.
///
/// # Shapes — `x`: `[n, i]`; `weight`: `[o, i]` (torch's order); `bias`: `[o]`; returns `[n, o]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    reference::linear(x, weight, bias)
}
