//! The optimiser that a recipe asks for. [`super::table`] reads and writes its table.

use std::f64::consts::PI;

use serde::Serialize;

use super::{GroupRule, OptimError};
use crate::{schedule::Step, tensors::ParameterInfo};

/// The optimiser of a recipe. The defaults are those of solo-learn's BYOL recipe for CIFAR.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// The update rule with its own parameters; LARS.
    pub algorithm: Algorithm,
    /// The base learning rate, for a batch of 256 when `scale_lr` is set; 1.0.
    pub lr: f64,
    /// Whether `lr`, here and in groups, is multiplied by total batch / 256 (Goyal et al. 2017); true.
    pub scale_lr: bool,
    /// The weight decay; 1e-5.
    pub weight_decay: f64,
    /// The weight decay at the end of the run, which `weight_decay` goes to by half a cosine; none, it stays.
    pub weight_decay_end: Option<f64>,
    /// The factor of the learning rate from each block of the backbone to the block below: see
    /// [`layer_factors`](super::layer_factors); 1.
    pub layer_decay: f64,
    /// Exceptions for some parameters; a later exception overrides an earlier one.
    pub groups: Vec<GroupRule>,
}

/// An update rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Algorithm {
    /// SGD with layer-wise trust ratios (You et al. 2017, arXiv:1708.03888).
    Lars(Lars),
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
    /// Adam (Kingma and Ba 2015, arXiv:1412.6980), with weight decay added to the gradient.
    Adam(Adam),
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).
    Adamw(Adam),
}

/// The parameters of SGD.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sgd {
    /// The share of the last update that goes into the next update; 0.9.
    pub momentum: f64,
    /// The share of the gradient that is kept out of the momentum; 0.
    pub dampening: f64,
    /// Whether the momentum is Nesterov's; false.
    pub nesterov: bool,
}

/// The parameters of LARS.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lars {
    /// The rule whose rate the trust ratio scales.
    #[serde(flatten)]
    pub sgd: Sgd,
    /// The trust coefficient; 0.02.
    pub eta: f64,
    /// Whether the effective rate is bounded by the base rate (LARC); true.
    pub clip_lr: bool,
    /// Whether one-dimensional tensors get neither trust ratio nor weight decay; true.
    pub exclude_bias_and_norm: bool,
    /// The number that is added to the denominator of the trust ratio; 1e-8.
    pub eps: f64,
}

/// The parameters of Adam and AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Adam {
    /// The decay of the mean gradient; 0.9.
    pub beta1: f64,
    /// The decay of the mean squared gradient; 0.999.
    pub beta2: f64,
    /// The number that is added to denominators; 1e-8.
    pub eps: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            lr: 1.0,
            scale_lr: true,
            weight_decay: 1e-5,
            weight_decay_end: None,
            layer_decay: 1.0,
            groups: Vec::new(),
        }
    }
}

impl Default for Algorithm {
    fn default() -> Self {
        Self::Lars(Lars::default())
    }
}

impl Default for Sgd {
    fn default() -> Self {
        Self { momentum: 0.9, dampening: 0.0, nesterov: false }
    }
}

impl Default for Lars {
    fn default() -> Self {
        let sgd = Sgd::default();
        Self { sgd, eta: 0.02, clip_lr: true, exclude_bias_and_norm: true, eps: 1e-8 }
    }
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

impl OptimizerConfig {
    /// Returns the factor of all rates for a batch of `total_batch` images over all processes and accumulated
    /// micro-batches.
    pub fn batch_factor(&self, total_batch: usize) -> f64 {
        if self.scale_lr { total_batch as f64 / 256.0 } else { 1.0 }
    }

    /// Returns the base learning rate of the schedule.
    pub fn base_rate(&self, total_batch: usize) -> f64 {
        self.lr * self.batch_factor(total_batch)
    }

    /// Returns the weight decay at the step `at`, of parameters that no group gives another one: with i steps done of n,
    /// `end + (start − end)·(1 + cos(π·i/n))/2`, as DINO's program computes it (Caron et al. 2021, arXiv:2104.14294).
    pub fn weight_decay_at(&self, at: &Step) -> f64 {
        let Some(end) = self.weight_decay_end else { return self.weight_decay };
        let done = at.index.min(at.total) as f64 / at.total.max(1) as f64;
        end + (self.weight_decay - end) * (1.0 + (PI * done).cos()) / 2.0
    }

    /// Returns [`OptimizerConfig::weight_decay_at`] the step `at` where the weight decay changes over the run.
    pub fn changing_weight_decay_at(&self, at: &Step) -> Option<f64> {
        self.weight_decay_end.map(|_| self.weight_decay_at(at))
    }

    /// Checks that all numbers are in range and no rule contradicts itself.
    ///
    /// # Errors
    /// The first problem, with its key or its rule.
    pub fn validate(&self) -> Result<(), OptimError> {
        not_negative("lr", self.lr)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("weight_decay_end", self.weight_decay_end.unwrap_or(0.0))?;
        let holds = self.layer_decay > 0.0 && self.layer_decay <= 1.0;
        require("layer_decay", holds, self.layer_decay, "a factor above 0, at most 1")?;
        match &self.algorithm {
            Algorithm::Lars(lars) => {
                not_negative("eta", lars.eta)?;
                not_negative("eps", lars.eps)?;
                lars.sgd.validate()?;
            }
            Algorithm::Sgd(sgd) => sgd.validate()?,
            Algorithm::Adam(adam) | Algorithm::Adamw(adam) => {
                not_negative("eps", adam.eps)?;
                decay("beta1", adam.beta1)?;
                decay("beta2", adam.beta2)?;
            }
        }
        self.groups.iter().enumerate().try_for_each(|(index, rule)| rule.validate(index))
    }

    /// Checks that every rule matches a parameter of the model.
    ///
    /// # Errors
    /// The first rule that matches no parameter.
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

impl Algorithm {
    /// Returns the name of the update rule in a recipe.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lars(_) => "lars",
            Self::Sgd(_) => "sgd",
            Self::Adam(_) => "adam",
            Self::Adamw(_) => "adamw",
        }
    }
}

impl Sgd {
    fn validate(&self) -> Result<(), OptimError> {
        let Sgd { momentum, dampening, nesterov } = *self;
        decay("momentum", momentum)?;
        require("dampening", (0.0..=1.0).contains(&dampening), dampening, "a number from 0 to 1")?;
        if nesterov {
            let expected = "a number above 0, because nesterov is true";
            require("momentum", momentum > 0.0, momentum, expected)?;
            require("dampening", dampening == 0.0, dampening, "0, because nesterov is true")?;
        }
        Ok(())
    }
}

fn require(
    field: &'static str,
    holds: bool,
    got: f64,
    expected: &'static str,
) -> Result<(), OptimError> {
    if holds { Ok(()) } else { Err(OptimError::Setting { field, got, expected }) }
}

fn not_negative(field: &'static str, got: f64) -> Result<(), OptimError> {
    require(field, got.is_finite() && got >= 0.0, got, "a finite number, not negative")
}

fn decay(field: &'static str, got: f64) -> Result<(), OptimError> {
    require(field, (0.0..1.0).contains(&got), got, "a number from 0 to below 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sgd: Sgd) -> String {
        let algorithm = Algorithm::Sgd(sgd);
        OptimizerConfig { algorithm, ..Default::default() }.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_weight_decay_goes_to_its_end_by_half_a_cosine() {
        let at = |index| Step { index, total: 8, ..Step::default() };
        let rising = OptimizerConfig {
            weight_decay: 0.04,
            weight_decay_end: Some(0.4),
            ..OptimizerConfig::default()
        };
        // By hand: 0.4 − 0.36·(1 + cos(π·i/8))/2, with cos(π/4) = √½.
        let root = 0.5f64.sqrt();
        let expected = [
            (0, 0.04),
            (2, 0.4 - 0.18 * (1.0 + root)),
            (4, 0.22),
            (6, 0.4 - 0.18 * (1.0 - root)),
            (8, 0.4),
            (99, 0.4),
        ];
        for (index, decay) in expected {
            let found = rising.weight_decay_at(&at(index));
            assert!((found - decay).abs() < 1e-15, "step {index}: {found}, expected {decay}");
        }
        let constant = OptimizerConfig { weight_decay_end: None, ..rising };
        assert_eq!(constant.weight_decay_at(&at(5)).to_bits(), 0.04f64.to_bits());
        let wrong = OptimizerConfig { weight_decay_end: Some(-0.1), ..constant };
        assert!(wrong.validate().unwrap_err().to_string().contains("weight_decay_end is -0.1"));
    }

    #[test]
    fn nesterov_names_the_number_that_it_does_not_go_with() {
        let sgd = Sgd { nesterov: true, ..Sgd::default() };
        assert_eq!(
            refused(Sgd { momentum: 0.0, ..sgd }),
            "optimizer.momentum is 0; expected a number above 0, because nesterov is true"
        );
        assert_eq!(
            refused(Sgd { dampening: 0.5, ..sgd }),
            "optimizer.dampening is 0.5; expected 0, because nesterov is true"
        );
        let lars = Algorithm::Lars(Lars { sgd, ..Lars::default() });
        OptimizerConfig { algorithm: lars, ..Default::default() }.validate().unwrap();
    }
}
