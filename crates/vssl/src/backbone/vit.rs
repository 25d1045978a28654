//! Vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929) with timm's parameter names and without the
//! classifier. Called by [`super::Backbone`].
//!
//! The blocks are pre-norm and have no dropout. The tokens are the class token, the registers and the patches; the
//! feature is the class token after the last norm, the mean of the patches after it, or the norm of that mean.
//!
//! The type of the images decides the precision of the matrix products. The residual stream, its
//! normalisations, the softmax and the feature have the type of the parameters.

use burn::{
    module::{Module, Param},
    tensor::{DType, Tensor, TensorData},
};

use super::{Interpolation, Mlp, Pooling, Positions, VitConfig, positions};
use crate::layers::{Init, LayerNorm, LayerScale, Linear};

/// A patch projection, a position embedding and blocks.
#[derive(Module, Debug)]
pub struct Vit {
    cls_token: Option<Param<Tensor<3>>>,
    reg_token: Option<Param<Tensor<3>>>,
    pos_embed: Param<Tensor<3>>,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: Option<LayerNorm>,
    fc_norm: Option<LayerNorm>,
    /// The number of positions in front of those of the patches.
    placed_prefix: usize,
    interpolates_with_offset: bool,
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
    ls1: Option<LayerScale>,
    norm2: LayerNorm,
    mlp: FeedForward,
    ls2: Option<LayerScale>,
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
    is_gated: bool,
}

/// Patches that a network does not see, as in masked image modelling.
#[derive(Clone, Debug)]
pub struct Masked {
    /// 1 for each patch that is replaced, 0 for the others, `[n, patches]`.
    pub mask: Tensor<2>,
    /// What stands instead of a patch's projection, before the positions are added, `[width]`.
    pub token: Tensor<1>,
}

impl Vit {
    /// Makes a network with initial values. With learned positions they are timm's; with fixed positions they
    /// are those of MoCo V3 (Chen, Xie and He 2021, arXiv:2104.02057): Xavier-uniform, with query, key and
    /// value each on its own.
    pub fn new(config: &VitConfig, init: &Init) -> Self {
        let VitConfig { patch, image_size, positions: kind, registers, pooling, .. } = *config;
        let (width, side, places) = (config.width(), image_size / patch, config.placed_prefix());
        let cls_token = config.class_token.then(|| init.normal([1, 1, width], 1e-6));
        let reg_token = (registers > 0).then(|| init.normal([1, registers, width], 1e-6));
        let shape = [1, places + side * side, width];
        let pos_embed = match kind {
            Positions::Learned => init.truncated_normal(shape, 0.02),
            Positions::Sincos => {
                let values = TensorData::new(positions::sincos(places, side, width), shape);
                Param::from_tensor(Tensor::from_data(values, init.device()))
            }
        };
        Self {
            cls_token,
            reg_token,
            pos_embed,
            patch_embed: PatchEmbed { proj: Projection::new(patch, width, kind, init) },
            blocks: (0..config.depth()).map(|_| Block::new(config, init)).collect(),
            norm: (pooling != Pooling::FcNorm).then(|| LayerNorm::new(width, init)),
            fc_norm: (pooling == Pooling::FcNorm).then(|| LayerNorm::new(width, init)),
            placed_prefix: places,
            interpolates_with_offset: config.interpolation == Interpolation::Offset,
            pools_patches: pooling != Pooling::Token,
        }
    }

    /// Returns the features. The positions are interpolated where the image has another size than the
    /// configured size; its sides have to be multiples of the patch.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.blocks_of(x, None);
        self.feature_of(x)
    }

    /// Returns the features as [`Vit::forward`] does and the patches as [`Vit::patch_tokens`] does, in one pass.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]` and `[n, patches, dim]`.
    pub fn forward_with_patches(&self, x: Tensor<4>) -> (Tensor<2>, Tensor<3>) {
        let x = self.blocks_of(x, None);
        (self.feature_of(x.clone()), self.patches_of(x))
    }

    /// # Shapes — the tokens before the last norm, `[n, tokens, dim]`, to `[n, dim]`.
    fn feature_of(&self, x: Tensor<3>) -> Tensor<2> {
        let [n, tokens, width] = x.dims();
        if !self.pools_patches {
            return self.normalised(x.narrow(1, 0, 1)).reshape([n, width]);
        }
        let (prefix, patches) = (self.prefix(), tokens - self.prefix());
        let mean = self.normalised(x.narrow(1, prefix, patches)).mean_dim(1);
        let mean = mean.reshape([n, width]); // [n, 1, width] -> [n, width]
        match &self.fc_norm {
            Some(norm) => norm.forward(mean),
            None => mean,
        }
    }

    /// Returns all tokens after the last norm, which a network with a norm of the mean does not have: the class token,
    /// the registers, the patches row by row.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, tokens, dim]`.
    pub fn tokens(&self, x: Tensor<4>) -> Tensor<3> {
        let x = self.blocks_of(x, None);
        self.normalised(x)
    }

    /// Returns all tokens as [`Vit::tokens`] does, of images some of whose patches are replaced.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, tokens, dim]`.
    pub fn masked_tokens(&self, x: Tensor<4>, masked: Masked) -> Tensor<3> {
        let x = self.blocks_of(x, Some(masked));
        self.normalised(x)
    }

    /// Returns the patches after the last norm, row by row.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, patches, dim]`.
    pub fn patch_tokens(&self, x: Tensor<4>) -> Tensor<3> {
        let x = self.blocks_of(x, None);
        self.patches_of(x)
    }

    /// # Shapes — the tokens before the last norm, `[n, tokens, dim]`, to `[n, patches, dim]`.
    fn patches_of(&self, x: Tensor<3>) -> Tensor<3> {
        let (prefix, count) = (self.prefix(), x.dims()[1]);
        self.normalised(x.narrow(1, prefix, count - prefix))
    }

    /// Returns the number of tokens in front of the patches: class token and registers.
    pub fn prefix(&self) -> usize {
        let registers = self.reg_token.as_ref().map_or(0, |token| token.dims()[1]);
        usize::from(self.cls_token.is_some()) + registers
    }

    /// Returns the positions for an image of `rows × columns` patches.
    ///
    /// # Shapes — `[1, prefix + rows · columns, dim]` with the tokens in front of the patches that have a position.
    pub fn positions(&self, rows: usize, columns: usize) -> Tensor<3> {
        let kind = match self.interpolates_with_offset {
            true => Interpolation::Offset,
            false => Interpolation::Antialiased,
        };
        positions::resized(self.pos_embed.val(), self.placed_prefix, [rows, columns], kind)
    }

    /// Returns the tokens before the last norm.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, tokens, dim]`.
    fn blocks_of(&self, x: Tensor<4>, masked: Option<Masked>) -> Tensor<3> {
        let precision = x.dtype();
        let [_, _, patch, _] = self.patch_embed.proj.weight.dims();
        let (rows, columns) = (x.dims()[2] / patch, x.dims()[3] / patch);
        let patches = self.patch_embed.proj.forward(x); // [n, rows · columns, width]
        let mut patches = patches.cast(self.pos_embed.dtype());
        if let Some(Masked { mask, token }) = masked {
            let mask: Tensor<3> = mask.unsqueeze_dim(2); // [n, patches] -> [n, patches, 1]
            let width = token.dims()[0];
            patches = patches * (1.0 - mask.clone()) + token.reshape([1, 1, width]) * mask;
        }
        let x = self.placed(patches, self.positions(rows, columns));
        self.blocks.iter().fold(x, |x, block| block.forward(x, precision))
    }

    /// Puts class token and registers in front of the patches and adds the positions of the tokens that have one.
    ///
    /// # Shapes — `[n, patches, width]` to `[n, tokens, width]`.
    fn placed(&self, patches: Tensor<3>, positions: Tensor<3>) -> Tensor<3> {
        let [n, count, width] = patches.dims();
        let own = |token: &Option<Param<Tensor<3>>>| {
            token.as_ref().map(|token| {
                let count = token.dims()[1];
                token.val().expand([n, count, width])
            })
        };
        let (class, registers) = (own(&self.cls_token), own(&self.reg_token));
        let joined = |parts: Vec<Option<Tensor<3>>>| {
            let mut parts: Vec<Tensor<3>> = parts.into_iter().flatten().collect();
            match parts.len() {
                1 => parts.remove(0),
                _ => Tensor::cat(parts, 1),
            }
        };
        if self.placed_prefix == self.prefix() {
            return joined(vec![class, registers, Some(patches)]) + positions;
        }
        if self.placed_prefix == 0 {
            return joined(vec![class, registers, Some(patches + positions)]);
        }
        let x = joined(vec![class, Some(patches)]) + positions;
        let (class, patches) = (x.clone().narrow(1, 0, 1), x.narrow(1, 1, count));
        joined(vec![Some(class), registers, Some(patches)])
    }

    /// Returns the tokens after the last norm, if there is one.
    ///
    /// # Shapes — `[n, tokens, width]`, unchanged.
    fn normalised(&self, x: Tensor<3>) -> Tensor<3> {
        let [n, tokens, width] = x.dims();
        match &self.norm {
            Some(norm) => norm.forward(x.reshape([n * tokens, width])).reshape([n, tokens, width]),
            None => x,
        }
    }
}

impl Projection {
    fn new(patch: usize, width: usize, positions: Positions, init: &Init) -> Self {
        let channels = init.channels();
        let fan_in = channels * patch * patch;
        let default = 1.0 / (fan_in as f64).sqrt();
        match positions {
            Positions::Learned => Self {
                weight: init.uniform([width, channels, patch, patch], default),
                bias: init.uniform([width], default),
            },
            Positions::Sincos => Self {
                weight: init.uniform([width, channels, patch, patch], xavier(fan_in, width)),
                bias: init.constant([width], 0.0),
            },
        }
    }

    /// # Shapes — `[n, channels, h, w]` to `[n, patches, width]`, patches row by row.
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
    fn new(config: &VitConfig, init: &Init) -> Self {
        let (width, hidden, positions) = (config.width(), config.hidden(), config.positions);
        let linear = |input: usize, output: usize, parts: usize, with_bias: bool| Linear {
            weight: match positions {
                Positions::Learned => init.truncated_normal([output, input], 0.02),
                Positions::Sincos => init.uniform([output, input], xavier(input, output / parts)),
            },
            bias: with_bias.then(|| init.constant([output], 0.0)),
        };
        let scale = config.layer_scale;
        let scale = || (scale > 0.0).then(|| LayerScale::new(width, scale as f32, init));
        let parts = if config.mlp == Mlp::Swiglu { 2 } else { 1 };
        Self {
            norm1: LayerNorm::new(width, init),
            attn: Attention {
                qkv: linear(width, 3 * width, 3, config.qkv_bias),
                proj: linear(width, width, 1, true),
                heads: config.heads(),
            },
            ls1: scale(),
            norm2: LayerNorm::new(width, init),
            mlp: FeedForward {
                fc1: linear(width, parts * hidden, parts, true),
                fc2: linear(hidden, width, 1, true),
                is_gated: config.mlp == Mlp::Swiglu,
            },
            ls2: scale(),
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
        let rows = self.attn.proj.forward_added(mixed, false, self.ls1.as_ref(), rows);
        let hidden = self.norm2.forward_linear(rows.clone(), &self.mlp.fc1, precision);
        let with_gelu = !self.mlp.is_gated;
        let hidden = if self.mlp.is_gated { vssl_kernels::swiglu(hidden) } else { hidden };
        let rows = self.mlp.fc2.forward_added(hidden, with_gelu, self.ls2.as_ref(), rows);
        rows.reshape([n, tokens, width])
    }
}

/// Returns the bound of the uniform distribution of Glorot and Bengio 2010.
fn xavier(input: usize, output: usize) -> f64 {
    (6.0 / (input + output) as f64).sqrt()
}
