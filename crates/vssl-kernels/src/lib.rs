//! Tensor operations of the training step, each with a fast path and a reference.
//!
//! Only `choice.rs` decides whether the fast path or the reference runs: `f32` tensors on the CPU back end
//! take the fast path, in the instruction set of [`isa`], unless `VSSL_KERNELS=reference`. Its images are
//! channels-last in memory, under the logical shape `[n, c, h, w]`; images in another order are copied once.
//!
//! Images may be in half precision where the device computes in it: see [`mod@reference`].
#![deny(missing_docs, unsafe_op_in_unsafe_fn)]

mod accumulate;
mod autodiff;
pub mod bench;
pub mod breakdown;
mod choice;
mod convnext;
mod extension;
mod inference;
mod joint;
mod layout;
mod loss;
mod mixed;
mod moments;
mod raw;
mod recompute;
pub mod reference;
mod rows;
mod steps;
mod storage;
mod transformer;
mod update;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

pub use choice::accelerates;
pub use convnext::{depthwise_conv2d, halved, response_norm, swiglu};
pub use inference::{FoldedConv, affine, in_lent_memory, in_recycled_memory};
pub use joint::{AcrossRanks, Ranks};
pub use loss::{cross_entropy, log_sum_exp, off_diagonal_squares, softmax};
pub use raw::buffer::release as release_buffers;
pub use raw::cross_entropy::Sums as CrossEntropySums;
pub use raw::norm::Rectifier;
pub use raw::pool::{set_threads, threads};
pub use raw::simd::{Isa, UnknownKernels, choose, isa, requested};
pub use rows::{add_gram, add_product, products_of_rows, softmax_residuals};
pub use steps::{AdamStep, MomentumStep, TrustRatio};
pub use transformer::{attention, gelu, layer_norm, linear_added, norm_linear, rotate};
pub use update::{adam_step, ema, momentum_step, sum_of_squares, write_rows};

use choice::{accelerated, in_single};
use extension::KernelOps;

/// The convolution `x ∗ weight` without bias. It is a cross-correlation, as everywhere in deep learning.
///
/// # Shapes — `x`: `[n, c, h, w]`; `weight`: `[k, c, r, s]`; returns `[n, k, h', w']` with
/// `h' = (h + 2·padding − r) / stride + 1`.
///
/// # Panics
///
/// If the channels differ or the filter is larger than the padded image.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    let ([_, c, h, w], [_, channels, r, s]) = (x.dims(), weight.dims());
    assert_eq!(c, channels, "conv2d: channels of the image and of the weight");
    assert!(
        stride > 0 && r <= h + 2 * padding && s <= w + 2 * padding,
        "conv2d: a filter of {r}x{s} must fit the image of {h}x{w} with padding {padding}"
    );
    if !(accelerated(&x) && in_single(&weight)) {
        return reference::conv2d(x, weight, stride, padding);
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_conv2d(x, weight, stride, padding))
}

/// The output of a batch normalisation over channels, and the statistics that it used.
pub struct Normalised<const D: usize> {
    /// The activations, normalised, scaled and shifted (and added to the residual and rectified).
    pub output: Tensor<D>,
    /// The mean of each channel over the batch, `[c]`, without gradient.
    pub mean: Tensor<1>,
    /// The *biased* variance of each channel over the batch, `[c]`, without gradient.
    pub variance: Tensor<1>,
}

/// Training-mode batch normalisation over all axes but the second, then `+ residual`, then the rectifier:
/// `rectifier(γ·(x − mean)/√(var + eps) + β (+ residual))` with the batch's own biased variance.
///
/// # Shapes — `x`, `residual`: `[n, c, h, w]` or `[n, c]`; `gamma`, `beta`: `[c]`.
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn batch_norm_train<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<D>>,
    rectifier: impl Into<Rectifier>,
    eps: f64,
) -> Normalised<D> {
    batch_norm_train_joint(x, gamma, beta, residual, rectifier, eps, &AcrossRanks::alone())
}

/// [`batch_norm_train`] of a batch that is spread over several processes, each of which has some rows. The
/// statistics and the gradient of `x` are those of the joint batch; the gradients of `gamma` and `beta` are
/// the own rows' share of those of the joint batch.
///
/// # Panics
///
/// If the shapes do not fit each other; with other ranks, if the device fails when it is read.
pub fn batch_norm_train_joint<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<D>>,
    rectifier: impl Into<Rectifier>,
    eps: f64,
    ranks: &AcrossRanks,
) -> Normalised<D> {
    check_norm(&x, [&gamma, &beta], residual.as_ref());
    let rectifier = rectifier.into();
    let in_single = [&gamma, &beta].into_iter().all(in_single) && residual.iter().all(in_single);
    if !(accelerated(&x) && in_single) || x.shape().num_elements() == 0 {
        return reference::batch_norm_train_joint(x, gamma, beta, residual, rectifier, eps, ranks);
    }
    let (output, mean, variance) = <Dispatch as KernelOps>::kernel_batch_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        residual.map(Tensor::into_dispatch).into(),
        rectifier,
        eps,
        ranks.clone(),
    );
    Normalised {
        output: Tensor::from_dispatch(output),
        mean: Tensor::from_dispatch(mean),
        variance: Tensor::from_dispatch(variance),
    }
}

/// Evaluation-mode batch normalisation with given statistics, then `+ residual`, then the rectifier.
/// No gradient flows to the statistics.
///
/// # Shapes — as [`batch_norm_train`]; `mean`, `variance`: `[c]`.
///
/// # Panics
///
/// If the shapes do not fit each other.
#[allow(clippy::too_many_arguments, reason = "the formula has this many terms")]
pub fn batch_norm_eval<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    residual: Option<Tensor<D>>,
    rectifier: impl Into<Rectifier>,
    eps: f64,
) -> Tensor<D> {
    check_norm(&x, [&gamma, &beta], residual.as_ref());
    check_norm(&x, [&mean, &variance], None);
    let rectifier = rectifier.into();
    let tracked = [&gamma, &beta].into_iter().any(|factor| factor.is_tracked())
        || x.is_tracked()
        || residual.as_ref().is_some_and(|residual| residual.is_tracked());
    let in_single = [&gamma, &beta, &mean, &variance].into_iter().all(in_single)
        && residual.iter().all(in_single);
    if tracked || !(accelerated(&x) && in_single) || x.shape().num_elements() == 0 {
        return reference::batch_norm_eval(
            x, gamma, beta, mean, variance, residual, rectifier, eps,
        );
    }
    let scale = gamma / (variance + eps).sqrt();
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_affine(
        x.into_dispatch(),
        mean.into_dispatch(),
        scale.into_dispatch(),
        beta.into_dispatch(),
        residual.map(Tensor::into_dispatch).into(),
        rectifier,
    ))
}

/// Adds a bias to each channel, then `residual`: `x + bias (+ residual)`.
///
/// # Shapes — `x`, `residual`: `[n, c, h, w]`; `bias`: `[c]`.
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn add_bias(x: Tensor<4>, bias: Tensor<1>, residual: Option<Tensor<4>>) -> Tensor<4> {
    assert_eq!(bias.dims(), [x.dims()[1]], "add_bias: a number for each channel");
    if let Some(residual) = &residual {
        assert_eq!(x.dims(), residual.dims(), "add_bias: shape of the residual");
    }
    let singles = in_single(&bias) && residual.iter().all(in_single);
    if !(accelerated(&x) && singles) || x.shape().num_elements() == 0 {
        return reference::add_bias(x, bias, residual);
    }
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_add_bias(
        x.into_dispatch(),
        bias.into_dispatch(),
        residual.map(Tensor::into_dispatch).into(),
    ))
}

fn check_norm<const D: usize>(
    x: &Tensor<D>,
    factors: [&Tensor<1>; 2],
    residual: Option<&Tensor<D>>,
) {
    assert!(D == 2 || D == 4, "batch_norm: {D} axes, expected [n, c] or [n, c, h, w]");
    let channels = x.dims()[1];
    for factor in factors {
        assert_eq!(factor.dims(), [channels], "batch_norm: a factor for each channel");
    }
    if let Some(residual) = residual {
        assert_eq!(x.dims(), residual.dims(), "batch_norm: shape of the residual");
    }
}

/// Max-pooling of images that are padded with −∞.
///
/// # Shapes — `[n, c, h, w]` to `[n, c, h', w']`.
///
/// # Panics
///
/// If the window is larger than the padded image or less than twice its padding.
pub fn max_pool2d(x: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    if !accelerated(&x) {
        return reference::max_pool2d(x, kernel, stride, padding);
    }
    let x = x.into_dispatch();
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_max_pool2d(x, kernel, stride, padding))
}

/// The mean over the two spatial axes, in at least single precision.
///
/// # Shapes — `[n, c, h, w]` to `[n, c]`.
pub fn global_average_pool(x: Tensor<4>) -> Tensor<2> {
    if !accelerated(&x) {
        return reference::global_average_pool(x);
    }
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_average_pool(x.into_dispatch()))
}

/// The linear layer `x · weightᵀ + bias`.
///
/// # Shapes — `x`: `[n, i]`; `weight`: `[o, i]` (torch's order); `bias`: `[o]`; returns `[n, o]`.
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let ([_, inputs], [outputs, columns]) = (x.dims(), weight.dims());
    assert_eq!(inputs, columns, "linear: columns of the input and of the weight");
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [outputs], "linear: one bias for each row of the weight");
    }
    if !(accelerated(&x) && in_single(&weight) && bias.iter().all(in_single)) {
        return reference::linear(x, weight, bias);
    }
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.map(Tensor::into_dispatch).into(),
    ))
}
