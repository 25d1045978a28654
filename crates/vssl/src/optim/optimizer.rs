//! An optimiser over all parameters of a module: settings by group, state by path.
//!
//! The update rules are [`momentum_step`] (SGD, LARS) and [`adam_step`] of the kernels, over flat tensors.
//! This file finds the tensors, chooses the step of each and makes the results leaves of the graph.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use vssl_kernels::{AdamStep, MomentumStep, TrustRatio, adam_step, momentum_step};

use super::{
    Adam, Algorithm, Gradients, Lars, OptimError, OptimizerConfig, Sgd,
    layers::layer_factors,
    leaf::Leaf,
    settings::{Now, Rate, Settings},
};
use crate::{
    schedule::Step,
    tensors::{
        ParameterInfo,
        paths::{self, Map, PathStack},
    },
};

/// An update rule with its state.
#[derive(Clone, Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    total_batch: usize,
    /// The weight decay of the step that is next.
    weight_decay: f64,
    /// The factors of the rates of parameters below the top of the backbone.
    layer_factors: BTreeMap<String, f64>,
    slots: BTreeMap<String, Slot>,
}

/// The state of one parameter.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "handles to tensors, and a run has one variant only")]
enum Slot {
    Momentum(Tensor<1>),
    Adam(AdamState),
}

/// The running means of the gradient and of its square, and the number of their updates.
#[derive(Clone, Debug)]
struct AdamState {
    first: Tensor<1>,
    second: Tensor<1>,
    updates: u32,
}

impl Optimizer {
    /// Makes an optimiser without state. `total_batch` counts the images that one step learns from, over all
    /// processes and accumulated micro-batches. The optimiser knows no parameters, so all blocks of a backbone learn
    /// at the same rate: see [`Optimizer::of`].
    ///
    /// # Errors
    /// A number is out of range, or a rule contradicts itself ([`OptimizerConfig::validate`]).
    pub fn new(config: OptimizerConfig, total_batch: usize) -> Result<Self, OptimError> {
        config.validate()?;
        let (layer_factors, slots) = (BTreeMap::new(), BTreeMap::new());
        let weight_decay = config.weight_decay;
        Ok(Self { config, total_batch, weight_decay, layer_factors, slots })
    }

    /// Makes an optimiser without state for a model of these parameters, in the model's own order: their blocks have
    /// the rates that [`OptimizerConfig::layer_decay`] gives them.
    ///
    /// # Errors
    /// The errors of [`Optimizer::new`]; also, a rule matches no parameter, or there are no blocks to tell apart.
    pub fn of(
        config: OptimizerConfig,
        total_batch: usize,
        parameters: &[ParameterInfo],
    ) -> Result<Self, OptimError> {
        config.cover(parameters)?;
        let layer_factors = layer_factors(parameters, config.layer_decay)?;
        Ok(Self { layer_factors, ..Self::new(config, total_batch)? })
    }

    /// Gives the next update the weight decay of the step `at`: see [`OptimizerConfig::weight_decay_at`]. A run whose weight
    /// decay changes calls it before every update; it is a function of the step, and no checkpoint holds it.
    pub fn decay_at(&mut self, at: &Step) {
        self.weight_decay = self.config.weight_decay_at(at);
    }

    /// Updates every parameter that has a gradient; the other parameters do not change, not even by weight
    /// decay. `schedule` turns the base rate of a group into its rate at this step:
    /// `|base| plan.schedule.at(base, &step)`.
    ///
    /// # Errors
    /// A gradient has the wrong length, or its parameter is not in the module.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: Gradients,
        schedule: impl Fn(f64) -> f64,
    ) -> Result<M, OptimError> {
        let mut update = Update { optimizer: self, gradients, schedule, wrong: None };
        let module = paths::map(module, &mut update);
        let (wrong, left) = (update.wrong, update.gradients.0);
        if let Some(error) = wrong {
            return Err(error);
        }
        if !left.is_empty() {
            return Err(OptimError::UnknownGradients { paths: left.into_keys().collect() });
        }
        Ok(module)
    }

    /// Returns the new value of one parameter and updates its state.
    fn update(
        &mut self,
        tensor: Flat,
        gradient: Tensor<1>,
        rate: impl Fn(f64) -> f64,
    ) -> Tensor<1> {
        let Flat { path, rank, weight } = tensor;
        let layer_factor = self.layer_factors.get(&path).copied().unwrap_or(1.0);
        let now = Now { layer_factor, weight_decay: self.weight_decay };
        let settings = Settings::of(&self.config, self.total_batch, &path, rank, now);
        let rate = match settings.rate {
            Rate::Scheduled(base) => rate(base),
            Rate::Constant(rate) => rate,
        };
        let state = self.slots.remove(&path);
        let (weight, state) = match Rule::of(&self.config.algorithm, rate, settings, rank) {
            Rule::Momentum(step) => {
                let buffer = match state {
                    Some(Slot::Momentum(buffer)) => Some(buffer),
                    _ => None,
                };
                let (weight, buffer) = momentum_step(weight, gradient, buffer, &step);
                (weight, buffer.map(Slot::Momentum))
            }
            Rule::Adam(step) => {
                let (moments, updates) = match state {
                    Some(Slot::Adam(state)) => (Some([state.first, state.second]), state.updates),
                    _ => (None, 0),
                };
                let updates = updates.saturating_add(1);
                let step = AdamStep { number: updates.into(), ..step };
                let (weight, [first, second]) = adam_step(weight, gradient, moments, &step);
                (weight, Some(Slot::Adam(AdamState { first, second, updates })))
            }
        };
        if let Some(state) = state {
            self.slots.insert(path, state);
        }
        weight
    }

    /// Returns the state for a checkpoint: `momentum.<path>`, or `exp_avg.<path>`, `exp_avg_sq.<path>` and
    /// `updates.<path>` (one `i64`). Reads from the device.
    pub fn state(&self) -> BTreeMap<String, TensorData> {
        let mut state = BTreeMap::new();
        for (path, slot) in &self.slots {
            match slot {
                Slot::Momentum(buffer) => {
                    state.insert(format!("{MOMENTUM}.{path}"), buffer.to_data());
                }
                Slot::Adam(adam) => {
                    let updates = TensorData::new(vec![i64::from(adam.updates)], [1]);
                    state.insert(format!("{FIRST}.{path}"), adam.first.to_data());
                    state.insert(format!("{SECOND}.{path}"), adam.second.to_data());
                    state.insert(format!("{UPDATES}.{path}"), updates);
                }
            }
        }
        state
    }

    /// Replaces the state by that of a checkpoint, for a module with the given parameters.
    ///
    /// A parameter that never had a gradient has no state, so its keys may all be absent. A parameter with a
    /// part of its keys, or a key without a parameter, is an error.
    ///
    /// # Errors
    /// A key is missing or unexpected, or its tensor has the wrong length; the state is unchanged then.
    pub fn load_state(
        &mut self,
        mut state: BTreeMap<String, TensorData>,
        parameters: &[ParameterInfo],
        device: &Device,
    ) -> Result<(), OptimError> {
        let mut slots = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for ParameterInfo { path, shape, .. } in parameters {
            let length = shape.iter().product();
            let parts: Vec<_> = self
                .keys()
                .iter()
                .map(|kind| {
                    let key = format!("{kind}.{path}");
                    (state.remove(&key), key)
                })
                .collect();
            if parts.iter().all(|(data, _)| data.is_none()) {
                continue;
            }
            let absent = parts.iter().filter(|(data, _)| data.is_none());
            missing.extend(absent.map(|(_, key)| key.clone()));
            let present: Vec<_> = parts.into_iter().filter_map(|(data, _)| data).collect();
            if present.len() == self.keys().len() {
                slots.insert(path.clone(), slot(present, path, length, device)?);
            }
        }
        if !missing.is_empty() || !state.is_empty() {
            let missing = missing.into_iter().collect();
            return Err(OptimError::StateKeys { missing, unexpected: state.into_keys().collect() });
        }
        self.slots = slots;
        Ok(())
    }

    /// Returns how many numbers of state the rule keeps for each trained number.
    pub fn moments(&self) -> u64 {
        self.keys().iter().filter(|&&key| key != UPDATES).count() as u64
    }

    /// Returns the first parts of the state's keys, in the order that [`slot`] expects.
    fn keys(&self) -> &'static [&'static str] {
        match self.config.algorithm {
            Algorithm::Lars(Lars { sgd, .. }) | Algorithm::Sgd(sgd) if sgd.momentum == 0.0 => &[],
            Algorithm::Lars(_) | Algorithm::Sgd(_) => &[MOMENTUM],
            Algorithm::Adam(_) | Algorithm::Adamw(_) => &[FIRST, SECOND, UPDATES],
        }
    }
}

/// The step of one parameter, in the form that the kernels take.
enum Rule {
    Momentum(MomentumStep),
    /// Adam's step, whose number of the update is filled in later.
    Adam(AdamStep),
}

impl Rule {
    /// Returns the step of a parameter with `rank` axes at this rate.
    fn of(algorithm: &Algorithm, rate: f64, settings: Settings, rank: usize) -> Self {
        let weight_decay = settings.weight_decay;
        let momentum = |sgd: &Sgd, weight_decay, trust| {
            let Sgd { momentum, dampening, nesterov } = *sgd;
            Self::Momentum(MomentumStep {
                rate,
                momentum,
                dampening,
                nesterov,
                weight_decay,
                trust,
            })
        };
        let adam = |adam: &Adam, decoupled| {
            let Adam { beta1, beta2, eps } = *adam;
            let betas = (beta1, beta2);
            Self::Adam(AdamStep { rate, betas, eps, weight_decay, decoupled, number: 0 })
        };
        match algorithm {
            Algorithm::Lars(lars) => {
                let excluded = lars.exclude_bias_and_norm && rank == 1;
                let trust = TrustRatio { eta: lars.eta, eps: lars.eps, clip: lars.clip_lr };
                let trust = (settings.trust_ratio && !excluded).then_some(trust);
                momentum(&lars.sgd, if excluded { 0.0 } else { weight_decay }, trust)
            }
            Algorithm::Sgd(sgd) => momentum(sgd, weight_decay, None),
            Algorithm::Adam(numbers) => adam(numbers, false),
            Algorithm::Adamw(numbers) => adam(numbers, true),
        }
    }
}

const MOMENTUM: &str = "momentum";
const FIRST: &str = "exp_avg";
const SECOND: &str = "exp_avg_sq";
const UPDATES: &str = "updates";

/// Makes the state of one parameter from its saved parts, in the order of [`Optimizer::keys`].
fn slot(
    parts: Vec<TensorData>,
    path: &str,
    length: usize,
    device: &Device,
) -> Result<Slot, OptimError> {
    let check = |data: &TensorData, expected: usize| {
        let got = data.num_elements();
        if got == expected {
            return Ok(());
        }
        let (what, path) = ("optimizer state", path.to_owned());
        Err(OptimError::Length { what, path, got, expected })
    };
    let flat = |data: &TensorData| {
        check(data, length)?;
        let values: Vec<f32> = data.iter::<f32>().collect();
        Ok(Tensor::<1>::from_data(TensorData::new(values, [length]), device))
    };
    match parts.as_slice() {
        [first, second, updates] => {
            check(updates, 1)?;
            let got = updates.iter::<i64>().next().unwrap_or(-1);
            let key = || format!("{UPDATES}.{path}");
            let updates = u32::try_from(got).map_err(|_| OptimError::Count { key: key(), got })?;
            let (first, second) = (flat(first)?, flat(second)?);
            Ok(Slot::Adam(AdamState { first, second, updates }))
        }
        parts => {
            let buffer = parts.first().expect("load_state passes one part for each key");
            Ok(Slot::Momentum(flat(buffer)?))
        }
    }
}

/// A flattened parameter on its way through a rule.
struct Flat {
    path: String,
    rank: usize,
    weight: Tensor<1>,
}

struct Update<'a, F> {
    optimizer: &'a mut Optimizer,
    gradients: Gradients,
    schedule: F,
    wrong: Option<OptimError>,
}

impl<F: Fn(f64) -> f64> Map for Update<'_, F> {
    fn tensor<const D: usize>(
        &mut self,
        path: &PathStack,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        let Some(path) = path.parameter() else { return param };
        let Some(gradient) = self.gradients.0.remove(&path) else { return param };
        let shape = param.lazy_shape();
        let (got, expected) = (gradient.shape().num_elements(), shape.num_elements());
        if got != expected {
            let what = "gradient";
            self.wrong.get_or_insert(OptimError::Length { what, path, got, expected });
            return param;
        }
        param.map(|tensor| {
            let (leaf, weight) = Leaf::lift(tensor);
            let flat = Flat { path, rank: D, weight: weight.reshape([expected]) };
            let weight = self.optimizer.update(flat, gradient, &self.schedule);
            leaf.plant(weight.reshape(shape)) // [length] -> [...]
        })
    }
}
