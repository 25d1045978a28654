//! Adam (Kingma and Ba 2015, arXiv:1412.6980) with bias correction; `ε` is added outside the
//! corrected root: `w −= r/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)`.

use burn::tensor::Tensor;

/// Numbers of the rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub(super) beta1: f64,
    pub(super) beta2: f64,
    pub(super) eps: f64,
}

/// Running means of the gradient and of its square, and how many updates they have seen.
#[derive(Clone, Debug)]
pub(super) struct AdamState {
    pub(super) first: Tensor<1>,
    pub(super) second: Tensor<1>,
    pub(super) updates: u32,
}

/// One update: the new weight and the new state.
///
/// # Shapes — all `[length]`.
pub(super) fn update(
    weight: Tensor<1>,
    gradient: Tensor<1>,
    state: Option<AdamState>,
    rate: f64,
    rule: Moments,
) -> (Tensor<1>, AdamState) {
    let Moments { beta1, beta2, eps } = rule;
    let (first, second, updates) = match state {
        Some(state) => (state.first * beta1, state.second * beta2, state.updates),
        None => (gradient.zeros_like(), gradient.zeros_like(), 0),
    };
    let first = first + gradient.clone() * (1.0 - beta1);
    let second = second + gradient.square() * (1.0 - beta2);
    let updates = updates.saturating_add(1);
    let t = f64::from(updates);
    let denominator = second.clone().sqrt() / (1.0 - beta2.powf(t)).sqrt() + eps;
    let direction = first.clone() / denominator;
    let weight = weight - direction * (rate / (1.0 - beta1.powf(t)));
    (weight, AdamState { first, second, updates })
}
