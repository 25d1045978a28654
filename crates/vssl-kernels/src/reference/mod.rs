//! The reference of every operation, composed of Burn's own operations. Every back end can compute it, and
//! the fast paths are tested against it. Shapes and meaning are those of the functions of the same names in
//! [`crate`].
//!
//! The type of `x` decides the precision of an operation. With images in half precision (Micikevicius et al.
//! 2018, arXiv:1710.03740) products use half-precision copies of the weights, whose gradients arrive in the
//! weights' own type; statistics and sums over many numbers are in single precision. In single and double
//! precision nothing is converted.

mod convnext;
mod loss;
mod transformer;

use burn::tensor::{
    DType, IndexingUpdateOp, Int, Tensor, TensorData, activation,
    module::{conv2d as burn_conv2d, max_pool2d as burn_max_pool2d},
    ops::{ConvOptions, MaxPoolOptions},
};

use crate::{
    AcrossRanks, AdamStep, MomentumStep, Normalised, Rectifier, TrustRatio, mixed, moments,
};

pub use convnext::{depthwise_conv2d, response_norm};
pub use loss::{cross_entropy, log_sum_exp, off_diagonal_squares, softmax};
pub use transformer::{attention, gelu, layer_norm, linear_added, norm_linear, rotate, swiglu};

/// See [`crate::conv2d`].
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    let weight = weight.cast(x.dtype());
    burn_conv2d(x, weight, None, ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1))
}

/// Returns the type in which sums over many numbers of this type are computed: at least single precision.
pub(crate) fn at_least_single(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// See [`crate::batch_norm_train`].
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

/// See [`crate::batch_norm_train_joint`].
pub fn batch_norm_train_joint<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<D>>,
    rectifier: impl Into<Rectifier>,
    eps: f64,
    ranks: &AcrossRanks,
) -> Normalised<D> {
    let rectifier = rectifier.into();
    if mixed::applies(&x) && ranks.is_alone() {
        let normalised = mixed::batch_norm(x, gamma, beta, eps);
        return Normalised { output: finish(normalised.output, residual, rectifier), ..normalised };
    }
    let (channels, precision) = (x.dims()[1], x.dtype());
    let x = x.cast(at_least_single(precision));
    let rows = x.shape().num_elements() / channels.max(1);
    let mut mean = sum_but_channels(x.clone()) / rows as f64;
    let mut centred = x - mean.clone(); // [n, c, …]
    let mut variance = sum_but_channels(centred.clone() * centred.clone()) / rows as f64;
    if !ranks.is_alone() {
        let own = [mean.clone(), variance].map(|values| values.reshape([1, channels]));
        let joint = moments::over_ranks(Tensor::cat(own.into(), 0), rows, ranks); // [2, c]
        let [first, second] = [0..1, 1..2].map(|line| joint.clone().slice([line, 0..channels]));
        let own_mean = mean;
        (mean, variance) = (per_channel(first.flatten(0, 1)), per_channel(second.flatten(0, 1)));
        centred = centred + (own_mean - mean.clone());
    }
    let scale = per_channel(gamma) / (variance.clone() + eps).sqrt();
    let y = (centred * scale + per_channel(beta)).cast(precision);
    Normalised {
        output: finish(y, residual, rectifier),
        mean: mean.detach().reshape([channels]),
        variance: variance.detach().reshape([channels]),
    }
}

/// See [`crate::batch_norm_eval`].
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
    let precision = x.dtype();
    let x = x.cast(at_least_single(precision));
    let scale = gamma / (variance + eps).sqrt();
    let y = (x - per_channel(mean)) * per_channel(scale) + per_channel(beta);
    finish(y.cast(precision), residual, rectifier.into())
}

fn per_channel<const D: usize>(values: Tensor<1>) -> Tensor<D> {
    let mut shape = [1; D];
    shape[1] = values.dims()[0];
    values.reshape(shape) // [c] -> [1, c, 1…]
}

fn sum_but_channels<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    (0..D).filter(|axis| *axis != 1).fold(x, |x, axis| x.sum_dim(axis)) // -> [1, c, 1…]
}

/// See [`crate::add_bias`].
pub fn add_bias(x: Tensor<4>, bias: Tensor<1>, residual: Option<Tensor<4>>) -> Tensor<4> {
    let precision = x.dtype();
    finish(x + per_channel(bias.cast(precision)), residual, Rectifier::None)
}

fn finish<const D: usize>(
    y: Tensor<D>,
    residual: Option<Tensor<D>>,
    rectifier: Rectifier,
) -> Tensor<D> {
    let y = match residual {
        Some(residual) => y + residual,
        None => y,
    };
    rectified(y, rectifier)
}

fn rectified<const D: usize>(y: Tensor<D>, rectifier: Rectifier) -> Tensor<D> {
    match rectifier {
        Rectifier::None => y,
        Rectifier::Relu => activation::relu(y),
        Rectifier::Leaky(slope) => activation::leaky_relu(y, f64::from(slope)),
    }
}

/// See [`crate::FoldedConv::forward`].
#[allow(clippy::too_many_arguments, reason = "the formula has this many terms")]
pub fn folded_conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    [scale, shift]: [Tensor<1>; 2],
    residual: Option<Tensor<4>>,
    activation: Rectifier,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let precision = x.dtype();
    let weight = weight * scale.reshape([-1, 1, 1, 1]); // [k, c, r, s] · [k] of each filter
    let y = conv2d(x, weight, stride, padding) + per_channel(shift.cast(precision));
    finish(y, residual, activation)
}

/// See [`crate::affine`].
pub fn affine(x: Tensor<4>, [scale, shift]: [Tensor<1>; 2], activation: Rectifier) -> Tensor<4> {
    let [scale, shift] = [scale, shift].map(|factor| per_channel(factor.cast(x.dtype())));
    rectified(x * scale + shift, activation)
}

/// See [`crate::max_pool2d`].
pub fn max_pool2d(x: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    let options =
        MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]);
    burn_max_pool2d(x, options)
}

/// See [`crate::global_average_pool`].
pub fn global_average_pool(x: Tensor<4>) -> Tensor<2> {
    let ([n, c, h, w], precision) = (x.dims(), x.dtype());
    let x = x.cast(at_least_single(precision));
    x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])
}

/// See [`crate::linear`].
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let precision = x.dtype();
    let y = x.matmul(weight.cast(precision).transpose()); // [n, i] · [i, o] -> [n, o]
    match bias {
        Some(bias) => y + bias.cast(precision).unsqueeze(),
        None => y,
    }
}

/// See [`crate::write_rows`].
pub fn write_rows(table: Tensor<2>, rows: Tensor<2>, places: &[usize]) -> Tensor<2> {
    let numbers: Vec<i64> = places.iter().map(|&place| place as i64).collect();
    let numbers = TensorData::new(numbers, [places.len(), 1]);
    let numbers = Tensor::<2, Int>::from_data(numbers, &table.device());
    table.scatter_nd(numbers, rows, IndexingUpdateOp::Assign)
}

/// See [`crate::ema`].
pub fn ema<const D: usize>(average: Tensor<D>, value: Tensor<D>, momentum: f64) -> Tensor<D> {
    ((value - average.clone()) * (1.0 - momentum) + average).detach()
}

/// See [`crate::momentum_step`]. It reads nothing from the device.
pub fn momentum_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    buffer: Option<Tensor<D>>,
    step: &MomentumStep,
) -> (Tensor<D>, Option<Tensor<D>>) {
    let (parameter, gradient) = (parameter.detach(), gradient.detach());
    let gradient = match step.trust {
        Some(trust) => scaled(&parameter, gradient, trust, step),
        None => gradient + parameter.clone() * step.weight_decay,
    };
    if step.momentum == 0.0 {
        return (parameter - gradient * step.rate, None);
    }
    let buffer = match buffer {
        Some(buffer) => buffer.detach() * step.momentum + gradient.clone() * (1.0 - step.dampening),
        None => gradient.clone(),
    };
    let direction = match step.nesterov {
        true => gradient + buffer.clone() * step.momentum,
        false => buffer.clone(),
    };
    (parameter - direction * step.rate, Some(buffer))
}

/// Returns the decayed gradient times its trust ratio.
fn scaled<const D: usize>(
    parameter: &Tensor<D>,
    gradient: Tensor<D>,
    TrustRatio { eta, eps, clip }: TrustRatio,
    step: &MomentumStep,
) -> Tensor<D> {
    let norm = |x: &Tensor<D>| x.clone().square().sum().sqrt(); // [..] -> [1]
    let (weight_norm, gradient_norm) = (norm(parameter), norm(&gradient));
    let is_zero = |norm: &Tensor<1>| norm.clone().lower_equal_elem(0.0);
    let idle = is_zero(&weight_norm).bool_or(is_zero(&gradient_norm)); // [1]
    let denominator = gradient_norm + weight_norm.clone() * step.weight_decay + eps;
    let ratio = weight_norm.clone() * eta / denominator;
    let ratio = match clip {
        false => ratio,
        true if step.rate == 0.0 => ratio.ones_like(),
        true => (ratio / step.rate).clamp_max(1.0),
    };
    let decay = weight_norm.full_like(step.weight_decay).mask_fill(idle.clone(), 0.0);
    let each = |factor: Tensor<1>| factor.reshape([1; D]);
    (gradient + parameter.clone() * each(decay)) * each(ratio.mask_fill(idle, 1.0))
}

/// See [`crate::adam_step`].
pub fn adam_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    [first, second]: [Tensor<D>; 2],
    step: &AdamStep,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let (mut parameter, mut gradient) = (parameter.detach(), gradient.detach());
    if step.decoupled {
        parameter = parameter * (1.0 - step.rate * step.weight_decay);
    } else {
        gradient = gradient + parameter.clone() * step.weight_decay;
    }
    let (beta1, beta2) = step.betas;
    let first = first.detach() * beta1 + gradient.clone() * (1.0 - beta1);
    let second = second.detach() * beta2 + gradient.square() * (1.0 - beta2);
    let correction = |beta: f64| 1.0 - beta.powf(step.number as f64);
    let root = (second.clone() / correction(beta2)).sqrt() + step.eps;
    let parameter = parameter - first.clone() / root * (step.rate / correction(beta1));
    (parameter, [first, second])
}

/// See [`crate::halved`].
pub fn halved(x: Tensor<4>) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let precision = x.dtype();
    let mut x = x.cast(at_least_single(precision)).permute([0, 2, 3, 1]); // [n, h, w, c]
    // A line that is there twice has its own mean.
    for axis in [1, 2] {
        let size = x.dims()[axis];
        if size % 2 == 1 {
            let last = x.clone().narrow(axis, size - 1, 1);
            x = Tensor::cat(vec![x, last], axis);
        }
    }
    let (rows, columns) = (h.div_ceil(2), w.div_ceil(2));
    let x: Tensor<6> = x.reshape([n, rows, 2, columns, 2, c]);
    let x = x.sum_dim(2).sum_dim(4) / 4.0; // [n, rows, 1, columns, 1, c]
    x.reshape([n, rows, columns, c]).permute([0, 3, 1, 2]).cast(precision)
}
