//! Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167) with PyTorch's semantics.
//!
//! Burn's own layer uses batch statistics only where gradients are computed, and it keeps the biased running
//! variance. A momentum teacher needs batch statistics without gradients, and checkpoints that PyTorch reads
//! need the unbiased variance.

use burn::{
    module::{Module, Param, RunningState},
    tensor::{Device, Tensor},
};
use vssl_kernels::{AcrossRanks, Normalised, Rectifier};

use super::{Init, Mode};

/// PyTorch's default values.
const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// Normalises each channel over batch and space.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// The scale γ, `[c]`; 1 if absent.
    pub weight: Option<Param<Tensor<1>>>,
    /// The shift β, `[c]`; 0 if absent.
    pub bias: Option<Param<Tensor<1>>>,
    /// The running mean, `[c]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// The running variance, unbiased, `[c]`.
    pub running_var: RunningState<Tensor<1>>,
    eps: f64,
    momentum: f64,
}

impl BatchNorm {
    /// Makes a normalisation with γ = 1, β = 0, running mean 0 and running variance 1.
    pub fn new(channels: usize, init: &Init) -> Self {
        let running = |value: f32, device: &Device| {
            RunningState::new(Tensor::full([channels], value, device))
        };
        Self {
            weight: Some(init.constant([channels], 1.0)),
            bias: Some(init.constant([channels], 0.0)),
            running_mean: running(0.0, init.device()),
            running_var: running(1.0, init.device()),
            eps: EPS,
            momentum: MOMENTUM,
        }
    }

    /// Sets ε and the momentum, which is the share of the batch in each update of the running statistics.
    pub fn with_constants(self, eps: f64, momentum: f64) -> Self {
        Self { eps, momentum, ..self }
    }

    /// Makes a normalisation without learned scale and shift.
    pub fn plain(channels: usize, init: &Init) -> Self {
        Self { weight: None, bias: None, ..Self::new(channels, init) }
    }

    /// Normalises, scales and shifts `x`; then adds `residual` if given; then applies the rectifier, which is
    /// a ReLU for `true`.
    ///
    /// # Shapes — `x`, `residual`: `[n, c, h, w]`.
    pub fn forward(
        &self,
        x: Tensor<4>,
        residual: Option<Tensor<4>>,
        rectifier: impl Into<Rectifier>,
        mode: Mode,
    ) -> Tensor<4> {
        let rectifier = rectifier.into();
        let constant = |value: f32| Tensor::full([x.dims()[1]], value, &x.device());
        let gamma = self.weight.as_ref().map_or_else(|| constant(1.0), Param::val);
        let beta = self.bias.as_ref().map_or_else(|| constant(0.0), Param::val);
        let (ranks, world) = match mode {
            Mode::Train | Mode::Heads(None) => (AcrossRanks::alone(), 1),
            Mode::Joint(group) | Mode::Heads(Some(group)) => group.norms(),
            Mode::Eval => {
                let statistics = (self.running_mean.value_sync(), self.running_var.value_sync());
                let (mean, variance) = statistics;
                return vssl_kernels::batch_norm_eval(
                    x, gamma, beta, mean, variance, residual, rectifier, self.eps,
                );
            }
        };
        let [n, _, h, w] = x.dims();
        let Normalised { output, mean, variance } = vssl_kernels::batch_norm_train_joint(
            x, gamma, beta, residual, rectifier, self.eps, &ranks,
        );
        self.update(mean, variance, n * h * w * world);
        output
    }

    /// Returns the scale `γ / √(σ² + ε)` and the shift `β − μ · scale` of each channel in evaluation mode, without
    /// gradient: `y = scale · x + shift`.
    ///
    /// # Shapes — both `[c]`.
    pub fn scale_and_shift(&self) -> [Tensor<1>; 2] {
        let (mean, variance) = (self.running_mean.value_sync(), self.running_var.value_sync());
        let deviation = (variance.detach() + self.eps).sqrt();
        let scale = match &self.weight {
            Some(gamma) => gamma.val().detach() / deviation,
            None => deviation.recip(),
        };
        let offset = mean.detach() * scale.clone();
        let shift = match &self.bias {
            Some(beta) => beta.val().detach() - offset,
            None => -offset,
        };
        [scale, shift]
    }

    /// Normalises rows as [`BatchNorm::forward`] does images: the heads' `BatchNorm1d` and its ReLU.
    ///
    /// # Shapes — `[n, c]` to `[n, c]`.
    pub fn forward_rows(&self, x: Tensor<2>, relu: bool, mode: Mode) -> Tensor<2> {
        let [n, c] = x.dims();
        let y = self.forward(x.reshape([n, c, 1, 1]), None, relu, mode);
        y.reshape([n, c])
    }

    fn update(&self, mean: Tensor<1>, biased: Tensor<1>, count: usize) {
        // A single value has no unbiased variance; a batch of one image and one pixel, which would have a
        // single value, is refused before training starts.
        let unbiased = biased * (count as f64 / count.max(2).saturating_sub(1) as f64);
        blend(&self.running_mean, mean, self.momentum);
        blend(&self.running_var, unbiased, self.momentum);
    }
}

/// Moves a running statistic towards that of a batch, by the share `momentum`.
pub(super) fn blend<const D: usize>(
    running: &RunningState<Tensor<D>>,
    batch: Tensor<D>,
    momentum: f64,
) {
    let value = running.value_sync() * (1.0 - momentum) + batch.detach() * momentum;
    running.update(value.detach());
    // Without this call, a visitor that comes before the next forward pass would see the old value.
    running.value_sync();
}
