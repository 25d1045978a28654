//! The block of a vision transformer, whose normalisations come before attention and feed-forward part (Dosovitskiy et
//! al. 2021, arXiv:2010.11929), with timm's parameter names. It has no dropout. Called by [`crate::backbone::Vit`] and
//! by the decoder and the predictor of `methods::{ijepa, mae}`.

use burn::{
    module::Module,
    tensor::{DType, Tensor},
};

use super::{Init, LayerNorm, LayerScale, Linear};

/// The sizes of a block, and what it starts with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockShape {
    /// The length of a token.
    pub width: usize,
    /// The number of attention heads, a divisor of the width.
    pub heads: usize,
    /// The hidden width of the feed-forward part.
    pub hidden: usize,
    /// Whether the feed-forward part is SwiGLU (Shazeer 2020, arXiv:2002.05202) instead of a layer with the exact GELU.
    pub gated: bool,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// The initial value of the layer scale; 0 for none.
    pub layer_scale: f64,
    /// The ε of the normalisations.
    pub norm_eps: f64,
    /// The distribution of the initial weights; biases are 0.
    pub weights: BlockWeights,
}

impl BlockShape {
    /// Returns the block of a plain transformer: a hidden width of four times the width, GELU, biases, no layer scale
    /// and ε = 1e-6.
    pub fn plain(width: usize, heads: usize, weights: BlockWeights) -> Self {
        let (hidden, gated, qkv_bias) = (4 * width, false, true);
        Self { width, heads, hidden, gated, qkv_bias, layer_scale: 0.0, norm_eps: 1e-6, weights }
    }
}

/// The distributions of initial weights: see [`BlockShape::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockWeights {
    /// A normal distribution with standard deviation 0.02 (timm, I-JEPA).
    Normal,
    /// Xavier's uniform distribution (Glorot and Bengio 2010), as MAE has it: every matrix as it is stored.
    Xavier,
    /// The same, as MoCo V3 has it: queries, keys and values, or gates and values, each as a matrix of its own.
    XavierOfParts,
}

/// Attention and feed-forward part, each behind a normalisation and added to what came in.
#[derive(Module, Debug)]
pub struct PreNormBlock {
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

impl PreNormBlock {
    /// Makes a block with initial values.
    pub fn new(shape: &BlockShape, init: &Init) -> Self {
        let BlockShape { width, heads, hidden, gated, layer_scale, norm_eps, .. } = *shape;
        let linear = |input, output, parts, with_bias: bool| Linear {
            weight: match shape.weights {
                BlockWeights::Normal => init.truncated_normal([output, input], 0.02),
                BlockWeights::Xavier => init.uniform([output, input], xavier(input, output)),
                BlockWeights::XavierOfParts => {
                    init.uniform([output, input], xavier(input, output / parts))
                }
            },
            bias: with_bias.then(|| init.constant([output], 0.0)),
        };
        let scale =
            || (layer_scale > 0.0).then(|| LayerScale::new(width, layer_scale as f32, init));
        let norm = || LayerNorm::new(width, init).with_eps(norm_eps);
        let parts = if gated { 2 } else { 1 };
        Self {
            norm1: norm(),
            attn: Attention {
                qkv: linear(width, 3 * width, 3, shape.qkv_bias),
                proj: linear(width, width, 1, true),
                heads,
            },
            ls1: scale(),
            norm2: norm(),
            mlp: FeedForward {
                fc1: linear(width, parts * hidden, parts, true),
                fc2: linear(hidden, width, 1, true),
                is_gated: gated,
            },
            ls2: scale(),
        }
    }

    /// Runs the block; the type of its matrix products is `precision`, the type of all else that of the parameters.
    ///
    /// # Shapes — `[n, tokens, width]`, unchanged.
    pub fn forward(&self, x: Tensor<3>, precision: DType) -> Tensor<3> {
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
pub(crate) fn xavier(input: usize, output: usize) -> f64 {
    (6.0 / (input + output) as f64).sqrt()
}
