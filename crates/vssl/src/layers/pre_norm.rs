//! The block of a vision transformer, whose normalisations come before attention and feed-forward part (Dosovitskiy et
//! al. 2021, arXiv:2010.11929), with the parameter names of timm's `VisionTransformer` or, with rotary positions, of its
//! `Eva`. It has no dropout. Called by [`crate::backbone::Vit`] and by the decoder and the predictor of
//! `methods::{ijepa, mae}`.

use burn::{
    module::{Module, Param},
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
    /// Whether queries, keys and values have a bias; with rotary positions keys have none in any case.
    pub qkv_bias: bool,
    /// Whether the parameters have the names and the division of timm's networks with rotary positions: `gamma_1` and
    /// `gamma_2` are the layer scale, `q_bias` and `v_bias` biases without one of the keys, `fc1_g` and `fc1_x` the layers
    /// of the gate and of what goes through it.
    pub rotary: bool,
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
        Self {
            width,
            heads,
            hidden: 4 * width,
            gated: false,
            qkv_bias: true,
            rotary: false,
            layer_scale: 0.0,
            norm_eps: 1e-6,
            weights,
        }
    }
}

/// The distributions of initial weights: see [`BlockShape::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockWeights {
    /// A normal distribution with standard deviation 0.02 (timm, I-JEPA).
    Normal,
    /// The same for the block of this number, counted from 1, whose last matrices of attention and feed-forward part are
    /// smaller by the root of twice the number (timm's networks with rotary positions).
    NormalOfBlock(usize),
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
    gamma_1: Option<Param<Tensor<1>>>,
    norm2: LayerNorm,
    mlp: FeedForward,
    ls2: Option<LayerScale>,
    gamma_2: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
struct Attention {
    qkv: Linear,
    q_bias: Option<Param<Tensor<1>>>,
    v_bias: Option<Param<Tensor<1>>>,
    proj: Linear,
    heads: usize,
}

#[derive(Module, Debug)]
struct FeedForward {
    fc1: Option<Linear>,
    fc1_g: Option<Linear>,
    fc1_x: Option<Linear>,
    fc2: Linear,
    is_gated: bool,
}

impl PreNormBlock {
    /// Makes a block with initial values.
    pub fn new(shape: &BlockShape, init: &Init) -> Self {
        let BlockShape { width, heads, hidden, gated, rotary, norm_eps, .. } = *shape;
        let linear =
            |input, output, parts, with_bias| shape.linear(input, output, parts, with_bias, init);
        let (scale, scaled) = (shape.layer_scale as f32, shape.layer_scale > 0.0);
        let factors = || (scaled && !rotary).then(|| LayerScale::new(width, scale, init));
        let gamma = || (scaled && rotary).then(|| init.constant([width], scale));
        let bias = || (shape.qkv_bias && rotary).then(|| init.constant([width], 0.0));
        let norm = || LayerNorm::new(width, init).with_eps(norm_eps);
        let (parts, split) = (if gated { 2 } else { 1 }, gated && rotary);
        Self {
            norm1: norm(),
            attn: Attention {
                qkv: linear(width, 3 * width, 3, shape.qkv_bias && !rotary),
                q_bias: bias(),
                v_bias: bias(),
                proj: shape.last(width, init),
                heads,
            },
            ls1: factors(),
            gamma_1: gamma(),
            norm2: norm(),
            mlp: FeedForward {
                fc1: (!split).then(|| linear(width, parts * hidden, parts, true)),
                fc1_g: split.then(|| linear(width, hidden, 1, true)),
                fc1_x: split.then(|| linear(width, hidden, 1, true)),
                fc2: shape.last(hidden, init),
                is_gated: gated,
            },
            ls2: factors(),
            gamma_2: gamma(),
        }
    }

    /// Returns the number of attention heads.
    pub fn heads(&self) -> usize {
        self.attn.heads
    }

    /// Runs the block; the type of its matrix products is `precision`, the type of all else that of the parameters.
    /// `angles` are the rotary positions, if there are some, as [`vssl_kernels::rotate`] takes them: those of the last
    /// tokens of every image, or of all tokens of all images, where each image has its own.
    ///
    /// # Shapes — `x`: `[n, tokens, width]`, unchanged; `angles`: `[patches, width / heads]` or
    /// `[n · tokens, width / heads]`.
    pub fn forward(&self, x: Tensor<3>, angles: Option<&Tensor<2>>, precision: DType) -> Tensor<3> {
        let [n, tokens, width] = x.dims();
        let rows = x.reshape([n * tokens, width]);
        let (weight, bias) = self.attn.queries_keys_values();
        let qkv = self.norm1.forward_product(rows.clone(), weight, bias, precision);
        let qkv = match angles {
            Some(angles) => self.attn.turned(qkv, angles.clone(), tokens),
            None => qkv,
        };
        let mixed = vssl_kernels::attention(qkv, tokens, self.attn.heads);
        let scale = |own: &Option<LayerScale>, gamma: &Option<Param<Tensor<1>>>| {
            own.clone().or_else(|| gamma.as_ref().map(LayerScale::of))
        };
        let first = scale(&self.ls1, &self.gamma_1);
        let rows = self.attn.proj.forward_added(mixed, false, first.as_ref(), rows);
        let (weight, bias) = self.mlp.first();
        let hidden = self.norm2.forward_product(rows.clone(), weight, bias, precision);
        let with_gelu = !self.mlp.is_gated;
        let hidden = if self.mlp.is_gated { vssl_kernels::swiglu(hidden) } else { hidden };
        let second = scale(&self.ls2, &self.gamma_2);
        let rows = self.mlp.fc2.forward_added(hidden, with_gelu, second.as_ref(), rows);
        rows.reshape([n, tokens, width])
    }
}

impl BlockShape {
    /// Makes a layer whose outputs are `parts` of equal length.
    fn linear(
        &self,
        input: usize,
        output: usize,
        parts: usize,
        with_bias: bool,
        init: &Init,
    ) -> Linear {
        Linear {
            weight: match self.weights {
                BlockWeights::Normal | BlockWeights::NormalOfBlock(_) => {
                    init.truncated_normal([output, input], 0.02)
                }
                BlockWeights::Xavier => init.uniform([output, input], xavier(input, output)),
                BlockWeights::XavierOfParts => {
                    init.uniform([output, input], xavier(input, output / parts))
                }
            },
            bias: with_bias.then(|| init.constant([output], 0.0)),
        }
    }

    /// Makes the last layer of attention or feed-forward part.
    fn last(&self, input: usize, init: &Init) -> Linear {
        let BlockWeights::NormalOfBlock(number) = self.weights else {
            return self.linear(input, self.width, 1, true, init);
        };
        let std = 0.02 / (2.0 * number as f64).sqrt();
        Linear {
            weight: init.truncated_normal([self.width, input], std),
            bias: Some(init.constant([self.width], 0.0)),
        }
    }
}

impl Attention {
    /// Returns weight and bias of the layer that makes queries, keys and values. Where queries and values have biases of
    /// their own, keys have none.
    ///
    /// # Shapes — `[3 · width, width]` and `[3 · width]`.
    fn queries_keys_values(&self) -> (Tensor<2>, Option<Tensor<1>>) {
        let bias = match (&self.q_bias, &self.v_bias) {
            (Some(of_queries), Some(of_values)) => {
                let of_keys = of_queries.val().zeros_like();
                Some(Tensor::cat(vec![of_queries.val(), of_keys, of_values.val()], 0))
            }
            _ => self.qkv.bias.as_ref().map(Param::val),
        };
        (self.qkv.weight.val(), bias)
    }

    /// Returns the rows with queries and keys turned by their positions.
    ///
    /// # Shapes — `qkv`: `[n · tokens, 3 · width]`, unchanged; `angles` as for [`PreNormBlock::forward`].
    fn turned(&self, qkv: Tensor<2>, angles: Tensor<2>, tokens: usize) -> Tensor<2> {
        // No image has more patches than tokens: more angles are those of all images, which are turned as one.
        let of_all = angles.dims()[0] > tokens;
        let tokens = if of_all { qkv.dims()[0] } else { tokens };
        vssl_kernels::rotate(qkv, angles, tokens, self.heads)
    }
}

impl FeedForward {
    /// Returns weight and bias of the first layer: of a gate, its rows come first.
    ///
    /// # Shapes — `[hidden, width]` and `[hidden]`, with a gate twice as many rows.
    fn first(&self) -> (Tensor<2>, Option<Tensor<1>>) {
        let layers = [&self.fc1, &self.fc1_g, &self.fc1_x].into_iter().flatten();
        let (weights, biases): (Vec<Tensor<2>>, Vec<Tensor<1>>) = layers
            .map(|layer| (layer.weight.val(), layer.bias.as_ref().expect("a bias").val()))
            .unzip();
        match <[_; 1]>::try_from(weights) {
            Ok([weight]) => (weight, biases.into_iter().next()),
            Err(weights) => (Tensor::cat(weights, 0), Some(Tensor::cat(biases, 0))),
        }
    }
}

/// Returns the bound of the uniform distribution of Glorot and Bengio 2010.
pub(crate) fn xavier(input: usize, output: usize) -> f64 {
    (6.0 / (input + output) as f64).sqrt()
}
