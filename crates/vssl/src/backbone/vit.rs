//! Vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929) with timm's parameter names and without the
//! classifier. Called by [`super::Backbone`].
//!
//! The blocks are pre-norm and have no dropout; the class token is the first token, and the feature is the
//! class token after the last norm, or the mean of the other tokens after it.
//!
//! The type of the images decides the precision of the matrix products. The residual stream, its
//! normalisations, the softmax and the feature have the type of the parameters.

use burn::{
    module::{Module, Param},
    tensor::{DType, Tensor, TensorData},
};

use super::{Pooling, Positions, VitConfig, positions};
use crate::layers::{Init, LayerNorm, Linear};

/// A patch projection, a position embedding and blocks.
#[derive(Module, Debug)]
pub struct Vit {
    cls_token: Param<Tensor<3>>,
    pos_embed: Param<Tensor<3>>,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: LayerNorm,
    pools_patches: bool,
}

#[derive(Module, Debug)]
struct PatchEmbed {
    proj: Projection,
}

/// A convolution whose stride is its kernel size.
#[derive(Module, Debug)]
struct Projection {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: FeedForward,
}

#[derive(Module, Debug)]
struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

#[derive(Module, Debug)]
struct FeedForward {
    fc1: Linear,
    fc2: Linear,
}

impl Vit {
    /// Makes a network with initial values. With learned positions they are timm's; with fixed positions they
    /// are those of MoCo V3 (Chen, Xie and He 2021, arXiv:2104.02057): Xavier-uniform, with query, key and
    /// value each on its own.
    pub fn new(config: &VitConfig, init: &Init) -> Self {
        let VitConfig { size, patch, image_size, positions: kind, .. } = *config;
        let ((width, depth, _), heads) = (size.shape(), config.heads());
        let side = image_size / patch;
        let pos_embed = match kind {
            Positions::Learned => init.truncated_normal([1, side * side + 1, width], 0.02),
            Positions::Sincos => {
                let values =
                    TensorData::new(positions::sincos(side, width), [1, side * side + 1, width]);
                Param::from_tensor(Tensor::from_data(values, init.device()))
            }
        };
        Self {
            cls_token: init.normal([1, 1, width], 1e-6),
            pos_embed,
            patch_embed: PatchEmbed { proj: Projection::new(patch, width, kind, init) },
            blocks: (0..depth).map(|_| Block::new(width, heads, kind, init)).collect(),
            norm: LayerNorm::new(width, init),
            pools_patches: config.pooling == Pooling::Mean,
        }
    }

    /// Returns the features. The positions are interpolated where the image has another size than the
    /// configured size; its sides have to be multiples of the patch.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let (n, precision) = (x.dims()[0], x.dtype());
        let [width, _, patch, _] = self.patch_embed.proj.weight.dims();
        let (rows, columns) = (x.dims()[2] / patch, x.dims()[3] / patch);
        let patches = self.patch_embed.proj.forward(x); // [n, rows · columns, width]
        let class = self.cls_token.val().expand([n, 1, width]);
        let patches = patches.cast(class.dtype());
        let positions = positions::resized(self.pos_embed.val(), rows, columns);
        let x = Tensor::cat(vec![class, patches], 1) + positions;
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, precision));
        if self.pools_patches {
            let patches = x.narrow(1, 1, rows * columns).reshape([n * rows * columns, width]);
            let normalised = self.norm.forward(patches).reshape([n, rows * columns, width]);
            return normalised.mean_dim(1).reshape([n, width]); // [n, 1, width] -> [n, width]
        }
        self.norm.forward(x.narrow(1, 0, 1).reshape([n, width]))
    }
}

impl Projection {
    fn new(patch: usize, width: usize, positions: Positions, init: &Init) -> Self {
        let fan_in = 3 * patch * patch;
        let default = 1.0 / (fan_in as f64).sqrt();
        match positions {
            Positions::Learned => Self {
                weight: init.uniform([width, 3, patch, patch], default),
                bias: init.uniform([width], default),
            },
            Positions::Sincos => Self {
                weight: init.uniform([width, 3, patch, patch], xavier(fan_in, width)),
                bias: init.constant([width], 0.0),
            },
        }
    }

    /// # Shapes — `[n, 3, h, w]` to `[n, patches, width]`, patches row by row.
    fn forward(&self, x: Tensor<4>) -> Tensor<3> {
        let [n, channels, h, w] = x.dims();
        let [width, _, p, _] = self.weight.dims();
        let (rows, columns) = (h / p, w / p);
        let patches: Tensor<6> =
            x.reshape([n, channels, rows, p, columns, p]).permute([0, 2, 4, 1, 3, 5]);
        let patches = patches.reshape([n * rows * columns, channels * p * p]);
        let weight = self.weight.val().reshape([width, channels * p * p]);
        let tokens = vssl_kernels::linear(patches, weight, Some(self.bias.val()));
        tokens.reshape([n, rows * columns, width])
    }
}

impl Block {
    fn new(width: usize, heads: usize, positions: Positions, init: &Init) -> Self {
        let linear = |input: usize, output: usize, parts: usize| Linear {
            weight: match positions {
                Positions::Learned => init.truncated_normal([output, input], 0.02),
                Positions::Sincos => init.uniform([output, input], xavier(input, output / parts)),
            },
            bias: Some(init.constant([output], 0.0)),
        };
        Self {
            norm1: LayerNorm::new(width, init),
            attn: Attention {
                qkv: linear(width, 3 * width, 3),
                proj: linear(width, width, 1),
                heads,
            },
            norm2: LayerNorm::new(width, init),
            mlp: FeedForward { fc1: linear(width, 4 * width, 1), fc2: linear(4 * width, width, 1) },
        }
    }

    /// Runs a block whose matrix products are in `precision`.
    ///
    /// # Shapes — `[n, tokens, width]`, unchanged.
    fn forward(&self, x: Tensor<3>, precision: DType) -> Tensor<3> {
        let [n, tokens, width] = x.dims();
        let rows = x.reshape([n * tokens, width]);
        let qkv = self.norm1.forward_linear(rows.clone(), &self.attn.qkv, precision);
        let mixed = vssl_kernels::attention(qkv, tokens, self.attn.heads);
        let rows = self.attn.proj.forward_added(mixed, false, rows);
        let hidden = self.norm2.forward_linear(rows.clone(), &self.mlp.fc1, precision);
        let rows = self.mlp.fc2.forward_added(hidden, true, rows);
        rows.reshape([n, tokens, width])
    }
}

/// Returns the bound of the uniform distribution of Glorot and Bengio 2010.
fn xavier(input: usize, output: usize) -> f64 {
    (6.0 / (input + output) as f64).sqrt()
}
