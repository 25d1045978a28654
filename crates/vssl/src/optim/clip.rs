//! Gradient clipping: of the norm over all parameters (Pascanu et al. 2013, arXiv:1211.5063), or of each
//! tensor's norm as in DINO.

use burn::tensor::Tensor;
use vssl_kernels::sum_of_squares;

use super::Gradients;

/// The number that is added to a norm before the division.
const EPSILON: f64 = 1e-6;

/// The norm that is bounded, and its bound: a number above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// The bound is for the norm of all gradients together.
    GlobalNorm(f64),
    /// The bound is for the norm of each tensor's gradient.
    PerTensor(f64),
}

impl Clip {
    /// Clips the gradients: they are multiplied by `c = limit / (norm + 1e-6)` where `c < 1`.
    pub fn apply(&self, gradients: Gradients) -> Gradients {
        match *self {
            Clip::GlobalNorm(limit) => gradients.clip_global_norm(limit),
            Clip::PerTensor(limit) => gradients.clip_per_tensor(limit),
        }
    }
}

impl Gradients {
    /// Scales all gradients so that their common norm is at most `limit`.
    pub fn clip_global_norm(self, limit: f64) -> Self {
        let Some(norm) = self.global_norm() else { return self };
        let factor = factor(norm, limit);
        let clipped = |gradient: Tensor<1>| gradient * factor.clone();
        Self(self.0.into_iter().map(|(path, gradient)| (path, clipped(gradient))).collect())
    }

    /// Scales each gradient so that its own norm is at most `limit`.
    pub fn clip_per_tensor(self, limit: f64) -> Self {
        let clipped = |gradient: Tensor<1>| {
            let norm = sum_of_squares(gradient.clone()).sqrt();
            gradient * factor(norm, limit)
        };
        Self(self.0.into_iter().map(|(path, gradient)| (path, clipped(gradient))).collect())
    }
}

/// Returns `min(limit / (norm + 1e-6), 1)`, still on the device.
fn factor(norm: Tensor<1>, limit: f64) -> Tensor<1> {
    ((norm + EPSILON).recip() * limit).clamp_max(1.0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn gradients(a: [f32; 2], b: [f32; 1]) -> Gradients {
        let device = Device::flex();
        let tensors = [
            ("a".to_owned(), Tensor::from_floats(a, &device)),
            ("b".to_owned(), Tensor::from_floats(b, &device)),
        ];
        Gradients(tensors.into_iter().collect())
    }

    fn norm(gradients: &Gradients) -> f32 {
        gradients.global_norm().unwrap().into_scalar()
    }

    #[test]
    fn the_global_norm_spans_all_tensors_and_is_bounded() {
        let before = gradients([3.0, 0.0], [4.0]);
        assert_eq!(norm(&before), 5.0);
        assert!((norm(&before.clone().clip_global_norm(1.0)) - 1.0).abs() < 1e-5);
        assert_eq!(norm(&before.clip_global_norm(50.0)), 5.0);
    }

    #[test]
    fn clipping_nothing_gives_nothing() {
        assert!(Gradients::default().clip_global_norm(1.0).0.is_empty());
        assert!(Gradients::default().global_norm().is_none());
    }

    #[test]
    fn zero_gradients_stay_zero() {
        assert_eq!(norm(&gradients([0.0; 2], [0.0]).clip_global_norm(1.0)), 0.0);
        assert_eq!(norm(&gradients([0.0; 2], [0.0]).clip_per_tensor(1.0)), 0.0);
    }

    #[test]
    fn accumulation_adds_and_keeps_what_is_on_one_side_only() {
        let mut other = gradients([1.0, 1.0], [1.0]);
        other.0.remove("b");
        let sum = gradients([3.0, 0.0], [4.0]).accumulate(other).scale(0.5);
        assert_eq!(sum.0["a"].to_data().try_to_vec::<f32>().unwrap(), [2.0, 0.5]);
        assert_eq!(sum.0["b"].to_data().try_to_vec::<f32>().unwrap(), [2.0]);
    }
}
