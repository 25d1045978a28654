//! What a recipe says about the optimiser.

use serde::{Deserialize, Serialize};

use super::{GroupRule, OptimError};
use crate::tensors::ParameterInfo;

/// The update rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Layer-wise trust ratios over SGD (You et al. 2017, arXiv:1708.03888).
    #[default]
    Lars,
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam (Kingma and Ba 2015, arXiv:1412.6980), weight decay added to the gradient.
    Adam,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).
    Adamw,
}

/// The optimiser of a recipe. Defaults are those of solo-learn's BYOL recipe for CIFAR.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Update rule; `lars`.
    pub name: Algorithm,
    /// Base learning rate, for a batch of 256 when `scale_lr`; 1.0.
    pub lr: f64,
    /// Whether `lr`, here and in groups, is multiplied by total batch / 256 (Goyal et al. 2017);
    /// true.
    pub scale_lr: bool,
    /// Weight decay; 1e-5.
    pub weight_decay: f64,
    /// Momentum of LARS and SGD; 0.9.
    pub momentum: f64,
    /// Dampening of the momentum of LARS and SGD; 0.
    pub dampening: f64,
    /// Nesterov's momentum in LARS and SGD; false.
    pub nesterov: bool,
    /// Trust coefficient of LARS; 0.02.
    pub eta: f64,
    /// LARS: bounds the effective rate by the base rate (LARC); true.
    pub clip_lr: bool,
    /// LARS: one-dimensional tensors get neither trust ratio nor weight decay; true.
    pub exclude_bias_and_norm: bool,
    /// Added to denominators; 1e-8.
    pub eps: f64,
    /// Adam's first decay; 0.9.
    pub beta1: f64,
    /// Adam's second decay; 0.999.
    pub beta2: f64,
    /// Exceptions for some parameters, later ones winning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupRule>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            name: Algorithm::Lars,
            lr: 1.0,
            scale_lr: true,
            weight_decay: 1e-5,
            momentum: 0.9,
            dampening: 0.0,
            nesterov: false,
            eta: 0.02,
            clip_lr: true,
            exclude_bias_and_norm: true,
            eps: 1e-8,
            beta1: 0.9,
            beta2: 0.999,
            groups: Vec::new(),
        }
    }
}

impl OptimizerConfig {
    /// What rates are multiplied by for a batch of `total_batch` images over all processes and
    /// accumulated micro-batches.
    pub fn batch_factor(&self, total_batch: usize) -> f64 {
        if self.scale_lr { total_batch as f64 / 256.0 } else { 1.0 }
    }

    /// The base learning rate that the schedule starts from.
    pub fn base_rate(&self, total_batch: usize) -> f64 {
        self.lr * self.batch_factor(total_batch)
    }

    /// Refuses numbers out of range and rules that contradict themselves.
    ///
    /// # Errors
    /// The first problem, naming the key or the rule.
    pub fn validate(&self) -> Result<(), OptimError> {
        let not_negative = [
            ("lr", self.lr),
            ("weight_decay", self.weight_decay),
            ("eta", self.eta),
            ("eps", self.eps),
        ];
        for (field, got) in not_negative {
            if !(got.is_finite() && got >= 0.0) {
                let expected = "a finite number, not negative";
                return Err(OptimError::Setting { field, got, expected });
            }
        }
        let decays = [("momentum", self.momentum), ("beta1", self.beta1), ("beta2", self.beta2)];
        for (field, got) in decays {
            if !(0.0..1.0).contains(&got) {
                let expected = "a number from 0 to below 1";
                return Err(OptimError::Setting { field, got, expected });
            }
        }
        if !(0.0..=1.0).contains(&self.dampening) {
            let (field, got) = ("dampening", self.dampening);
            return Err(OptimError::Setting { field, got, expected: "a number from 0 to 1" });
        }
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            let (field, got) = ("dampening", self.dampening);
            let expected = "0, with a momentum above 0, when nesterov is true";
            return Err(OptimError::Setting { field, got, expected });
        }
        self.groups.iter().enumerate().try_for_each(|(index, rule)| rule.validate(index))
    }

    /// Refuses rules that no parameter of the model meets.
    ///
    /// # Errors
    /// The first such rule.
    pub fn cover(&self, parameters: &[ParameterInfo]) -> Result<(), OptimError> {
        for (index, rule) in self.groups.iter().enumerate() {
            if !parameters.iter().any(|p| rule.matches(&p.path, p.shape.len())) {
                let sample = parameters.first().map_or("no parameters", |p| p.path.as_str());
                let problem = format!(
                    "matches none of the model's {} parameters (the first is {sample}); correct \
                     the pattern or delete the rule",
                    parameters.len()
                );
                return Err(OptimError::Rule { index, rule: rule.to_string(), problem });
            }
        }
        Ok(())
    }
}
