//! The settings of one step of an optimiser.

/// A step of stochastic gradient descent with momentum, as PyTorch's `SGD`, where the rate is not part of the
/// buffer: `b = g` at first, then `b = momentum · b + (1 − dampening) · g`; `p −= rate · b`, or
/// `p −= rate · (g + momentum · b)` after Nesterov.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MomentumStep {
    /// The learning rate.
    pub rate: f64,
    /// The share of the buffer that is kept; with 0 there is no buffer.
    pub momentum: f64,
    /// The share of the gradient that the buffer does not take in, after its first step.
    pub dampening: f64,
    /// Whether the momentum is Nesterov's.
    pub nesterov: bool,
    /// The factor of the parameter that is added to the gradient.
    pub weight_decay: f64,
    /// The layer-wise scaling of the decayed gradient, if there is one.
    pub trust: Option<TrustRatio>,
}

/// LARS (You et al. 2017, arXiv:1708.03888): the decayed gradient is scaled by
/// `η ‖p‖ / (‖g‖ + decay · ‖p‖ + ε)`. Where the parameter or the gradient is all zero, the gradient
/// stays as it is, without decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrustRatio {
    /// The trust coefficient η.
    pub eta: f64,
    /// The ε of the denominator.
    pub eps: f64,
    /// Whether the ratio times the rate is bounded by the rate (LARC): `min(ratio / rate, 1)`.
    pub clip: bool,
}

/// A step of Adam, as PyTorch's `Adam` (`decoupled: false`) or `AdamW`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The learning rate.
    pub rate: f64,
    /// The decay factors β₁ and β₂.
    pub betas: (f64, f64),
    /// The number that is added to the root of the second moment.
    pub eps: f64,
    /// The weight decay.
    pub weight_decay: f64,
    /// Whether the decay acts on the parameter (AdamW) or through the gradient (Adam).
    pub decoupled: bool,
    /// The number of this step, from one.
    pub number: u64,
}
