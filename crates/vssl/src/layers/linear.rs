//! Linear layers and the two-layer heads.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::{BatchNorm, Init, Mode};

/// `x · weightᵀ + bias`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Uniform in ±1/√in for weight and bias: PyTorch's default.
    pub fn new(input: usize, output: usize, init: &Init) -> Self {
        let bound = 1.0 / (input as f64).sqrt();
        Self {
            weight: init.uniform([output, input], bound),
            bias: Some(init.uniform([output], bound)),
        }
    }

    /// # Shapes — `[n, in]` to `[n, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        vssl_kernels::linear(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}

/// linear → batch norm → ReLU → linear: the projector and predictor of BYOL (Grill et al. 2020,
/// arXiv:2006.07733, appendix J) and all heads of VSSL.
#[derive(Module, Debug)]
pub struct Mlp {
    hidden: Linear,
    norm: BatchNorm,
    output: Linear,
}

impl Mlp {
    /// `input → hidden → output`.
    pub fn new(input: usize, hidden: usize, output: usize, init: &Init) -> Self {
        Self {
            hidden: Linear::new(input, hidden, init),
            norm: BatchNorm::new(hidden, init),
            output: Linear::new(hidden, output, init),
        }
    }

    /// # Shapes — `[n, in]` to `[n, out]`.
    pub fn forward(&self, x: Tensor<2>, mode: Mode) -> Tensor<2> {
        self.output.forward(self.norm.forward_rows(self.hidden.forward(x), true, mode))
    }
}
