//! The reference of every operation, made of Burn's own: what each back end can do, and what the
//! fast paths are tested against.

use burn::tensor::{
    Tensor, activation,
    module::{conv2d as burn_conv2d, max_pool2d as burn_max_pool2d},
    ops::{ConvOptions, MaxPoolOptions},
};

use crate::Normalised;

pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    burn_conv2d(x, weight, None, ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1))
}

pub fn batch_norm_train(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<4>>,
    relu: bool,
    eps: f64,
) -> Normalised<4> {
    let [n, c, h, w] = x.dims();
    let count = (n * h * w) as f64;
    let mean = sum_but_channels(x.clone()) / count;
    let centred = x - mean.clone(); // [n, c, h, w]
    let variance = sum_but_channels(centred.clone() * centred.clone()) / count;
    let scale = gamma.reshape([1, c, 1, 1]) / (variance.clone() + eps).sqrt();
    let y = centred * scale + beta.reshape([1, c, 1, 1]);
    Normalised {
        output: finish(y, residual, relu),
        mean: mean.detach().reshape([c]),
        variance: variance.detach().reshape([c]),
    }
}

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
    let c = x.dims()[1];
    let scale = gamma / (variance + eps).sqrt();
    let shift = beta - mean * scale.clone();
    let y = x * scale.reshape([1, c, 1, 1]) + shift.reshape([1, c, 1, 1]);
    finish(y, residual, relu)
}

fn sum_but_channels(x: Tensor<4>) -> Tensor<4> {
    x.sum_dim(0).sum_dim(2).sum_dim(3) // [n, c, h, w] -> [1, c, 1, 1]
}

fn finish(y: Tensor<4>, residual: Option<Tensor<4>>, relu: bool) -> Tensor<4> {
    let y = match residual {
        Some(residual) => y + residual,
        None => y,
    };
    if relu { activation::relu(y) } else { y }
}

pub fn max_pool2d(x: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    let options =
        MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]);
    burn_max_pool2d(x, options)
}

pub fn global_average_pool(x: Tensor<4>) -> Tensor<2> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])
}

pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let y = x.matmul(weight.transpose()); // [n, i] · [i, o] -> [n, o]
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}
