//! The settings of one step of an optimiser.

/// A step of stochastic gradient descent with momentum, as PyTorch's `SGD`, the rate outside the
/// buffer: `b = g` at first, then `b = momentum · b + (1 − dampening) · g`; `p −= rate · b`, or
/// `p −= rate · (g + momentum · b)` after Nesterov.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MomentumStep {
    /// Learning rate.
    pub rate: f64,
    /// Share of the buffer that is kept; with 0 there is none.
    pub momentum: f64,
    /// Share of the gradient that the buffer does not take in, after its first step.
    pub dampening: f64,
    /// Whether the step looks ahead.
    pub nesterov: bool,
    /// Factor of the parameter that is added to the gradient.
    pub weight_decay: f64,
    /// Layer-wise scaling of the decayed gradient.
    pub trust: Option<TrustRatio>,
}

/// LARS (You et al. 2017, arXiv:1708.03888): the decayed gradient is scaled by
/// `η ‖p‖ / (‖g‖ + decay · ‖p‖ + ε)`. Where the parameter or the gradient is all zero, the gradient
/// stays as it is, without decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrustRatio {
    /// η.
    pub eta: f64,
    /// ε.
    pub eps: f64,
    /// Whether ratio times rate is bounded by the rate (LARC): `min(ratio / rate, 1)`.
    pub clip: bool,
}

/// A step of Adam, as PyTorch's `Adam` (`decoupled: false`) or `AdamW`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub rate: f64,
    /// β₁ and β₂.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether the decay acts on the parameter (AdamW) or through the gradient (Adam).
    pub decoupled: bool,
    /// Number of this step, from one.
    pub number: u64,
}
