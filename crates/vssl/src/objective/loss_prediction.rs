//! Losses of a head that predicts the loss of each image: by its value (Yoo and Kweon 2019, arXiv:1905.03677, section 3.3,
//! first form) or by its order (eq. 2 there, with the margin and the signs of the URL benchmark, Kirchhof et al. 2023,
//! arXiv:2307.03810). A head that was trained so is an uncertainty: the loss it expects of an image.
//!
//! Called by the head that a recipe's table `[uncertainty]` asks for. The losses are targets: what calls these functions
//! detaches them, unless the network should learn to have the losses that the head predicts.

use burn::tensor::Tensor;

/// The margin of [`order`] in the URL benchmark.
pub const MARGIN: f64 = 0.1;

/// `mean (predicted − loss)²`.
///
/// # Shapes — `predicted`, `losses`: `[n]`; returns `[1]`.
pub fn squared(predicted: Tensor<1>, losses: Tensor<1>) -> Tensor<1> {
    (predicted - losses).square().mean()
}

/// `mean over pairs max(0, margin − sign·(predicted_first − predicted_second))` over the pairs of consecutive rows (0, 1),
/// (2, 3) and so on; an odd row at the end belongs to no pair.
///
/// The sign is 1 where the first loss is larger than the second, and −1 elsewhere, for equal losses as well. It is 0 where
/// the losses are less than `leeway` apart: such a pair costs the margin and has no gradient. No gradient flows to
/// `losses`.
///
/// # Shapes — `predicted`, `losses`: `[n]`, n at least 2; returns `[1]`.
///
/// # Panics
/// There is no pair.
pub fn order(predicted: Tensor<1>, losses: Tensor<1>, margin: f64, leeway: f64) -> Tensor<1> {
    let pairs = losses.dims()[0] / 2;
    assert!(pairs > 0, "there is no pair of losses");
    let difference = |x: Tensor<1>| {
        let x = x.narrow(0, 0, 2 * pairs).reshape([pairs, 2]); // [2·pairs] -> [pairs, 2]
        (x.clone().narrow(1, 0, 1) - x.narrow(1, 1, 1)).reshape([pairs])
    };
    let truth = difference(losses.detach());
    let sign = truth.clone().greater_elem(0.0).float() * 2.0 - 1.0;
    let sign = sign.mask_fill(truth.abs().lower_elem(leeway), 0.0);
    (-(sign * difference(predicted)) + margin).clamp_min(0.0).mean()
}

/// Returns the mean over views of the losses of each image, from those of all views, one view after the other.
///
/// # Shapes — `[views·n]` to `[n]`.
pub fn over_views(losses: Tensor<1>, views: usize) -> Tensor<1> {
    let n = losses.dims()[0] / views;
    losses.reshape([views, n]).mean_dim(0).reshape([n]) // [views·n] -> [views, n] -> [1, n] -> [n]
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn row(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::flex().autodiff()).require_grad()
    }

    #[test]
    fn a_right_order_costs_nothing_and_losses_are_targets() {
        let (predicted, losses) =
            (row(&[2.0, 1.0, 0.0, 3.0, 9.0]), row(&[5.0, 4.0, 1.0, 1.5, 0.0]));
        let loss = order(predicted, losses.clone(), MARGIN, 0.0);
        assert_eq!(loss.clone().into_scalar::<f32>(), 0.0);
        assert!(losses.grad(&loss.backward()).is_none());
    }

    #[test]
    fn equal_losses_count_as_a_smaller_first_one() {
        let loss = order(row(&[0.5, 0.2]), row(&[1.0, 1.0]), MARGIN, 0.0);
        assert!((loss.into_scalar::<f32>() - 0.4).abs() < 1e-6);
        let near = order(row(&[0.5, 0.2]), row(&[1.0, 1.1]), MARGIN, 0.2);
        assert!((near.into_scalar::<f32>() - 0.1).abs() < 1e-6);
    }
}
