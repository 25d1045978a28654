//! Layer-wise adaptive rates (You et al. 2017, arXiv:1708.03888; the clipped form is LARC):
//! `ratio = η|w| / (|g| + λ|w| + ε)`, clipped `min(ratio/r, 1)`; `g = ratio·(g + λw)`.

use burn::tensor::Tensor;

/// Numbers of the rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrustRatio {
    pub(super) eta: f64,
    pub(super) eps: f64,
    pub(super) clip_lr: bool,
    pub(super) weight_decay: f64,
}

/// The gradient with weight decay, scaled by the trust ratio. Where the weight or the gradient is
/// all zero it comes back as it is, without weight decay.
///
/// Norms stay on the device: nothing is read back in a step.
///
/// # Shapes — all `[length]`.
pub(super) fn scaled(
    weight: &Tensor<1>,
    gradient: Tensor<1>,
    rate: f64,
    rule: TrustRatio,
) -> Tensor<1> {
    let weight_norm = norm(weight.clone()); // [1]
    let gradient_norm = norm(gradient.clone()); // [1]
    let idle = weight_norm
        .clone()
        .lower_equal_elem(0.0)
        .bool_or(gradient_norm.clone().lower_equal_elem(0.0)); // [1]
    let denominator = gradient_norm + weight_norm.clone() * rule.weight_decay + rule.eps;
    let ratio = weight_norm.clone() * rule.eta / denominator;
    let ratio = match rule.clip_lr {
        false => ratio,
        true if rate == 0.0 => ratio.ones_like(),
        true => (ratio / rate).clamp_max(1.0),
    };
    let decay = weight_norm.full_like(rule.weight_decay).mask_fill(idle.clone(), 0.0);
    (gradient + weight.clone() * decay) * ratio.mask_fill(idle, 1.0)
}

fn norm(x: Tensor<1>) -> Tensor<1> {
    x.square().sum().sqrt()
}
