//! The operations of losses over many columns: queues, prototypes, the entries of a covariance.

mod autodiff;
mod extension;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::choice::accelerated;
use crate::reference;
use extension::LossOps;

/// Returns `log Σⱼ e^(scale·xⱼ)` of each row. Logits of any size stay finite.
///
/// # Shapes — `[n, c]` to `[n]`; c at least 1.
pub fn log_sum_exp(x: Tensor<2>, scale: f64) -> Tensor<1> {
    if !accelerated(&x) || x.shape().num_elements() == 0 {
        return reference::log_sum_exp(x, scale);
    }
    let (sums, _) = <Dispatch as LossOps>::kernel_log_sum_exp(x.into_dispatch(), scale);
    Tensor::from_dispatch(sums)
}

/// Returns the cross entropy of each row with a distribution, `Σⱼ tⱼ·(log Σ e^(scale·x) − scale·xⱼ)`. The
/// targets of a row need not sum to one. No gradient flows to them.
///
/// # Shapes — `logits`, `targets`: `[n, c]`, c at least 1; returns `[n]`.
///
/// # Panics
///
/// If the shapes differ.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>, scale: f64) -> Tensor<1> {
    assert_eq!(logits.dims(), targets.dims(), "cross_entropy: a target for each logit");
    let empty = logits.shape().num_elements() == 0;
    if !(accelerated(&logits) && accelerated(&targets)) || empty {
        return reference::cross_entropy(logits, targets, scale);
    }
    let (logits, targets) = (logits.into_dispatch(), targets.into_dispatch());
    let (losses, _, _) = <Dispatch as LossOps>::kernel_cross_entropy(logits, targets, scale);
    Tensor::from_dispatch(losses)
}

/// Returns the softmax of each row, `e^(scale·xⱼ) / Σ e^(scale·x)`.
///
/// # Shapes — `[n, c]`, unchanged; c at least 1.
pub fn softmax(x: Tensor<2>, scale: f64) -> Tensor<2> {
    if x.is_tracked() || !accelerated(&x) || x.shape().num_elements() == 0 {
        return reference::softmax(x, scale);
    }
    Tensor::from_dispatch(<Dispatch as LossOps>::kernel_softmax(x.into_dispatch(), scale))
}

/// Returns `Σ_{i≠j} (aᵀb)ᵢⱼ²`.
///
/// # Shapes — `a`, `b`: `[n, d]`; returns `[1]`.
///
/// # Panics
///
/// If the shapes differ.
pub fn off_diagonal_squares(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    assert_eq!(a.dims(), b.dims(), "off_diagonal_squares: equal shapes");
    let empty = a.shape().num_elements() == 0;
    if !(accelerated(&a) && accelerated(&b)) || empty {
        return reference::off_diagonal_squares(a, b);
    }
    let (a, b) = (a.into_dispatch(), b.into_dispatch());
    let (sum, _) = <Dispatch as LossOps>::kernel_off_diagonal_squares(a, b);
    Tensor::from_dispatch(sum)
}
