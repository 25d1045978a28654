//! Training-mode batch normalisation of half-precision images.
//!
//! If it were composed of single operations, the graph would keep a copy of the image in single precision for
//! the backward pass, and most of the memory that half precision saves would be lost. As one operation it
//! keeps the image as it is: with `x̂ = (x − mean) · r` and `r = 1/√(var + eps)`,
//!
//! ```text
//! y = γ·x̂ + β      dβ = Σ dy      dγ = Σ dy·x̂      dx = γ·r · (dy − (dβ + x̂·dγ) / count)
//! ```
//!
//! (Ioffe and Szegedy 2015, arXiv:1502.03167), all in single precision between the image and its
//! output. Called by [`crate::reference`].
#![cfg_attr(
    feature = "libtorch",
    allow(deprecated, reason = "Burn announces an end of this back end, 0.22.1 has it")
)]

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, FloatDType, Shape, Tensor};

#[cfg(feature = "cube")]
use burn::backend::Cube;
#[cfg(feature = "libtorch")]
use burn::backend::LibTorch;

use crate::Normalised;
use crate::autodiff::constant;

/// Operations on half-precision images that Burn does not have. All back ends compute them in the same way;
/// [`Autodiff`] adds the gradients.
#[backend_extension(Flex, Autodiff, Cube: cfg(feature = "cube"), LibTorch: cfg(feature = "libtorch"))]
pub trait MixedOps: Backend {
    /// Returns the output in the type of `x`, and the mean and biased variance in the type of the factors. In
    /// the latter all axes but the second have length 1, and they have no gradient.
    fn mixed_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        forward::<Self>(x, gamma, beta, eps)
    }
}

impl MixedOps for Flex {}

#[cfg(feature = "cube")]
impl MixedOps for Cube {}

#[cfg(feature = "libtorch")]
impl MixedOps for LibTorch {}

/// Returns whether `x` is in half precision.
pub(crate) fn applies<const D: usize>(x: &Tensor<D>) -> bool {
    matches!(x.dtype(), DType::F16 | DType::BF16)
}

/// Returns the normalised, scaled and shifted `x`, as [`crate::batch_norm_train`] without residual and ReLU.
pub(crate) fn batch_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Normalised<D> {
    let channels = x.dims()[1];
    let mut shape = [1; D];
    shape[1] = channels;
    let [gamma, beta] = [gamma, beta].map(|factor| factor.reshape(shape).into_dispatch());
    let (output, mean, variance) =
        <Dispatch as MixedOps>::mixed_batch_norm(x.into_dispatch(), gamma, beta, eps);
    let statistic = |values| Tensor::<D>::from_dispatch(values).reshape([channels]);
    Normalised {
        output: Tensor::from_dispatch(output),
        mean: statistic(mean),
        variance: statistic(variance),
    }
}

/// Sums over all axes but the second; the other axes stay with length 1.
fn sum_but_channels<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let axes = x.shape().num_dims();
    (0..axes).filter(|axis| *axis != 1).fold(x, |x, axis| B::float_sum_dim(x, axis))
}

/// Returns the number of values of a channel.
fn count(shape: &Shape) -> f64 {
    (shape.num_elements() / shape[1].max(1)) as f64
}

fn forward<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    eps: f64,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (half, count) = (FloatDType::from(x.dtype()), count(&x.shape()));
    let x = B::float_cast(x, FloatDType::F32);
    let mean = B::float_div_scalar(sum_but_channels::<B>(x.clone()), count.into());
    let centred = B::float_sub(x, mean.clone());
    let squares = B::float_mul(centred.clone(), centred.clone());
    let variance = B::float_div_scalar(sum_but_channels::<B>(squares), count.into());
    let scale = B::float_mul(gamma, reciprocal_deviation::<B>(variance.clone(), eps));
    let y = B::float_add(B::float_mul(centred, scale), beta);
    (B::float_cast(y, half), mean, variance)
}

fn reciprocal_deviation<B: Backend>(variance: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    B::float_recip(B::float_sqrt(B::float_add_scalar(variance, eps.into())))
}

/// The values of the forward pass that the backward pass needs.
#[derive(Clone, Debug)]
struct Saved<T> {
    x: T,
    gamma: T,
    mean: T,
    variance: T,
    eps: f64,
}

/// Returns the gradients of `x`, γ and β.
fn backward<B: Backend>(saved: Saved<FloatTensor<B>>, dy: FloatTensor<B>) -> [FloatTensor<B>; 3] {
    let Saved { x, gamma, mean, variance, eps } = saved;
    let (half, count) = (FloatDType::from(x.dtype()), count(&x.shape()));
    let deviation = reciprocal_deviation::<B>(variance, eps);
    let centred = B::float_sub(B::float_cast(x, FloatDType::F32), mean);
    let unit = B::float_mul(centred, deviation.clone());
    let dy = B::float_cast(dy, FloatDType::F32);
    let dbeta = sum_but_channels::<B>(dy.clone());
    let dgamma = sum_but_channels::<B>(B::float_mul(dy.clone(), unit.clone()));
    let along = B::float_mul(unit, B::float_div_scalar(dgamma.clone(), count.into()));
    let mean_dy = B::float_div_scalar(dbeta.clone(), count.into());
    let rest = B::float_sub(B::float_sub(dy, mean_dy), along);
    let dx = B::float_mul(rest, B::float_mul(gamma, deviation));
    [B::float_cast(dx, half), dgamma, dbeta]
}

#[derive(Debug)]
struct MixedNormStep;

impl<B: MixedOps> Backward<B, 3> for MixedNormStep {
    type State = Saved<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let gradients = backward::<B>(ops.state, dy);
        for (parent, gradient) in ops.parents.iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: MixedOps, C: CheckpointStrategy> MixedOps for Autodiff<B, C> {
    fn mixed_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let tracked = x.is_tracked() || gamma.is_tracked() || beta.is_tracked();
        let ((x, x_guard), (gamma, gamma_guard)) = (x.into_parts(), gamma.into_parts());
        let (beta, beta_guard) = beta.into_parts();
        let (y, mean, variance) = B::mixed_batch_norm(x.clone(), gamma.clone(), beta, eps);
        let statistics = (constant::<B, C>(mean.clone()), constant::<B, C>(variance.clone()));
        if !tracked {
            return (constant::<B, C>(y), statistics.0, statistics.1);
        }
        let saved = Saved { x, gamma, mean, variance, eps };
        let guards = [x_guard, gamma_guard, beta_guard];
        let y = match MixedNormStep.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(saved, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        };
        (y, statistics.0, statistics.1)
    }
}
