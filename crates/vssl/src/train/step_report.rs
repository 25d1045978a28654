//! The figures of one step, which wait on the device until they are fetched together. Made by the training loop,
//! written by [`report`](super::report).

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::{TrainError, health::Health, probe::ProbeStep};
use crate::{method::learner::Outcome, optim::LossScale, tensors::reading::Waiting};

/// The name of the figure of the head of `[uncertainty]`.
pub const LOSS_HEAD: &str = "uncertainty_loss";

/// The figures of one step.
#[derive(Default)]
pub struct StepReport {
    /// The loss that was minimised.
    pub loss: f64,
    /// The terms of the loss and other figures, by name.
    pub figures: BTreeMap<String, f64>,
    /// The names of the figures in their order.
    names: Vec<&'static str>,
    /// The Euclidean norm over all gradients before clipping.
    pub gradient_norm: f64,
    /// The learning rate.
    pub lr: f64,
    /// The weight decay, where it changes over the run.
    pub weight_decay: Option<f64>,
    /// The factor of the next step's loss, in a precision that needs one.
    pub loss_scale: Option<LossScale>,
    /// The figures of the features, when they were due.
    pub health: Option<Health>,
    /// A fault that the method itself reports.
    pub symptom: Option<String>,
    probe: Option<(f64, u64, u64)>,
    /// The numbers that [`StepReport::read`] will fetch, in this order.
    waiting: Waiting,
    order: Vec<Part>,
}

/// The meaning of numbers that wait together.
enum Part {
    /// The loss and the figures `names` of a micro-batch that counts for `share` of the step.
    Losses { names: Vec<&'static str>, share: f64 },
    /// A figure `name` of a micro-batch that counts for `share` of the step.
    Figure { name: &'static str, share: f64 },
    /// The figures of the probe for `seen` rows.
    Probe { seen: u64 },
}

impl StepReport {
    /// Adds the figures of a micro-batch that counts for `share` of the step, without a device read.
    pub fn add(&mut self, outcome: &Outcome, share: f64) {
        let mut scalars = vec![outcome.total.clone()];
        scalars.extend(outcome.parts.iter().map(|(_, value)| value.clone()));
        self.waiting.push(Tensor::cat(scalars, 0).inner());
        let names = outcome.parts.iter().map(|(name, _)| *name).collect();
        self.order.push(Part::Losses { names, share });
    }

    /// Adds a figure of a micro-batch, `[1]`, which counts for `share` of the step, without a device read.
    pub fn add_figure(&mut self, name: &'static str, value: Tensor<1>, share: f64) {
        self.waiting.push(value);
        self.order.push(Part::Figure { name, share });
    }

    /// Adds the figures of a step of the online probe, without a device read.
    pub fn probe(&mut self, step: ProbeStep) {
        self.waiting.push(step.figures);
        self.order.push(Part::Probe { seen: step.seen });
    }

    /// Fetches all figures that were added, and the norm of the gradients, by the one device read of the
    /// step.
    pub fn read(&mut self, gradient_norm: Option<Tensor<1>>) {
        let has_norm = gradient_norm.is_some();
        if let Some(norm) = gradient_norm {
            self.waiting.push(norm);
        }
        let values: Vec<f64> = self.waiting.read().into_iter().map(f64::from).collect();
        let mut rest = values.as_slice();
        let mut next = |count: usize| {
            let (taken, left) = rest.split_at(count);
            rest = left;
            taken
        };
        for part in std::mem::take(&mut self.order) {
            match part {
                Part::Losses { names, share } => {
                    let values = next(1 + names.len());
                    self.loss += values[0] * share;
                    for (name, value) in names.into_iter().zip(&values[1..]) {
                        self.figure(name, value * share);
                    }
                }
                Part::Figure { name, share } => {
                    let value = next(1)[0];
                    self.figure(name, value * share);
                }
                Part::Probe { seen } => {
                    let values = next(2);
                    let (loss, correct, all) = self.probe.unwrap_or_default();
                    let loss = loss + values[0] * seen as f64;
                    self.probe = Some((loss, correct + values[1] as u64, all + seen));
                }
            }
        }
        self.gradient_norm = if has_norm { next(1)[0] } else { 0.0 };
    }

    fn figure(&mut self, name: &'static str, value: f64) {
        let sum = self.figures.entry(name.to_owned()).or_insert_with(|| {
            self.names.push(name);
            0.0
        });
        *sum += value;
    }

    /// Checks that all figures are finite.
    ///
    /// # Errors
    /// The error names the first part that is not finite, or the loss itself.
    pub fn check_finite(&self, step: u64) -> Result<(), TrainError> {
        let part = self.names.iter().find(|name| !self.figures[**name].is_finite());
        let what = match part {
            Some(&LOSS_HEAD) => format!(
                "the loss of the head of [uncertainty] ({}), not that of the method: lower uncertainty.lr",
                self.figures[LOSS_HEAD]
            ),
            Some(name) => format!("part {name:?} of the loss ({})", self.figures[*name]),
            None if !self.loss.is_finite() => format!("the loss ({})", self.loss),
            None => return Ok(()),
        };
        Err(TrainError::NonFinite { step, what })
    }

    /// Returns the figures in the order in which the method named them.
    pub(super) fn parts(&self) -> Vec<(String, f64)> {
        self.names.iter().map(|name| (name.to_string(), self.figures[*name])).collect()
    }

    /// Returns the mean loss and the accuracy in percent of the online probe, where it made a step.
    pub(super) fn probe_figures(&self) -> Option<(f64, f64)> {
        let (loss, correct, seen) = self.probe?;
        Some((loss / seen as f64, 100.0 * correct as f64 / seen as f64))
    }
}
