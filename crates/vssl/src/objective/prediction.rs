//! Losses of methods that predict one view's projection from another's: BYOL (Grill et al. 2020,
//! arXiv:2006.07733, eq. 2) and SimSiam (Chen and He 2021, arXiv:2011.10566, eq. 1 and 2).
//!
//! Both are the cosine of a prediction p with a target z; `sg` stops the gradient of the target:
//!
//! `byol(p, z) = 2 − 2·mean cos(p, sg z)`, `simsiam(p, z) = −mean cos(p, sg z)`.
//!
//! Called by `methods::byol` and `methods::simsiam`.

use burn::tensor::Tensor;

use super::cosine::cosine_similarity;

/// Returns `2 − 2·cos(p, sg z)`, averaged over the batch: the squared distance of the unit vectors, from 0
/// (aligned) to 4 (opposed).
///
/// # Shapes — `prediction`, `target`: `[n, d]`; returns `[1]`. No gradient flows to `target`.
pub fn byol_pair(prediction: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    mean_cosine(prediction, target) * -2.0 + 2.0
}

/// Returns the sum of [`byol_pair`] over each target `a` and each prediction `b ≠ a`; views with a target
/// come first among the predictions. Two views give two terms and a value from 0 to 8.
///
/// # Shapes — each prediction and target: `[n, d]`; returns `[1]`. No gradient flows to `targets`.
///
/// # Panics
/// There is no pair of different views.
pub fn byol(predictions: &[Tensor<2>], targets: &[Tensor<2>]) -> Tensor<1> {
    let pairs = targets.iter().enumerate().flat_map(|(a, target)| {
        let others = predictions.iter().enumerate().filter(move |(b, _)| *b != a);
        others.map(|(_, prediction)| byol_pair(prediction.clone(), target.clone()))
    });
    pairs.reduce(|sum, pair| sum + pair).expect("there are two views at least")
}

/// Returns the loss [`byol`] of each image, `[n]`: the same sum without the mean over the batch.
///
/// # Shapes — each prediction and target: `[n, d]`; returns `[n]`. No gradient flows to `targets`.
///
/// # Panics
/// There is no pair of different views.
pub fn byol_rows(predictions: &[Tensor<2>], targets: &[Tensor<2>]) -> Tensor<1> {
    let pairs = targets.iter().enumerate().flat_map(|(a, target)| {
        let others = predictions.iter().enumerate().filter(move |(b, _)| *b != a);
        others.map(|(_, p)| cosine_similarity(p.clone(), target.clone().detach()) * -2.0 + 2.0)
    });
    pairs.reduce(|sum, pair| sum + pair).expect("there are two views at least")
}

/// Returns the loss [`simsiam`] of each image, `[n]`: the same without the mean over the batch.
///
/// # Shapes — all `[n, d]`; returns `[n]`. No gradient flows to the projections `z`.
pub fn simsiam_rows(p: [Tensor<2>; 2], z: [Tensor<2>; 2]) -> Tensor<1> {
    let ([p1, p2], [z1, z2]) = (p, z);
    (cosine_similarity(p1, z2.detach()) + cosine_similarity(p2, z1.detach())) * -0.5
}

/// Returns `−cos(p, sg z)`, averaged over the batch, from −1 (aligned) to 1 (opposed).
///
/// # Shapes — `prediction`, `target`: `[n, d]`; returns `[1]`. No gradient flows to `target`.
pub fn simsiam_pair(prediction: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    -mean_cosine(prediction, target)
}

/// Returns `½·[simsiam(p₁, z₂) + simsiam(p₂, z₁)]`.
///
/// # Shapes — all `[n, d]`; returns `[1]`. No gradient flows to the projections `z`.
pub fn simsiam(p: [Tensor<2>; 2], z: [Tensor<2>; 2]) -> Tensor<1> {
    let ([p1, p2], [z1, z2]) = (p, z);
    (simsiam_pair(p1, z2) + simsiam_pair(p2, z1)) * 0.5
}

fn mean_cosine(prediction: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    cosine_similarity(prediction, target.detach()).mean()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn rows(values: [[f32; 2]; 2]) -> Tensor<2> {
        Tensor::from_floats(values, &Device::flex().autodiff()).require_grad()
    }

    fn value(loss: Tensor<1>) -> f32 {
        loss.into_scalar()
    }

    #[test]
    fn aligned_and_opposed_rows_reach_the_bounds_at_any_length() {
        let p = || rows([[3.0, 4.0], [0.0, 2.0]]);
        let (same, opposed) = (rows([[0.6, 0.8], [0.0, 9.0]]), rows([[-6.0, -8.0], [0.0, -0.1]]));
        assert!(value(byol_pair(p(), same.clone())).abs() < 1e-6);
        assert!((value(byol_pair(p(), opposed.clone())) - 4.0).abs() < 1e-6);
        assert!((value(simsiam([p(), p()], [same.clone(), same])) + 1.0).abs() < 1e-6);
        assert!((value(simsiam([p(), p()], [opposed.clone(), opposed])) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_gradient_stops_at_the_targets() {
        let (p, z) = (rows([[1.0, 0.5], [0.0, 2.0]]), rows([[0.1, 0.8], [0.3, -0.1]]));
        let views = [p.clone(), p.clone()];
        let loss = byol(&views, &[z.clone(), z.clone()]) + simsiam(views, [z.clone(), z.clone()]);
        let gradients = loss.backward();
        assert!(p.grad(&gradients).is_some());
        assert!(z.grad(&gradients).is_none());
    }

    #[test]
    fn a_view_is_never_its_own_target() {
        let (a, b) = (rows([[1.0, 0.0], [1.0, 0.0]]), rows([[0.0, 1.0], [0.0, 1.0]]));
        // Each prediction equals its own target and is orthogonal to the other's.
        let views = [a.clone(), b.clone()];
        assert!((value(byol(&views, &views)) - 4.0).abs() < 1e-6);
        // A third view without a target meets both targets: six pairs would be wrong, four right.
        let three = [a.clone(), b.clone(), a];
        assert!((value(byol(&three, &views)) - 6.0).abs() < 1e-6);
    }
}
