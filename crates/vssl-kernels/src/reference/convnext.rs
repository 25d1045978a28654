//! The reference of ConvNeXt's operations.

use burn::tensor::{Tensor, module::conv2d as burn_conv2d, ops::ConvOptions};

use super::at_least_single;

/// The square of the smallest norm of a channel. A smaller one has no gradient, as the norm 0 has none in PyTorch.
const SMALLEST: f64 = 1e-30;

/// See [`crate::depthwise_conv2d`].
pub fn depthwise_conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let precision = x.dtype();
    let [channels, _, side, _] = weight.dims();
    let options = ConvOptions::new([1; 2], [side / 2; 2], [1; 2], channels);
    burn_conv2d(x, weight.cast(precision), Some(bias.cast(precision)), options)
}

/// See [`crate::response_norm`].
pub fn response_norm(
    x: Tensor<2>,
    images: usize,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<2> {
    let ([rows, channels], precision) = (x.dims(), x.dtype());
    let x = x.cast(at_least_single(precision));
    let x: Tensor<3> = x.reshape([images, rows / images, channels]);
    let squares = (x.clone() * x.clone()).sum_dim(1); // [images, 1, c]
    let norms = squares.clamp_min(SMALLEST).sqrt();
    let relative = norms.clone() / (norms.mean_dim(2) + eps);
    let factor = relative * gamma.reshape([1, 1, channels]) + 1.0;
    let y = x * factor + beta.reshape([1, 1, channels]);
    y.reshape([rows, channels]).cast(precision)
}
