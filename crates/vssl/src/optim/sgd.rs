//! Stochastic gradient descent with momentum, the rate outside the buffer:
//! `g += λw; b = g` at first, then `b = μb + (1 − δ)g`; `w −= r·b`, or `w −= r·(g + μb)` after
//! Nesterov. Also the second half of LARS.

use burn::tensor::Tensor;

/// Numbers of the rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Momentum {
    pub(super) momentum: f64,
    pub(super) dampening: f64,
    pub(super) nesterov: bool,
}

/// The gradient with weight decay added.
///
/// # Shapes — all `[length]`.
pub(super) fn decayed(weight: &Tensor<1>, gradient: Tensor<1>, weight_decay: f64) -> Tensor<1> {
    if weight_decay == 0.0 { gradient } else { gradient + weight.clone() * weight_decay }
}

/// One update: the new weight, and the new buffer unless the momentum is 0.
///
/// # Shapes — all `[length]`.
pub(super) fn update(
    weight: Tensor<1>,
    gradient: Tensor<1>,
    buffer: Option<Tensor<1>>,
    rate: f64,
    rule: Momentum,
) -> (Tensor<1>, Option<Tensor<1>>) {
    if rule.momentum == 0.0 {
        return (weight - gradient * rate, None);
    }
    let buffer = match buffer {
        None => gradient.clone(),
        Some(buffer) => buffer * rule.momentum + gradient.clone() * (1.0 - rule.dampening),
    };
    let direction =
        if rule.nesterov { gradient + buffer.clone() * rule.momentum } else { buffer.clone() };
    (weight - direction * rate, Some(buffer))
}
