//! The losses of iBOT (Zhou et al. 2022, arXiv:2111.07832, eq. 2) and DINOv2 (Oquab et al. 2024, arXiv:2304.07193,
//! section 4), in which a student predicts a teacher's distributions over prototypes.
//!
//! With the cross entropy `H(q, s) = −mean_rows Σ_k q_k · log softmax(s/T)_k`, two global crops A and B and L local crops:
//!
//! - class tokens, DINOv2: `[H(q_B, s_A) + H(q_A, s_B) + Σ_local (H(q_A, s) + H(q_B, s))] / terms`, where `terms` is
//!   2 + 2·L, and 3 without local crops;
//! - patches: `Σ_masked H(q, s) / (masked patches of the image) / images`, where the images without a mask count.
//!
//! Called by `methods::{ibot, dinov2}`. The targets are made by [`super::centring`] and [`mod@super::sinkhorn`].

use burn::tensor::Tensor;
use vssl_kernels::cross_entropy;

/// The two parts of DINOv2's loss of the class tokens, both already divided by the number of terms.
pub struct ClassLoss {
    /// Each global crop against the other's target, `[1]`.
    pub global: Tensor<1>,
    /// Each local crop against both targets, `[1]`; 0 without local crops.
    pub local: Tensor<1>,
}

/// Returns the number by which DINOv2 divides the sum of its cross entropies: the number of them, and one more where
/// there is no local crop.
pub fn terms(local_crops: usize) -> usize {
    2 + (2 * local_crops).max(1)
}

/// Returns DINOv2's loss of the class tokens.
///
/// # Shapes — each `[n, prototypes]`: the logits of the two global and of any number of local crops, and the targets of
/// the global crops in the same order. No gradient flows to the targets.
pub fn class_loss(
    global: [Tensor<2>; 2],
    local: &[Tensor<2>],
    targets: [Tensor<2>; 2],
    temperature: f64,
) -> ClassLoss {
    let terms = terms(local.len()) as f64;
    let mean = |logits: Tensor<2>, target: Tensor<2>| {
        cross_entropy(logits, target.detach(), 1.0 / temperature).mean() / terms
    };
    let [a, b] = global;
    let [of_a, of_b] = targets;
    // The cross entropy is linear in the targets: a local crop meets their sum.
    let both = of_a.clone() + of_b.clone();
    let local = local.iter().map(|logits| mean(logits.clone(), both.clone())).reduce(|x, y| x + y);
    let none = || Tensor::zeros([1], &both.device());
    ClassLoss { global: mean(a, of_b) + mean(b, of_a), local: local.unwrap_or_else(none) }
}

/// Returns DINOv2's loss of the class tokens of each image, `[n]`: the mean over the images is the sum of both parts of
/// [`class_loss`], whose arguments it takes.
pub fn class_losses(
    [a, b]: [Tensor<2>; 2],
    local: &[Tensor<2>],
    [of_a, of_b]: [Tensor<2>; 2],
    temperature: f64,
) -> Tensor<1> {
    let terms = terms(local.len()) as f64;
    let both = of_a.clone() + of_b.clone();
    let local = local.iter().map(|logits| (logits.clone(), both.clone()));
    let pairs = [(a, of_b), (b, of_a)].into_iter().chain(local);
    let rows =
        pairs.map(|(logits, target)| cross_entropy(logits, target.detach(), 1.0 / temperature));
    rows.reduce(|x, y| x + y).expect("there are two global crops") / terms
}

/// Returns the cross entropy of each masked patch times its share of the loss: the sum of all rows is the loss of the
/// patches. `shares` are 1/(masked patches of the row's image · images); see [`share`].
///
/// # Shapes — `logits`, `targets`: `[masked, prototypes]`; `shares`: `[masked]`; returns `[masked]`. No gradient flows to
/// the targets.
pub fn patch_losses(
    logits: Tensor<2>,
    targets: Tensor<2>,
    shares: Tensor<1>,
    temperature: f64,
) -> Tensor<1> {
    cross_entropy(logits, targets.detach(), 1.0 / temperature) * shares
}

/// Returns the share of the loss that each masked patch of an image has, where `masked` of its patches are masked and
/// the batch has `images` images, with and without mask.
pub fn share(masked: usize, images: usize) -> f32 {
    1.0 / (masked.max(1) * images.max(1)) as f32
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn there_is_a_third_term_without_local_crops() {
        assert_eq!([0, 1, 2, 8].map(terms), [3, 4, 6, 18]);
    }

    #[test]
    fn images_with_few_masked_patches_weigh_as_much_as_those_with_many() {
        let device = Device::flex().autodiff();
        let logits = Tensor::<2>::zeros([4, 2], &device);
        let targets = Tensor::<2>::from_floats([[1.0, 0.0]; 4], &device);
        // One image with one masked patch, one with three, and one without.
        let shares = [share(1, 3), share(3, 3), share(3, 3), share(3, 3)];
        let losses = patch_losses(logits, targets, Tensor::from_floats(shares, &device), 0.1);
        let loss = losses.sum().into_scalar::<f32>();
        assert!((loss - 2.0 * 2f32.ln() / 3.0).abs() < 1e-6, "{loss}");
    }
}
