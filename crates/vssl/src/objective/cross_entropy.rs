//! Cross entropy of class labels, in which unlabelled rows do not count.
//!
//! `mean over labelled rows of logsumexp(logits) − logits[target]`. Called by fine-tuning and by
//! the objectives over clusters.

use burn::tensor::{Int, Tensor};
use vssl_kernels::log_sum_exp;

/// The label that marks an unlabelled row.
pub const UNLABELLED: i64 = -1;

/// Returns the mean cross entropy over the rows whose target is not −1. Without such a row, it is 0 with a
/// zero gradient.
///
/// # Shapes — `logits`: `[n, classes]`; `targets`: `[n]`, in `0..classes` or −1; returns `[1]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let n = logits.dims()[0];
    let unlabelled = targets.clone().equal_elem(UNLABELLED);
    let picked = targets.mask_fill(unlabelled.clone(), 0).reshape([n, 1]);
    let count = unlabelled.clone().bool_not().float().sum().clamp_min(1.0);
    let own = logits.clone().gather(1, picked).reshape([n]); // [n, classes] -> [n]
    let log_likelihood = own - log_sum_exp(logits, 1.0);
    // A product with 0 would not do, because infinity times 0 is not a number.
    let log_likelihood = log_likelihood.mask_fill(unlabelled, 0.0);
    -log_likelihood.sum() / count
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn no_labelled_row_gives_zero_loss_and_zero_gradient() {
        let device = Device::flex().autodiff();
        let logits = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, -1.0]], &device).require_grad();
        let loss = cross_entropy(logits.clone(), Tensor::from_ints([-1, -1], &device));
        assert_eq!(loss.clone().into_scalar::<f32>(), 0.0);
        let gradients = loss.backward();
        let gradient: Vec<f32> = logits.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        assert_eq!(gradient, [0.0; 4]);
    }

    #[test]
    fn unlabelled_rows_do_not_change_the_mean_whatever_they_are() {
        let device = Device::flex().autodiff();
        for second in [[3.0, -1.0], [-3e38, 3e38], [f32::NEG_INFINITY, 0.0]] {
            let both = Tensor::<2>::from_floats([[1.0, 2.0], second], &device).require_grad();
            let first = both.clone().slice([0..1, 0..2]);
            let with = cross_entropy(both.clone(), Tensor::from_ints([1, -1], &device));
            let without = cross_entropy(first, Tensor::from_ints([1], &device));
            let gradients = with.backward();
            assert_eq!(with.into_scalar::<f32>(), without.into_scalar::<f32>());
            let gradient = both.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap();
            assert_eq!(gradient[2..], [0.0; 2], "{second:?}");
        }
    }
}
