//! Linear layers: plain, and weight-normalised.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use vssl_kernels::breakdown::{self, Part};

use super::{Init, LayerScale};
use crate::objective::unit_rows;

/// A linear layer: `x · weightᵀ + bias`.
#[derive(Module, Debug)]
pub struct Linear {
    /// The weight, `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// The bias, `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Makes a layer whose weight and bias are uniform in ±1/√in: PyTorch's default.
    pub fn new(input: usize, output: usize, init: &Init) -> Self {
        let bound = 1.0 / (input as f64).sqrt();
        Self {
            weight: init.uniform([output, input], bound),
            bias: Some(init.uniform([output], bound)),
        }
    }

    /// Makes a layer as [`Linear::new`] does, without a bias.
    pub fn without_bias(input: usize, output: usize, init: &Init) -> Self {
        Self { weight: init.uniform([output, input], 1.0 / (input as f64).sqrt()), bias: None }
    }

    /// # Shapes — `[n, in]` to `[n, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        vssl_kernels::linear(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// Returns `residual + scale · forward(x)`, or with `with_gelu` `residual + scale · forward(gelu(x))`. The scale
    /// is 1 where it is `None`; it is multiplied into the weight, which has far fewer numbers than the output.
    ///
    /// # Shapes — `x`: `[n, in]`; `residual`: `[n, out]`, unchanged.
    pub fn forward_added(
        &self,
        x: Tensor<2>,
        with_gelu: bool,
        scale: Option<&LayerScale>,
        residual: Tensor<2>,
    ) -> Tensor<2> {
        let (mut weight, mut bias) = (self.weight.val(), self.bias.as_ref().map(Param::val));
        if let Some(LayerScale { gamma }) = scale {
            weight = weight * gamma.val().unsqueeze_dim(1); // [out] -> [out, 1]
            bias = bias.map(|bias| bias * gamma.val());
        }
        vssl_kernels::linear_added(x, with_gelu, weight, bias, residual)
    }
}

/// A weight-normalised layer, `x · (g·v/|v|)ᵀ`, with one norm a row and no bias (Salimans and Kingma 2016,
/// arXiv:1602.07868).
///
/// Prototypes are unit rows and have no `g`: the division by the norm is part of the graph, so only a row's
/// direction is learned.
#[derive(Module, Debug)]
pub struct WeightNormLinear {
    /// The directions v, `[out, in]`.
    pub weight_v: Param<Tensor<2>>,
    /// The norms g, `[out, 1]`; without them every row has norm 1.
    pub weight_g: Option<Param<Tensor<2>>>,
}

impl WeightNormLinear {
    /// Makes a layer whose rows always have norm 1.
    pub fn unit(input: usize, output: usize, init: &Init) -> Self {
        Self { weight_v: Linear::without_bias(input, output, init).weight, weight_g: None }
    }

    /// Makes a layer whose rows begin with norm 1 and learn their norm.
    pub fn learned(input: usize, output: usize, init: &Init) -> Self {
        Self { weight_g: Some(init.constant([output, 1], 1.0)), ..Self::unit(input, output, init) }
    }

    /// Returns the weight that the layer multiplies by, `[out, in]`.
    pub fn weight(&self) -> Tensor<2> {
        let unit = unit_rows(self.weight_v.val());
        match &self.weight_g {
            Some(norms) => unit * norms.val(),
            None => unit,
        }
    }

    /// # Shapes — `[n, in]` to `[n, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        breakdown::network(Part::Heads, || vssl_kernels::linear(x, self.weight(), None))
    }
}
