//! Layer normalisation (Ba et al. 2016, arXiv:1607.06450) with PyTorch's names.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::Init;

/// timm's for transformers; PyTorch's default is 1e-5.
const EPS: f64 = 1e-6;

/// Normalisation of each row, then scale and shift.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale γ, `[c]`.
    pub weight: Param<Tensor<1>>,
    /// Shift β, `[c]`.
    pub bias: Param<Tensor<1>>,
}

impl LayerNorm {
    /// γ = 1, β = 0.
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
