//! DINO's targets: a teacher's logits, centred and sharpened (Caron et al. 2021, arXiv:2104.14294,
//! section 3.1).
//!
//! The targets are `q = softmax((t − c)/T)`, and the centre follows
//! `c ← m·c + (1 − m)·mean of t over the batch`. The centre keeps single prototypes from winning everywhere;
//! the low temperature keeps the prototypes from becoming alike. Called by `methods::{dino, dinov2, ibot}`.

use burn::tensor::Tensor;
use vssl_kernels::softmax;

/// Returns `softmax((logits − center)/temperature)` of each row.
///
/// # Shapes — `logits`: `[n, k]`; `center`: `[1, k]`; returns `[n, k]`. No gradient flows to either.
pub fn centred_softmax(logits: Tensor<2>, center: Tensor<2>, temperature: f64) -> Tensor<2> {
    softmax(logits.detach() - center.detach(), 1.0 / temperature)
}

/// Returns `momentum·center + (1 − momentum)·mean of the rows`.
///
/// # Shapes — `center`: `[1, k]`; `logits`: `[n, k]`; returns `[1, k]`. No gradient flows to either.
pub fn next_center(center: Tensor<2>, logits: Tensor<2>, momentum: f64) -> Tensor<2> {
    center.detach() * momentum + logits.detach().mean_dim(0) * (1.0 - momentum)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn rows<const N: usize>(values: [[f32; 2]; N]) -> Tensor<2> {
        Tensor::from_floats(values, &Device::flex())
    }

    fn values(x: Tensor<2>) -> Vec<f32> {
        x.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn logits_at_the_centre_are_uniform_whatever_the_temperature() {
        let q = centred_softmax(rows([[300.0, -7.0]]), rows([[300.0, -7.0]]), 0.01);
        assert_eq!(values(q), [0.5, 0.5]);
    }

    #[test]
    fn the_centre_moves_towards_the_mean_by_one_minus_the_momentum() {
        let next = next_center(rows([[1.0, 0.0]]), rows([[3.0, 0.0], [5.0, 8.0]]), 0.75);
        assert_eq!(values(next), [1.75, 1.0]);
    }
}
