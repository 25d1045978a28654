//! The feature term of All4One (Estepa et al. 2023, arXiv:2303.09417, section 3.3): the columns of one view's projections
//! should agree with those of the other, and with none else. The other terms are those of NNCLR: see
//! [`super::contrastive::nnclr`]. Called by `methods::all4one`.

use burn::tensor::Tensor;
use vssl_kernels::off_diagonal_squares;

use super::normalise::unit_rows;

/// The factor of the term.
const FACTOR: f64 = 10.0;

/// Below this mean square a root is taken of the bound, whose derivative is finite.
const FLOOR: f64 = 1e-12;

/// Returns `10·(½·on + ½·off)`. With the columns of both sides at length 1 and not centred, `C₁ = k₁ᵀz₂` and `C₂ =
/// k₂ᵀz₁`; `on` is the root of the mean of `(Cᵢᵢ − 1)²` over both diagonals, `off` the root of the mean square of all
/// other entries.
///
/// # Shapes — all `[n, d]`, d at least 2; returns `[1]`. No gradient flows to `targets`.
pub fn feature_term(targets: [Tensor<2>; 2], projections: [Tensor<2>; 2]) -> Tensor<1> {
    let columns = |x: Tensor<2>| unit_rows(x.transpose()).transpose();
    let d = targets[0].dims()[1] as f64;
    let ([k1, k2], [z1, z2]) = (targets, projections);
    let terms = [(k1, z2), (k2, z1)].map(|(target, projection)| {
        let (a, b) = (columns(target.detach()), columns(projection));
        let own = (a.clone() * b.clone()).sum_dim(0); // [n, d] -> [1, d]
        ((own - 1.0).square().sum(), off_diagonal_squares(a, b))
    });
    let [(on1, off1), (on2, off2)] = terms;
    let root = |sum: Tensor<1>, count: f64| (sum / count).clamp_min(FLOOR).sqrt();
    (root(on1 + on2, 2.0 * d) + root(off1 + off2, 2.0 * d * (d - 1.0))) * (0.5 * FACTOR)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn columns_at_right_angles_that_agree_cost_nothing() {
        let device = Device::flex().autodiff();
        let x = || Tensor::<2>::from_floats([[2.0, 0.0], [0.0, 0.1]], &device);
        let same = feature_term([x(), x()], [x(), x()]).into_scalar::<f32>();
        assert!(same.abs() < 1e-3, "{same}");
        let swapped = || Tensor::<2>::from_floats([[0.0, 2.0], [0.1, 0.0]], &device);
        let other = feature_term([x(), x()], [swapped(), swapped()]).into_scalar::<f32>();
        assert!((other - 10.0).abs() < 1e-3, "{other}: nothing on the diagonal, all beside it");
    }
}
