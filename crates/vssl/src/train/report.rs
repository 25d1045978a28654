//! The reports of a run to its folder and its observer. Called by the training loop.

use std::collections::BTreeMap;

use serde::Serialize;
use vssl_data::Batch;

use super::{Plan, TrainError, health::Health, step_report::StepReport, watch::Watch};
use crate::{
    eval::confusion::{self, Confusion},
    run::{
        checkpoint::{Checkpoint, Position},
        clock::{Clock, Pace},
        events::{Event, Observer, Summary},
        folder::{RECIPE, RunFolder},
        journal::Journal,
        stop::Stop,
    },
    schedule::Step,
};

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
