//! Cosine of rows with clamped norms, at any scale a single-precision number can have.
//!
//! `cos(a, b) = Σ a/max(|a|, 1e-8) · b/max(|b|, 1e-8)`. Squaring entries above 1.8e19 overflows and
//! squaring entries below 1e-23 vanishes, so each row is first divided by its largest entry; the
//! factor is a constant to the derivative because the cosine does not depend on it.
//! Called by `objective::gaussian` and by the methods for their health figures.

use burn::tensor::Tensor;

/// The lower bound of a row's norm in the denominator.
pub const NORM_FLOOR: f64 = 1e-8;

/// Rows whose largest entry is below this are far below the norm floor, and the reciprocal of a subnormal
/// number would overflow in their gradient.
const SMALLEST_SCALE: f64 = 1e-30;

/// Returns the cosine of the angle between the rows of `a` and of `b`; a zero row has cosine 0.
///
/// The gradient is finite everywhere: below the norm floor (a zero row included) it is that of
/// `Σ a·b / (1e-8·|b|)`.
///
/// # Shapes — `a`, `b`: `[n, d]`; returns `[n]`.
pub fn cosine_similarity(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let n = a.dims()[0];
    (directions(a) * directions(b)).sum_dim(1).reshape([n]) // [n, d] -> [n]
}

/// `a / max(|a|, 1e-8)` for each row.
///
/// # Shapes — `[n, d]` to `[n, d]`.
pub fn directions(a: Tensor<2>) -> Tensor<2> {
    let largest = a.clone().detach().abs().max_dim(1); // [n, d] -> [n, 1]
    let scale = largest.clamp_min(SMALLEST_SCALE);
    let floor = (scale.clone() / NORM_FLOOR).recip(); // 1e-8 / scale without its overflow
    let scaled = a / scale;
    // Every other row has a scaled norm of at least 1, so the inner bound changes only rows below the floor,
    // zero rows included. It keeps the square root's derivative finite, and the floor takes over.
    let squared = scaled.clone().square().sum_dim(1); // [n, d] -> [n, 1]
    let is_null = squared.clone().lower_elem(0.5);
    let norm = squared.clamp_min(0.5).sqrt().mask_fill(is_null, 0.0);
    scaled / norm.max_pair(floor)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn rows(values: [[f32; 3]; 2]) -> Tensor<2> {
        Tensor::from_floats(values, &Device::flex().autodiff()).require_grad()
    }

    fn values(t: Tensor<1>) -> Vec<f32> {
        t.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn zero_and_subnormal_rows_have_cosine_zero_and_finite_gradients() {
        // A subnormal number has no finite reciprocal.
        let a = rows([[0.0; 3], [0.0, 1.0, 0.0]]);
        let b = rows([[1.0, 2.0, 3.0], [1e-40, 0.0, 0.0]]);
        let cosine = cosine_similarity(a.clone(), b.clone());
        assert_eq!(values(cosine.clone()), [0.0, 0.0]);
        let gradients = cosine.sum().backward();
        for input in [a, b] {
            let gradient: Vec<f32> =
                input.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
            assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
        }
    }

    #[test]
    fn the_scale_of_a_row_does_not_matter_between_the_floor_and_the_largest_float() {
        for scale in [1e-7, 1.0, 1e12, 1e37] {
            let a = rows([[3.0 * scale, 0.0, 4.0 * scale], [scale, 0.0, 0.0]]);
            let b = rows([[1.0, 0.0, 0.0], [-2.0, 0.0, 0.0]]);
            let got = values(cosine_similarity(a, b));
            assert!((got[0] - 0.6).abs() < 1e-6 && (got[1] + 1.0).abs() < 1e-6, "{scale}: {got:?}");
        }
    }

    #[test]
    fn rows_below_the_floor_shrink_towards_zero() {
        let a = rows([[1e-9, 0.0, 0.0], [1e-40, 0.0, 0.0]]);
        let b = rows([[5.0, 0.0, 0.0], [1.0, 0.0, 0.0]]);
        let got = values(cosine_similarity(a, b));
        assert!((got[0] - 0.1).abs() < 1e-6, "{got:?}");
        assert!(got[1].abs() < 1e-30, "{got:?}");
    }

    #[test]
    fn not_a_number_stays_visible() {
        let a = rows([[f32::NAN, 0.0, 0.0], [1.0, 0.0, 0.0]]);
        let got = values(cosine_similarity(a.clone(), a));
        assert!(got[0].is_nan() && got[1] == 1.0, "{got:?}");
    }
}
