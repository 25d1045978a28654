//! Activation functions that Burn offers only with an approximate derivative.

use burn::tensor::Tensor;

/// Exact GELU, `x · ½(1 + erf(x/√2))` (Hendrycks and Gimpel 2016, arXiv:1606.08415). It is composed of
/// simpler operations, because the backward pass of Burn's `gelu` is that of the tanh approximation.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * ((x / std::f64::consts::SQRT_2).erf() + 1.0) * 0.5
}
