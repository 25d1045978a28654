//! KoLeo, the Kozachenko–Leonenko regulariser (Sablayrolles et al. 2019, arXiv:1806.03198; as DINOv2 uses it, Oquab et
//! al. 2024, arXiv:2304.07193, section 4): rows spread over the sphere when each is far from its nearest neighbour.
//!
//! `L = −mean_i ln(|zᵢ − z_nn(i) + ε| + ε)` with unit rows z, the most similar other row nn(i) and ε = 1e-8, which is
//! added to every component of the difference and to the distance. Called by `methods::dinov2`.

use burn::tensor::{Bool, Int, Tensor};
use vssl_kernels::linear;

/// The floor of the norms, and what is added to differences and distances.
const EPSILON: f64 = 1e-8;

/// Returns the regulariser. Gradients flow to each row and to its neighbour.
///
/// # Shapes — `[n, d]`, n at least 2, to `[1]`.
pub fn koleo(x: Tensor<2>) -> Tensor<1> {
    let unit = unit(x);
    let neighbours = unit.clone().select(0, nearest_of(&unit));
    let difference = unit - neighbours + EPSILON;
    let distance = difference.square().sum_dim(1).sqrt(); // [n, d] -> [n, 1]
    -(distance + EPSILON).log().mean()
}

/// Returns the number of the row, other than the row itself, with the largest cosine.
///
/// # Shapes — `[n, d]`, n at least 2, to `[n]`.
pub fn nearest_others(x: Tensor<2>) -> Tensor<1, Int> {
    nearest_of(&unit(x))
}

/// For rows of length 1 the largest cosine is the smallest distance. Rows that are almost alike, as at the start of a
/// training, have cosines that rounding makes equal; the distances of rows without their mean keep their digits.
fn nearest_of(unit: &Tensor<2>) -> Tensor<1, Int> {
    let n = unit.dims()[0];
    let unit = unit.clone().detach();
    let centred = unit.clone() - unit.mean_dim(0); // [n, d] − [1, d]
    let squares = centred.clone().square().sum_dim(1).transpose(); // [n, 1] -> [1, n]
    let itself = Tensor::<2, Bool>::diag_mask([n, n], 0, &centred.device()).bool_not();
    // −|a − b|² without |a|², which is the same for all b.
    let nearness = linear(centred.clone(), centred, None) * 2.0 - squares; // [n, n]
    nearness.mask_fill(itself, f64::NEG_INFINITY).argmax(1).reshape([n])
}

fn unit(x: Tensor<2>) -> Tensor<2> {
    // The root of a zero row's square has no derivative; the floor's square has.
    let norm = x.clone().square().sum_dim(1).clamp_min(EPSILON * EPSILON).sqrt(); // [n, 1]
    x / norm
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn rows_apart_have_a_lower_loss_than_rows_that_meet() {
        let rows = |values: [[f32; 2]; 4]| Tensor::<2>::from_floats(values, &Device::flex());
        let value = |x: Tensor<2>| koleo(x).into_scalar::<f32>();
        let apart = rows([[3.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -5.0]]);
        assert!((value(apart.clone()) + 2f32.sqrt().ln()).abs() < 1e-6);
        assert!(value(apart) < value(rows([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])));
    }

    #[test]
    fn rows_that_are_almost_alike_have_the_neighbours_that_they_have_in_double_precision() {
        // On a short arc: the cosines of all pairs are 1 in single precision.
        let angles = [0.0, 3e-5, 4e-5, 9e-5_f64];
        let rows = angles.map(|angle| [angle.cos() as f32, angle.sin() as f32]);
        let found = nearest_others(Tensor::<2>::from_floats(rows, &Device::flex()));
        assert_eq!(found.into_data().iter::<i64>().collect::<Vec<_>>(), [1, 2, 1, 2]);
    }

    #[test]
    fn zero_rows_and_equal_rows_stay_finite() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_floats([[0.0, 0.0], [1.0, 2.0], [1.0, 2.0]], &device);
        let x = x.require_grad();
        let loss = koleo(x.clone());
        assert!(loss.clone().into_scalar::<f32>().is_finite());
        let gradient = x.grad(&loss.backward()).unwrap().abs().sum().into_scalar::<f32>();
        assert!(gradient.is_finite(), "{gradient}");
    }
}
