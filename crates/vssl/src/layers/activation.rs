//! Activations that Burn has only with another derivative.

use burn::tensor::Tensor;

/// Exact GELU, `x · ½(1 + erf(x/√2))` (Hendrycks and Gimpel 2016, arXiv:1606.08415). Composed,
/// because the backward pass of Burn's own is that of the tanh approximation.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * ((x / std::f64::consts::SQRT_2).erf() + 1.0) * 0.5
}
