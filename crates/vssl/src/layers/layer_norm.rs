//! Layer normalisation (Ba et al. 2016, arXiv:1607.06450) with PyTorch's names.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::Init;

/// The ε of the variance as in timm's transformers; PyTorch's default is 1e-5.
const EPS: f64 = 1e-6;

/// Normalises each row, then scales and shifts it.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// The scale γ, `[c]`.
    pub weight: Param<Tensor<1>>,
    /// The shift β, `[c]`.
    pub bias: Param<Tensor<1>>,
}

impl LayerNorm {
    /// Makes a normalisation with γ = 1 and β = 0.
    pub fn new(width: usize, init: &Init) -> Self {
        Self { weight: init.constant([width], 1.0), bias: init.constant([width], 0.0) }
    }

    /// # Shapes — `[n, c]` to `[n, c]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let centred = x.clone() - x.mean_dim(1); // [n, c] − [n, 1]
        let variance = centred.clone().square().mean_dim(1);
        let normalised = centred / (variance + EPS).sqrt();
        normalised * self.weight.val().unsqueeze() + self.bias.val().unsqueeze()
    }
}
