//! The figures of a step, and the reports of a run to its folder and its observer.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::Serialize;
use vssl_data::Batch;

use super::{Plan, TrainError, health::Health, probe::ProbeStep, watch::Watch};
use crate::{
    eval::confusion::{self, Confusion},
    method::learner::Outcome,
    optim::LossScale,
    run::{
        checkpoint::{Checkpoint, Position},
        clock::{Clock, Pace},
        events::{Event, Observer, Summary},
        folder::{RECIPE, RunFolder},
        journal::Journal,
        stop::Stop,
    },
    schedule::Step,
    tensors::reading::Waiting,
};

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

    fn parts(&self) -> Vec<(String, f64)> {
        self.names.iter().map(|name| (name.to_string(), self.figures[*name])).collect()
    }

    fn probe_figures(&self) -> Option<(f64, f64)> {
        let (loss, correct, seen) = self.probe?;
        Some((loss / seen as f64, 100.0 * correct as f64 / seen as f64))
    }
}

/// A line of `metrics.jsonl`. All fields but `time` are the same however often a run was interrupted.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Line<'a> {
    Step {
        step: u64,
        epoch: u64,
        loss: f64,
        parts: &'a BTreeMap<String, f64>,
        lr: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        weight_decay: Option<f64>,
        gradient_norm: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        loss_scale: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        skipped_steps: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        health: Option<Health>,
        #[serde(skip_serializing_if = "Option::is_none")]
        probe_loss: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        probe_top1: Option<f64>,
        replaced_images: u64,
        time: Time,
    },
    Evaluation {
        step: u64,
        epoch: u64,
        knn_top1: Option<f64>,
        probe_top1: Option<f64>,
    },
}

#[derive(Serialize)]
struct Time {
    images_per_s: f64,
    loader_wait: f64,
}

/// Reports the events of a run and the figures of its steps.
pub struct Reporter<'a> {
    journal: Journal<'a>,
    plan: &'a Plan,
}

impl<'a> Reporter<'a> {
    /// Opens the run folder: a new one, or that of a run that goes on at `position`. The folder of a run that
    /// goes on with another length gets the recipe with that length, and keeps the earlier one beside it.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn open(
        plan: &'a Plan,
        position: &Position,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let tensorboard = plan.recipe.log.tensorboard;
        let folder = match plan.continues {
            true => {
                let mut folder = RunFolder::resume(&plan.run, position.step, tensorboard)?;
                if plan.differs_from_folder()? {
                    folder.replace_settings(RECIPE, &plan.recipe_text, position.step)?;
                }
                folder
            }
            false => RunFolder::create(&plan.run, &plan.recipe_text, plan.force, tensorboard)?,
        };
        Ok(Self { journal: Journal::new(folder, observer), plan })
    }

    /// Reports the start of the run.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn started(&mut self, parameters: usize, position: &Position) -> Result<(), TrainError> {
        let plan = self.plan;
        let started = Event::Started {
            method: plan.recipe.method.name().to_owned(),
            run: plan.run.clone(),
            parameters,
            train_images: plan.train.len(),
            validation_images: plan.validation.as_ref().map(|set| set.len()),
            classes: plan.train.classes().len(),
            steps: plan.total_steps,
            first_step: position.step,
            notes: plan.notes.clone(),
        };
        Ok(self.journal.tell(&started)?)
    }

    /// Reports a step: its warnings always, its figures when a line is due.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn step(
        &mut self,
        report: &StepReport,
        batch: &Batch,
        position: &Position,
        at: &Step,
        clock: &mut Clock,
    ) -> Result<(), TrainError> {
        let done = at.index + 1;
        self.journal.warn_of_replaced(batch, done, at.epoch)?;
        let health = report.health.and_then(|health| health.symptom(&self.plan.recipe.health));
        for (kind, symptom) in [("health", health), ("method", report.symptom.clone())] {
            if let Some(symptom) = symptom {
                self.journal.warn(kind, done, at.epoch, symptom)?;
            }
        }
        if self.plan.logs_after(done) || report.health.is_some() {
            self.log_step(report, position, at, clock.pace(self.plan.recipe.train.batch))?;
        }
        Ok(())
    }

    fn log_step(
        &mut self,
        report: &StepReport,
        position: &Position,
        at: &Step,
        pace: Pace,
    ) -> Result<(), TrainError> {
        let Pace { images_per_s, loader_wait } = pace;
        let (probe_loss, probe_top1) = report.probe_figures().unzip();
        let step = at.index + 1;
        let line = Line::Step {
            step,
            epoch: at.epoch,
            loss: report.loss,
            parts: &report.figures,
            lr: report.lr,
            weight_decay: report.weight_decay,
            gradient_norm: report.gradient_norm,
            loss_scale: report.loss_scale.map(|scale| scale.factor),
            skipped_steps: report.loss_scale.map(|scale| scale.skipped),
            health: report.health,
            probe_loss,
            probe_top1,
            replaced_images: position.replaced,
            time: Time { images_per_s, loader_wait },
        };
        self.journal.record(step, &line)?;
        let event = Event::Step {
            step,
            epoch: at.epoch,
            loss: report.loss,
            parts: report.parts(),
            lr: report.lr,
            gradient_norm: Some(report.gradient_norm),
            images_per_s,
            loader_wait,
            probe_top1,
        };
        Ok(self.journal.tell(&event)?)
    }

    /// Reports an evaluation between epochs.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn evaluated(
        &mut self,
        step: u64,
        knn_top1: Option<f64>,
        probe_top1: Option<f64>,
    ) -> Result<(), TrainError> {
        let epoch = step / self.plan.steps_per_epoch;
        self.journal.record(step, &Line::Evaluation { step, epoch, knn_top1, probe_top1 })?;
        Ok(self.journal.tell(&Event::Evaluated { step, epoch, knn_top1, probe_top1 })?)
    }

    /// Writes the classes that evaluators gave to the validation images after `step` steps, if any did.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn classes(&self, step: u64, found: &[(String, Confusion)]) -> Result<(), TrainError> {
        if found.is_empty() {
            return Ok(());
        }
        let counts: Vec<_> = found.iter().map(|(name, counts)| (name.as_str(), counts)).collect();
        for (name, text) in confusion::files(step, &counts, self.plan.train.classes()) {
            self.journal.write(name, &text)?;
        }
        Ok(())
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// The checkpoint cannot be written; the error says which earlier checkpoint stays.
    pub fn save(&mut self, checkpoint: &Checkpoint, is_best: bool) -> Result<(), TrainError> {
        Ok(self.journal.save(checkpoint, is_best, self.plan.recipe.checkpoint.keep)?)
    }

    /// Returns what watches an evaluation.
    pub fn watch<'b>(&'b mut self, stop: &'b Stop) -> Watch<'b> {
        Watch { stop, observer: self.journal.observer() }
    }

    /// Notes the error that ends the run after `step` steps.
    pub fn failed(&mut self, step: u64, error: &TrainError) {
        self.journal.failed(step, error);
    }

    /// Notes that the run was asked to stop after `step` steps, with an evaluation still to be made.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn stopped(&mut self, step: u64) -> Result<(), TrainError> {
        self.warn_of_stop(step, "stopped on request during the evaluation; --resume evaluates")
    }

    /// Notes that a run with a result was asked to stop during a further evaluation after `step` steps.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn stopped_again(&mut self, step: u64) -> Result<(), TrainError> {
        let message = "stopped on request during the evaluation; the result of the earlier evaluation stays, and \
                       the same command evaluates again";
        self.warn_of_stop(step, message)
    }

    fn warn_of_stop(&mut self, step: u64, message: &str) -> Result<(), TrainError> {
        let epoch = step / self.plan.steps_per_epoch.max(1);
        Ok(self.journal.warn("evaluation", step, epoch, message.to_owned())?)
    }

    /// Reports that a long piece of work begins.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn phase(&mut self, what: &str) -> Result<(), TrainError> {
        Ok(self.journal.tell(&Event::Phase { what: what.to_owned() })?)
    }

    /// Reports the end of the run and writes `summary.json`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(&mut self, summary: &Summary) -> Result<(), TrainError> {
        self.journal.finish(summary, summary.steps, summary.interrupted)?;
        Ok(self.journal.tell(&Event::Finished { summary: summary.clone() })?)
    }
}
