//! A transformer encoder whose normalisations come after the residual sums (Vaswani et al. 2017, arXiv:1706.03762, section
//! 3.1), with PyTorch's names and initial values: the head of All4One. It has no dropout.

use burn::{
    module::{Module, Param},
    tensor::{Tensor, activation},
};
use vssl_kernels::breakdown::{self, Part};

use super::{Init, LayerNorm, Linear, budget::claim};

/// PyTorch's ε of a layer normalisation.
const EPS: f64 = 1e-5;

/// Layers one after another, without a last normalisation.
#[derive(Module, Debug)]
pub struct PostNormEncoder {
    layers: Vec<Layer>,
    heads: usize,
}

#[derive(Module, Debug)]
struct Layer {
    self_attn: Attention,
    linear1: Linear,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
}

#[derive(Module, Debug)]
struct Attention {
    in_proj_weight: Param<Tensor<2>>,
    in_proj_bias: Param<Tensor<1>>,
    out_proj: Linear,
}

impl PostNormEncoder {
    /// Makes `layers` layers of `heads` heads for tokens of length `width`. All layers start with the same values, as
    /// PyTorch makes them: it copies one.
    pub fn new([layers, heads, width, hidden]: [usize; 4], init: &Init) -> Self {
        let mut out_proj = Linear::new(width, width, init);
        out_proj.bias = Some(init.constant([width], 0.0));
        // Xavier's bound for the queries, keys and values as one matrix.
        let bound = (6.0 / (4 * width) as f64).sqrt();
        let first = Layer {
            self_attn: Attention {
                in_proj_weight: init.uniform([3 * width, width], bound),
                in_proj_bias: init.constant([3 * width], 0.0),
                out_proj,
            },
            linear1: Linear::new(width, hidden, init),
            linear2: Linear::new(hidden, width, init),
            norm1: LayerNorm::new(width, init).with_eps(EPS),
            norm2: LayerNorm::new(width, init).with_eps(EPS),
        };
        let copies = (1..layers).map(|_| first.copy()).collect::<Vec<_>>();
        Self { layers: std::iter::once(first).chain(copies).collect(), heads }
    }

    /// # Shapes — `x`: `[n · tokens, width]`; returns the same.
    pub fn forward(&self, x: Tensor<2>, tokens: usize) -> Tensor<2> {
        breakdown::network(Part::Heads, || {
            self.layers.iter().fold(x, |x, layer| layer.forward(x, tokens, self.heads))
        })
    }
}

impl Layer {
    fn forward(&self, x: Tensor<2>, tokens: usize, heads: usize) -> Tensor<2> {
        let Attention { in_proj_weight, in_proj_bias, out_proj } = &self.self_attn;
        let (weight, bias) = (in_proj_weight.val(), Some(in_proj_bias.val()));
        let qkv = vssl_kernels::linear(x.clone(), weight, bias);
        let attended = out_proj.forward(vssl_kernels::attention(qkv, tokens, heads));
        let x = self.norm1.forward(x + attended);
        let hidden = activation::relu(self.linear1.forward(x.clone()));
        self.norm2.forward(x + self.linear2.forward(hidden))
    }

    /// A layer with the same values in parameters of its own.
    fn copy(&self) -> Self {
        fn of<const D: usize>(param: &Param<Tensor<D>>) -> Param<Tensor<D>> {
            claim(&param.dims());
            Param::from_tensor(param.val().detach())
        }
        let linear = |layer: &Linear| Linear {
            weight: of(&layer.weight),
            bias: layer.bias.as_ref().map(of),
        };
        let norm = |norm: &LayerNorm| LayerNorm {
            weight: of(&norm.weight),
            bias: of(&norm.bias),
            eps: norm.eps,
        };
        Self {
            self_attn: Attention {
                in_proj_weight: of(&self.self_attn.in_proj_weight),
                in_proj_bias: of(&self.self_attn.in_proj_bias),
                out_proj: linear(&self.self_attn.out_proj),
            },
            linear1: linear(&self.linear1),
            linear2: linear(&self.linear2),
            norm1: norm(&self.norm1),
            norm2: norm(&self.norm2),
        }
    }
}
