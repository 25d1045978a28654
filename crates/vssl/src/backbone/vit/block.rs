//! A block of a vision transformer, with the names of timm's `VisionTransformer` or, with rotary positions, of its `Eva`.

use burn::{
    module::{Module, Param},
    tensor::{DType, Tensor},
};

use super::super::{Mlp, Positions, VitConfig};
use crate::layers::{Init, LayerNorm, LayerScale, Linear};

/// A block: attention and a second part, each added to the residual stream.
#[derive(Module, Debug)]
pub(super) struct Block {
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

impl Block {
    /// Makes the block number `index`.
    pub(super) fn new(config: &VitConfig, index: usize, init: &Init) -> Self {
        let (width, hidden, positions) = (config.width(), config.hidden(), config.positions);
        let rotary = config.is_rotary();
        let linear = |input: usize, output: usize, parts: usize, with_bias: bool| Linear {
            weight: match positions {
                Positions::Learned | Positions::Rotary => {
                    init.truncated_normal([output, input], 0.02)
                }
                Positions::Sincos => init.uniform([output, input], xavier(input, output / parts)),
            },
            bias: with_bias.then(|| init.constant([output], 0.0)),
        };
        let last = |input: usize| match rotary {
            false => linear(input, width, 1, true),
            true => Linear {
                weight: init
                    .truncated_normal([width, input], 0.02 / (2.0 * (index + 1) as f64).sqrt()),
                bias: Some(init.constant([width], 0.0)),
            },
        };
        let (scale, scaled) = (config.layer_scale, config.layer_scale > 0.0);
        let factors = || (scaled && !rotary).then(|| LayerScale::new(width, scale as f32, init));
        let gamma = || (scaled && rotary).then(|| init.constant([width], scale as f32));
        let bias = || (config.qkv_bias && rotary).then(|| init.constant([width], 0.0));
        let is_gated = config.mlp == Mlp::Swiglu;
        let parts = if is_gated { 2 } else { 1 };
        let split = rotary && is_gated;
        let norm = || LayerNorm::new(width, init).with_eps(config.eps());
        Self {
            norm1: norm(),
            attn: Attention {
                qkv: linear(width, 3 * width, 3, config.qkv_bias && !rotary),
                q_bias: bias(),
                v_bias: bias(),
                proj: last(width),
                heads: config.heads(),
            },
            ls1: factors(),
            gamma_1: gamma(),
            norm2: norm(),
            mlp: FeedForward {
                fc1: (!split).then(|| linear(width, parts * hidden, parts, true)),
                fc1_g: split.then(|| linear(width, hidden, 1, true)),
                fc1_x: split.then(|| linear(width, hidden, 1, true)),
                fc2: last(hidden),
                is_gated,
            },
            ls2: factors(),
            gamma_2: gamma(),
        }
    }

    /// Returns the number of attention heads.
    pub(super) fn heads(&self) -> usize {
        self.attn.heads
    }

    /// Runs a block whose matrix products are in `precision`; `angles` are the rotary positions, if it has them.
    ///
    /// # Shapes — `[n, tokens, width]`, unchanged.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        angles: Option<&Tensor<2>>,
        precision: DType,
    ) -> Tensor<3> {
        let [n, tokens, width] = x.dims();
        let rows = x.reshape([n * tokens, width]);
        let (weight, bias) = self.attn.queries_keys_values();
        let qkv = self.norm1.forward_product(rows.clone(), weight, bias, precision);
        let qkv = match angles {
            Some(angles) => vssl_kernels::rotate(qkv, angles.clone(), tokens, self.attn.heads),
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

impl Attention {
    /// Returns weight and bias of the layer that makes queries, keys and values. Where queries and values have biases of their own, keys have
    /// none.
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
pub(super) fn xavier(input: usize, output: usize) -> f64 {
    (6.0 / (input + output) as f64).sqrt()
}
