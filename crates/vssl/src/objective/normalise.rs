//! Rows of unit length as PyTorch's `normalize` makes them: `x / max(|x|, 1e-12)`.
//!
//! Called by the objectives that compare directions and by the weight-normalised layers. The cosine has
//! another floor: see [`super::cosine`].

use burn::tensor::Tensor;

const NORM_FLOOR: f64 = 1e-12;

/// Divides each row by its norm, or by 1e-12 if that is larger. A zero row stays zero and has the gradient of
/// `x / 1e-12`.
///
/// # Shapes — `[n, d]` to `[n, d]`.
pub fn unit_rows(x: Tensor<2>) -> Tensor<2> {
    // The derivative of the square root is infinite at zero. A row whose square is below the floor's square
    // gets the floor anyway.
    let norm = x.clone().square().sum_dim(1).clamp_min(NORM_FLOOR * NORM_FLOOR).sqrt(); // [n, 1]
    x / norm
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn rows_have_unit_length_and_zero_rows_stay_finite() {
        let x = Tensor::<2>::from_floats([[3.0, 4.0], [0.0, 0.0]], &Device::flex().autodiff())
            .require_grad();
        let unit = unit_rows(x.clone());
        let values: Vec<f32> = unit.clone().into_data().try_to_vec().unwrap();
        assert_eq!(values, [0.6, 0.8, 0.0, 0.0]);
        let gradients = unit.sum().backward();
        let gradient: Vec<f32> = x.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
    }
}
