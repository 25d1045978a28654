//! ConvNeXt (Liu et al. 2022, arXiv:2201.03545) and ConvNeXt V2 (Woo et al. 2023, arXiv:2301.00808) with timm's
//! parameter names and without the classifier. Called by [`super::Backbone`].
//!
//! The images stay channels-last: a pixel is a row of the linear layers and of the norms. The type of the images
//! decides the precision of the stem and of the linear layers; the residual stream, the norms, the depthwise
//! convolutions and the feature have the type of the parameters.

use burn::{
    module::{Module, Param},
    tensor::{DType, Tensor},
};

use super::{ConvNextConfig, ConvNextShape, Grid};
use crate::layers::{Init, LayerNorm, LayerScale, Linear};

/// The deviation of the initial weights.
const DEVIATION: f64 = 0.02;
/// The ε of global response normalisation.
const EPS: f64 = 1e-6;
/// The side of the depthwise kernels.
const KERNEL: usize = 7;

/// A stem, stages, and a norm of the mean over positions.
#[derive(Module, Debug)]
pub struct ConvNext {
    stem: (Patches, LayerNorm),
    stages: Vec<Stage>,
    head: Head,
}

/// A convolution whose stride is its kernel size; what remains at the borders is left out.
#[derive(Module, Debug)]
struct Patches {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct Head {
    norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Stage {
    downsample: Option<(LayerNorm, Patches)>,
    blocks: Vec<Block>,
}

#[derive(Module, Debug)]
struct Block {
    conv_dw: Depthwise,
    norm: LayerNorm,
    mlp: Mlp,
    gamma: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
struct Depthwise {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    grn: Option<ResponseNorm>,
    fc2: Linear,
}

/// Global response normalisation: a channel is scaled by its norm over the positions of its image, relative to the
/// mean of the channels' norms.
#[derive(Module, Debug)]
struct ResponseNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl ConvNext {
    /// Makes a network with timm's initial values.
    pub fn new(config: &ConvNextConfig, init: &Init) -> Self {
        Self::of(&config.shape(), init)
    }

    /// Makes a network of any sizes, with initial values as [`ConvNext::new`] has them.
    pub fn of(shape: &ConvNextShape, init: &Init) -> Self {
        let widths = &shape.widths;
        let stages =
            widths.iter().zip(&shape.depths).enumerate().map(|(index, (&width, &depth))| {
                let before = index.checked_sub(1).map(|before| widths[before]);
                Stage {
                    downsample: before.map(|before| {
                        (LayerNorm::new(before, init), Patches::new(before, width, 2, init))
                    }),
                    blocks: (0..depth).map(|_| Block::new(width, shape, init)).collect(),
                }
            });
        let patches = Patches::new(init.channels(), widths[0], shape.patch, init);
        let stem = (patches, LayerNorm::new(widths[0], init));
        let stages = stages.collect();
        let last = *widths.last().expect("a ConvNeXt has stages");
        Self { stem, stages, head: Head { norm: LayerNorm::new(last, init) } }
    }

    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let map = self.map(x);
        self.pooled(map)
    }

    /// Returns the features and the last map, which the last norm has not seen.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, dim]` and a grid of `[n, rows · columns, dim]`.
    pub fn forward_with_grid(&self, x: Tensor<4>) -> (Tensor<2>, Grid) {
        let map = self.map(x);
        let [n, rows, columns, width] = map.dims();
        let cells = map.clone().reshape([n, rows * columns, width]);
        (self.pooled(map), Grid { cells, rows, columns })
    }

    /// # Shapes — `[n, 3, h, w]` to `[n, rows, columns, dim]`.
    fn map(&self, x: Tensor<4>) -> Tensor<4> {
        let precision = x.dtype();
        let x = self.stem.0.forward(x.permute([0, 2, 3, 1]), precision); // channels last
        let mut x = normalised(&self.stem.1, x);
        for Stage { downsample, blocks } in &self.stages {
            if let Some((norm, patches)) = downsample {
                x = patches.forward(normalised(norm, x), precision);
            }
            x = blocks.iter().fold(x, |x, block| block.forward(x, precision));
        }
        x
    }

    /// # Shapes — `[n, rows, columns, dim]` to `[n, dim]`.
    fn pooled(&self, x: Tensor<4>) -> Tensor<2> {
        let [n, h, w, width] = x.dims();
        let mean: Tensor<3> = x.reshape([n, h * w, width]).mean_dim(1); // [n, 1, width]
        self.head.norm.forward(mean.reshape([n, width]))
    }
}

impl Patches {
    fn new(input: usize, output: usize, side: usize, init: &Init) -> Self {
        Self {
            weight: init.truncated_normal([output, input, side, side], DEVIATION),
            bias: init.constant([output], 0.0),
        }
    }

    /// # Shapes — `[n, h, w, in]` to `[n, h / side, w / side, out]`.
    fn forward(&self, x: Tensor<4>, precision: DType) -> Tensor<4> {
        let [n, h, w, channels] = x.dims();
        let [output, _, side, _] = self.weight.dims();
        let (rows, columns) = (h / side, w / side);
        let own = self.bias.dtype();
        let whole = (h, w) == (rows * side, columns * side);
        let x = if whole { x } else { x.narrow(1, 0, rows * side).narrow(2, 0, columns * side) };
        let patches: Tensor<6> =
            x.reshape([n, rows, side, columns, side, channels]).permute([0, 1, 3, 2, 4, 5]);
        let patches = patches.reshape([n * rows * columns, side * side * channels]);
        // [out, in, side, side] -> [out, side · side · in], channels fastest as in the patches
        let weight = self.weight.val().permute([0, 2, 3, 1]);
        let weight = weight.reshape([output, side * side * channels]);
        let y = vssl_kernels::linear(patches.cast(precision), weight, Some(self.bias.val()));
        y.cast(own).reshape([n, rows, columns, output])
    }
}

impl Block {
    fn new(width: usize, shape: &ConvNextShape, init: &Init) -> Self {
        let linear = |input: usize, output: usize| Linear {
            weight: init.truncated_normal([output, input], DEVIATION),
            bias: Some(init.constant([output], 0.0)),
        };
        let conv_dw = Depthwise {
            weight: init.truncated_normal([width, 1, KERNEL, KERNEL], DEVIATION),
            bias: init.constant([width], 0.0),
        };
        let hidden = 4 * width;
        Self {
            conv_dw,
            norm: LayerNorm::new(width, init),
            mlp: Mlp {
                fc1: linear(width, hidden),
                grn: shape.response_norm.then(|| ResponseNorm {
                    weight: init.constant([hidden], 0.0),
                    bias: init.constant([hidden], 0.0),
                }),
                fc2: linear(hidden, width),
            },
            gamma: shape.layer_scale.map(|value| init.constant([width], value)),
        }
    }

    /// # Shapes — `[n, h, w, c]`, unchanged.
    fn forward(&self, x: Tensor<4>, precision: DType) -> Tensor<4> {
        let [n, h, w, width] = x.dims();
        let y = vssl_kernels::depthwise_conv2d(
            x.clone().permute([0, 3, 1, 2]),
            self.conv_dw.weight.val(),
            self.conv_dw.bias.val(),
        );
        let rows = y.permute([0, 2, 3, 1]).reshape([n * h * w, width]);
        let hidden = self.norm.forward_linear(rows, &self.mlp.fc1, precision);
        let residual = x.reshape([n * h * w, width]);
        let (fc2, scale) = (&self.mlp.fc2, self.gamma.as_ref().map(LayerScale::of));
        let y = match &self.mlp.grn {
            Some(grn) => {
                let hidden = grn.forward(vssl_kernels::gelu(hidden), n);
                fc2.forward_added(hidden, false, scale.as_ref(), residual)
            }
            None => fc2.forward_added(hidden, true, scale.as_ref(), residual),
        };
        y.reshape([n, h, w, width])
    }
}

impl ResponseNorm {
    /// # Shapes — `[n · positions, c]`, unchanged.
    fn forward(&self, x: Tensor<2>, images: usize) -> Tensor<2> {
        vssl_kernels::response_norm(x, images, self.weight.val(), self.bias.val(), EPS)
    }
}

/// # Shapes — `[n, h, w, c]`, unchanged.
fn normalised(norm: &LayerNorm, x: Tensor<4>) -> Tensor<4> {
    let [n, h, w, width] = x.dims();
    norm.forward(x.reshape([n * h * w, width])).reshape([n, h, w, width])
}
