//! Convolution without bias: in every network here a normalisation follows it.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use vssl_kernels::{FoldedConv, Rectifier};

use super::{BatchNorm, Init};

/// A convolution with a square kernel and the same stride and padding in both directions.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// The weight, `[out, in, k, k]`.
    pub weight: Param<Tensor<4>>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// Makes a convolution with He-normal weights by fan-out (He et al. 2015, arXiv:1502.01852), as in
    /// torchvision's ResNets.
    pub fn he_normal(shape: [usize; 4], stride: usize, padding: usize, init: &Init) -> Self {
        let [out, _, height, width] = shape;
        let fan_out = (out * height * width) as f64;
        Self { weight: init.normal(shape, (2.0 / fan_out).sqrt()), stride, padding }
    }

    /// Makes a convolution with PyTorch's default weights, uniform in ±1/√fan_in. solo-learn creates its
    /// CIFAR stem after the network's own initialisation, so the stem keeps these weights.
    pub fn plain(shape: [usize; 4], stride: usize, padding: usize, init: &Init) -> Self {
        let [_, input, height, width] = shape;
        let fan_in = (input * height * width) as f64;
        Self { weight: init.uniform(shape, 1.0 / fan_in.sqrt()), stride, padding }
    }

    /// # Shapes — `[n, in, h, w]` to `[n, out, h', w']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        vssl_kernels::conv2d(x, self.weight.val(), self.stride, self.padding)
    }

    /// Returns this convolution with the running statistics of the normalisation that follows it folded in, and
    /// with the activation. `keep` is that of [`FoldedConv::new`].
    pub fn folded(&self, norm: &BatchNorm, activation: Rectifier, keep: bool) -> FoldedConv {
        let factors = norm.scale_and_shift();
        FoldedConv::new(self.weight.val(), factors, self.stride, self.padding, activation, keep)
    }
}
