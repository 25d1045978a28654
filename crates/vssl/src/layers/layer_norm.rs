//! Layer normalisation (Ba et al. 2016, arXiv:1607.06450) with PyTorch's names.

use burn::{
    module::{Module, Param},
    tensor::{DType, Tensor},
};

use super::{Init, Linear};

/// The ε of the variance as in timm's transformers; PyTorch's default is 1e-5.
const EPS: f64 = 1e-6;

/// Normalises each row, then scales and shifts it.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// The scale γ, `[c]`.
    pub weight: Param<Tensor<1>>,
    /// The shift β, `[c]`.
    pub bias: Param<Tensor<1>>,
    /// What is added to the variance.
    pub(super) eps: f64,
}

impl LayerNorm {
    /// Makes a normalisation with γ = 1, β = 0 and ε = 1e-6.
    pub fn new(width: usize, init: &Init) -> Self {
        Self { weight: init.constant([width], 1.0), bias: init.constant([width], 0.0), eps: EPS }
    }

    /// Sets ε, which is added to the variance.
    pub fn with_eps(self, eps: f64) -> Self {
        Self { eps, ..self }
    }

    /// # Shapes — `[n, c]` to `[n, c]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        vssl_kernels::layer_norm(x, self.weight.val(), self.bias.val(), self.eps)
    }

    /// Returns what `linear` makes of the normalised rows, computed in `precision`.
    ///
    /// # Shapes — `[n, in]` to `[n, out]`.
    pub fn forward_linear(&self, x: Tensor<2>, linear: &Linear, precision: DType) -> Tensor<2> {
        let (weight, bias) = (linear.weight.val(), linear.bias.as_ref().map(Param::val));
        self.forward_product(x, weight, bias, precision)
    }

    /// Returns what a linear layer with this weight and bias makes of the normalised rows, computed in `precision`.
    ///
    /// # Shapes — `x`: `[n, in]`; `weight`: `[out, in]`; `bias`: `[out]`; returns `[n, out]`.
    pub fn forward_product(
        &self,
        x: Tensor<2>,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        precision: DType,
    ) -> Tensor<2> {
        let factors = [self.weight.val(), self.bias.val()];
        vssl_kernels::norm_linear(x, factors, self.eps, weight, bias, precision)
    }
}
