//! Wide ResNet-28 (Zagoruyko and Komodakis 2016, arXiv:1605.07146) as solo-learn builds it, with its
//! parameter names and without the classifier. Called by [`super::Backbone`].
//!
//! solo-learn's network follows the implementations of FixMatch (Sohn et al. 2020, arXiv:2001.07685) more
//! than the paper: LeakyReLU of slope 0.1, batch norm with ε = 0.001 and a momentum of 0.001. It differs from
//! both in two points, which are kept so that its weights mean the same here. First, all convolutions have
//! biases. Second, the first block of the second and of the third stage convolves its input without
//! normalising it: its `bn1` has no effect on the features, so it gets no gradient, and its running
//! statistics, which solo-learn still updates, stay at their initial values here.

#![allow(non_snake_case, reason = "`convShortcut` is the name in the weights")]

mod inference;

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use vssl_kernels::Rectifier;

pub(super) use inference::InferenceWideResnet;

use super::{Grid, WideResnetConfig};
use crate::layers::{BatchNorm, Init, Mode};

/// The number of blocks of a stage: (28 − 4) / 6.
const DEPTH: usize = 4;
/// The number of channels of the stem.
const STEM: usize = 16;
const SLOPE: f32 = 0.1;
const EPS: f64 = 1e-3;
/// The share of the batch in each update of the running statistics.
const MOMENTUM: f64 = 1e-3;

/// A stem, three stages, batch norm and global average pooling.
#[derive(Module, Debug)]
pub struct WideResnet {
    conv1: Convolution,
    block1: Stage,
    block2: Stage,
    block3: Stage,
    bn1: BatchNorm,
}

#[derive(Module, Debug)]
struct Stage {
    layer: Vec<Block>,
}

/// A block whose normalisation and activation come before each 3×3 convolution.
#[derive(Module, Debug)]
struct Block {
    bn1: BatchNorm,
    conv1: Convolution,
    bn2: BatchNorm,
    conv2: Convolution,
    convShortcut: Option<Convolution>,
    activate_before_residual: bool,
}

/// A convolution with bias; the padding keeps the size at stride 1.
#[derive(Module, Debug)]
struct Convolution {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    stride: usize,
}

impl WideResnet {
    /// Makes a network with He-normal weights by fan-out and PyTorch's default biases.
    pub fn new(config: &WideResnetConfig, init: &Init) -> Self {
        let width = STEM * config.widen;
        Self {
            conv1: Convolution::new([STEM, init.channels(), 3, 3], 1, init),
            block1: Stage::new(STEM, width, 1, true, init),
            block2: Stage::new(width, 2 * width, 2, false, init),
            block3: Stage::new(2 * width, 4 * width, 2, false, init),
            bn1: norm(4 * width, init),
        }
    }

    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        vssl_kernels::global_average_pool(self.map(x, mode))
    }

    /// Returns the features and the last map.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, dim]` and a grid of `[n, rows · columns, dim]`.
    pub fn forward_with_grid(&self, x: Tensor<4>, mode: Mode) -> (Tensor<2>, Grid) {
        let map = self.map(x, mode);
        (vssl_kernels::global_average_pool(map.clone()), Grid::of_map(map))
    }

    /// # Shapes — `[n, 3, h, w]` to `[n, dim, rows, columns]`.
    fn map(&self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let mut x = self.conv1.forward(x, None);
        for stage in [&self.block1, &self.block2, &self.block3] {
            x = stage.layer.iter().fold(x, |x, block| block.forward(x, mode));
        }
        activated(&self.bn1, x, mode)
    }
}

impl Stage {
    fn new(
        input: usize,
        output: usize,
        stride: usize,
        activate_before_residual: bool,
        init: &Init,
    ) -> Self {
        let block = |index: usize| {
            let (input, stride) = if index == 0 { (input, stride) } else { (output, 1) };
            Block::new(input, output, stride, activate_before_residual, init)
        };
        Self { layer: (0..DEPTH).map(block).collect() }
    }
}

impl Block {
    fn new(
        input: usize,
        output: usize,
        stride: usize,
        activate_before_residual: bool,
        init: &Init,
    ) -> Self {
        Self {
            bn1: norm(input, init),
            conv1: Convolution::new([output, input, 3, 3], stride, init),
            bn2: norm(output, init),
            conv2: Convolution::new([output, output, 3, 3], 1, init),
            convShortcut: (input != output)
                .then(|| Convolution::new([output, input, 1, 1], stride, init)),
            activate_before_residual,
        }
    }

    fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let (shortcut, x) = match &self.convShortcut {
            None => (x.clone(), activated(&self.bn1, x, mode)),
            Some(shortcut) => {
                let x =
                    if self.activate_before_residual { activated(&self.bn1, x, mode) } else { x };
                (shortcut.forward(x.clone(), None), x)
            }
        };
        let y = activated(&self.bn2, self.conv1.forward(x, None), mode);
        self.conv2.forward(y, Some(shortcut))
    }
}

impl Convolution {
    fn new(shape: [usize; 4], stride: usize, init: &Init) -> Self {
        let [output, input, height, width] = shape;
        let fan_in = (input * height * width) as f64;
        let fan_out = (output * height * width) as f64;
        Self {
            weight: init.normal(shape, (2.0 / fan_out).sqrt()),
            bias: init.uniform([output], 1.0 / fan_in.sqrt()),
            stride,
        }
    }

    /// Convolves `x`, adds the bias and then `residual`.
    fn forward(&self, x: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
        let padding = self.weight.dims()[2] / 2;
        let y = vssl_kernels::conv2d(x, self.weight.val(), self.stride, padding);
        vssl_kernels::add_bias(y, self.bias.val(), residual)
    }
}

fn norm(channels: usize, init: &Init) -> BatchNorm {
    BatchNorm::new(channels, init).with_constants(EPS, MOMENTUM)
}

fn activated(norm: &BatchNorm, x: Tensor<4>, mode: Mode) -> Tensor<4> {
    norm.forward(x, None, Rectifier::Leaky(SLOPE), mode)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;
    use crate::{
        backbone::{Backbone, BackboneConfig},
        optim::Gradients,
        tensors::state,
    };

    fn config(widen: usize) -> BackboneConfig {
        WideResnetConfig { widen }.into()
    }

    #[test]
    fn features_have_64_numbers_times_the_factor() {
        let device = Device::flex();
        for (widen, size) in [(1, 8), (2, 32), (3, 11)] {
            let network = Backbone::new(&config(widen), &Init::new(&device, 1));
            let x = Tensor::random([2, 3, size, size], Distribution::Default, &device);
            for mode in [Mode::Train, Mode::Eval] {
                assert_eq!(network.forward(x.clone(), mode).dims(), [2, 64 * widen]);
            }
            assert_eq!(config(widen).dim(), 64 * widen);
        }
    }

    #[test]
    fn all_but_the_unused_normalisations_have_gradients() {
        let device = Device::flex().autodiff();
        let network = Backbone::new(&config(2), &Init::new(&device, 1));
        let x = Tensor::random([4, 3, 8, 8], Distribution::Default, &device);
        let loss = network.forward(x, Mode::Train).square().sum();
        let gradients = Gradients::collect(loss.backward(), &network).0;
        let tensors = state::collect(&network);
        let trained = tensors.keys().filter(|path| !path.contains("running_"));
        let without: Vec<_> = trained.filter(|path| !gradients.contains_key(*path)).collect();
        let unused = ["block2.layer.0.bn1.bias", "block2.layer.0.bn1.weight"];
        let unused = unused.into_iter().chain(["block3.layer.0.bn1.bias"]);
        let unused: Vec<_> = unused.chain(["block3.layer.0.bn1.weight"]).collect();
        assert_eq!(without, unused);
        for (path, gradient) in gradients {
            let values: Vec<f32> = gradient.into_data().try_to_vec().unwrap();
            assert!(values.iter().all(|x| x.is_finite()), "{path}");
            assert!(values.iter().any(|x| *x != 0.0), "{path}");
        }
    }

    #[test]
    fn running_statistics_take_a_thousandth_of_the_batch() {
        let device = Device::flex();
        let bn = norm(1, &Init::new(&device, 1));
        let x = Tensor::full([2, 1, 2, 2], 3.0, &device);
        bn.forward(x, None, false, Mode::Train);
        let mean: f32 = bn.running_mean.value_sync().into_scalar();
        assert!((mean - 0.003).abs() < 1e-7, "{mean}");
    }
}
