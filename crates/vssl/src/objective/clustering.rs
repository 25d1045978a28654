//! Losses of the methods that compare views through clusters: cross entropy of one view's predicted
//! cluster with the cluster of another (SwAV, arXiv:2006.09882, eq. 1 and 2; DINO, arXiv:2104.14294,
//! eq. 2).
//!
//! The method computes the clusters of a view, by Sinkhorn's assignments, a teacher's centred softmax or
//! k-means; the functions here take them as distributions or as numbers. Called by
//! `methods::{deepclusterv2, dino, swav}`.

use burn::tensor::{Int, Tensor};

use super::cross_entropy;

/// Returns the mean of `−mean_rows Σ_c target_a · log softmax(prediction_b / T)` over all pairs (a, b), b ≠
/// a, of a target and another view's prediction.
///
/// The targets belong to the first views, in the order of the predictions.
///
/// # Shapes — `predictions`: logits `[n, clusters]` of every view; `targets`: `[n, clusters]` of the
/// first of them; returns `[1]`. No gradient flows to the targets.
///
/// # Panics
/// There is no pair: either no target, or a single view.
pub fn swapped(predictions: &[Tensor<2>], targets: &[Tensor<2>], temperature: f64) -> Tensor<1> {
    let terms = swapped_terms(predictions, targets, temperature).map(|rows| rows.mean());
    let sum = terms.reduce(|x, y| x + y).expect("the caller has a target and another view");
    sum / pairs(predictions, targets)
}

/// Returns the loss [`swapped`] of each image, `[n]`: the same without the mean over rows.
///
/// # Panics
/// There is no pair: either no target, or a single view.
pub fn swapped_rows(
    predictions: &[Tensor<2>],
    targets: &[Tensor<2>],
    temperature: f64,
) -> Tensor<1> {
    let terms = swapped_terms(predictions, targets, temperature);
    let sum = terms.reduce(|x, y| x + y).expect("the caller has a target and another view");
    sum / pairs(predictions, targets)
}

/// The cross entropies of the rows of each view's predictions with the targets of the other views.
fn swapped_terms(
    predictions: &[Tensor<2>],
    targets: &[Tensor<2>],
    temperature: f64,
) -> impl Iterator<Item = Tensor<1>> {
    predictions.iter().enumerate().filter_map(move |(b, logits)| {
        // The cross entropy is linear in the targets: their sum takes its part once.
        let others = targets.iter().enumerate().filter(|(a, _)| *a != b);
        let target = others.map(|(_, target)| target.clone().detach()).reduce(|x, y| x + y)?;
        Some(vssl_kernels::cross_entropy(logits.clone(), target, 1.0 / temperature))
    })
}

/// The number of pairs of a target and another view's prediction.
fn pairs(predictions: &[Tensor<2>], targets: &[Tensor<2>]) -> f64 {
    (targets.len() * predictions.len().saturating_sub(1)) as f64
}

/// Returns the mean over heads of the cross entropy of `scores / T` with the number of each image's cluster.
/// Images of the cluster −1 do not count. A head without an image that counts contributes 0 and a zero
/// gradient.
///
/// # Shapes — `scores`: `[views·n, clusters]` for each head, one view after the other; `targets`: `[n]`
/// for each head; returns `[1]`.
///
/// # Panics
/// There is no head.
pub fn numbered(scores: &[Tensor<2>], targets: &[Tensor<1, Int>], temperature: f64) -> Tensor<1> {
    let terms = scores.iter().zip(targets).map(|(scores, targets)| {
        let views = scores.dims()[0] / targets.dims()[0];
        let targets = targets.clone().repeat_dim(0, views); // [n] -> [views·n]
        cross_entropy(scores.clone() / temperature, targets)
    });
    let sum = terms.reduce(|x, y| x + y).expect("the caller has a head");
    sum / scores.len() as f64
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn rows(values: [[f32; 2]; 1]) -> Tensor<2> {
        Tensor::from_floats(values, &Device::flex().autodiff()).require_grad()
    }

    #[test]
    fn a_view_is_never_its_own_target() {
        // Each target is what the other view predicts; its own view predicts the opposite.
        let (left, right) = ([[40.0, 0.0]], [[0.0, 40.0]]);
        let targets = [rows([[0.0, 1.0]]), rows([[1.0, 0.0]])];
        let loss: f32 = swapped(&[rows(left), rows(right)], &targets, 1.0).into_scalar();
        assert!(loss.abs() < 1e-6, "{loss}");
        let loss: f32 = swapped(&[rows(right), rows(left)], &targets, 1.0).into_scalar();
        assert!((loss - 40.0).abs() < 1e-4, "{loss}");
    }

    #[test]
    fn further_views_predict_and_are_no_targets() {
        let (flat, target) = ([[0.0, 0.0]], [[1.0, 0.0]]);
        let views = [rows(flat), rows(flat), rows([[0.0, 3.0]])];
        let loss: f32 = swapped(&views, &[rows(target), rows(target)], 1.0).into_scalar();
        // Of four pairs two are with the third view.
        let expected = (2.0_f32.ln() + (1.0 + 3.0_f32.exp()).ln()) / 2.0;
        assert!((loss - expected).abs() < 1e-5, "{loss} against {expected}");
    }

    #[test]
    fn a_head_without_a_cluster_adds_nothing_and_every_view_has_its_images_cluster() {
        let device = Device::flex().autodiff();
        // Two views of two images; the first image is in cluster 1, the second in none.
        let scores =
            Tensor::<2>::from_floats([[0.0, 2.0], [9.0, 0.0], [0.0, 1.0], [5.0, 5.0]], &device)
                .require_grad();
        let one = Tensor::from_ints([1, -1], &device);
        let none = Tensor::from_ints([-1, -1], &device);
        let loss = numbered(&[scores.clone(), scores.clone()], &[one, none.clone()], 1.0);
        let each = |margin: f32| (1.0 + (-margin).exp()).ln();
        let expected = (each(2.0) + each(1.0)) / 2.0 / 2.0;
        assert!((loss.into_scalar::<f32>() - expected).abs() < 1e-6);
        let loss = numbered(std::slice::from_ref(&scores), &[none], 0.1);
        assert_eq!(loss.clone().into_scalar::<f32>(), 0.0);
        let gradients = loss.backward();
        let gradient = scores.grad(&gradients).unwrap().abs().max();
        assert_eq!(gradient.into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn gradients_reach_predictions_and_not_targets() {
        let (a, b) = (rows([[1.0, 0.0]]), rows([[0.0, 2.0]]));
        let target = rows([[0.5, 0.5]]);
        let gradients =
            swapped(&[a.clone(), b.clone()], &[target.clone(), target.clone()], 0.1).backward();
        assert!(a.grad(&gradients).is_some() && b.grad(&gradients).is_some());
        assert!(target.grad(&gradients).is_none());
    }
}
