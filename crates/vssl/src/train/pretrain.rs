//! The training loop. It reads from top to bottom; what a method is stands in [`crate::method`],
//! what a run leaves behind in [`super::run_folder`].

use std::{collections::BTreeMap, time::Instant};

use vssl_data::Batch;

use super::{
    Plan, TrainError,
    batch::{self, MicroBatch},
    checkpoint::{Checkpoint, CheckpointError, Position, Store},
    evaluate::{self, Evaluation, Splits},
    events::{Observer, Summary},
    health::Health,
    learner::{Learner, Network},
    probe::Probe,
    report::{Reporter, StepReport},
    step,
    stop::Stop,
};
use crate::{optim::Optimizer, schedule::Step};

/// Runs `plan` from where its run folder stands to the last step, or until `stop` is requested;
/// then evaluates and writes the summary.
///
/// # Errors
/// Bad images, non-finite numbers and whatever cannot be read or written. The last checkpoint
/// stays.
pub fn pretrain(
    plan: &Plan,
    stop: &Stop,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let mut run = Run::start(plan, observer)?;
    for batch in plan.loader(run.position.step)? {
        let batch = batch?;
        let at = plan.step(run.position.step);
        if at.starts_epoch() {
            run.learner.before_epoch(&at);
        }
        let mut report = run.forward_backward(&batch, &at)?;
        run.update(&mut report, &at)?;
        run.position.step += 1;
        run.position.replaced += batch.replaced.len() as u64;
        run.reporter.step(&report, &batch, &run.position, &at)?;
        if plan.evaluates_after(run.position.step) {
            run.evaluate()?;
        }
        if plan.saves_after(run.position.step) || run.new_best || stop.requested() {
            run.save()?;
        }
        if stop.requested() {
            break;
        }
    }
    run.finish()
}

/// Everything that changes while a run goes on.
struct Run<'a> {
    plan: &'a Plan,
    learner: Box<dyn Learner>,
    optimizer: Optimizer,
    probe: Option<Probe>,
    position: Position,
    /// When this start began, and the seconds of the starts before it.
    began: (Instant, f64),
    /// kNN accuracy since the last checkpoint, when it is the best so far.
    new_best: bool,
    reporter: Reporter<'a>,
}

impl<'a> Run<'a> {
    fn start(plan: &'a Plan, observer: &'a mut dyn Observer) -> Result<Self, TrainError> {
        let mut learner = plan.learner();
        let mut optimizer = plan.optimizer(learner.as_ref())?;
        let mut probe = plan.probe();
        let position = match &plan.resume_from {
            None => Position::default(),
            Some(checkpoint) => {
                restore(checkpoint, plan, learner.as_mut(), &mut optimizer, probe.as_mut())?;
                checkpoint.position.clone()
            }
        };
        let mut reporter = Reporter::open(plan, &position, observer)?;
        let numbers = learner.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum();
        reporter.started(numbers, &position)?;
        let began = (Instant::now(), position.seconds);
        let new_best = false;
        Ok(Self { plan, learner, optimizer, probe, position, began, new_best, reporter })
    }

    /// Gradients of the whole batch, the mean over its micro-batches, wait in the learner.
    fn forward_backward(&mut self, batch: &Batch, at: &Step) -> Result<StepReport, TrainError> {
        let micro_batches = self.plan.recipe.train.accumulate;
        let device = self.plan.device.clone().autodiff();
        let mut report = StepReport::default();
        for micro in 0..micro_batches {
            let MicroBatch { views, labels } = batch::micro(batch, micro, micro_batches, &device);
            let at = Step { micro: micro as u64, ..*at };
            let share = 1.0 / micro_batches as f64;
            let outcome = self.learner.forward_backward(&views, share, &at);
            report.add(&outcome, share);
            if micro == 0 && self.plan.checks_health_after(at.index + 1) {
                let features = evaluate::features(outcome.features[0].clone());
                report.health = Some(Health::of(&features)?);
            }
            if let (Some(probe), Some(labels)) = (&mut self.probe, labels) {
                let features = outcome.features.into_iter().map(|x| x.inner()).collect();
                report.probe(probe.step(features, labels, self.plan.probe_rate(&at)));
            }
        }
        report.check_finite(at.index + 1)?;
        Ok(report)
    }

    fn update(&mut self, report: &mut StepReport, at: &Step) -> Result<(), TrainError> {
        let (plan, clips) = (self.plan, self.plan.recipe.train.clips());
        let rate = |base| plan.rate(base, at);
        let (learner, optimizer) = (self.learner.as_mut(), &mut self.optimizer);
        report.gradient_norm = step::update(learner, optimizer, &clips, &rate, at)?;
        report.lr = rate(plan.base_rate());
        report.symptom = self.learner.symptom(&report.figures);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<(), TrainError> {
        let encoder = self.learner.encoder(Network::Student).expect("every method has a student");
        let Some(splits) = Splits::of(self.plan, &encoder)? else { return Ok(()) };
        let knn = splits.knn(&self.plan.recipe.knn)?;
        self.position.online = match &self.probe {
            Some(probe) => Some(splits.probe(probe, self.plan)?),
            None => None,
        };
        if self.position.best.is_none_or(|(best, _)| knn > best) {
            self.position.best = Some((knn, self.position.step));
            self.new_best = true;
        }
        self.reporter.evaluated(self.position.step, Some(knn), self.position.online)
    }

    fn save(&mut self) -> Result<(), TrainError> {
        self.position.seconds = self.seconds();
        let mut tensors = BTreeMap::from([
            ("student".to_owned(), self.learner.student()),
            ("memory".to_owned(), self.learner.memory()),
            ("optimizer".to_owned(), self.optimizer.state()),
        ]);
        if let Some(probe) = &self.probe {
            tensors.insert("probe".to_owned(), probe.state());
        }
        let checkpoint = Checkpoint {
            position: self.position.clone(),
            method: self.plan.recipe.method.clone(),
            recipe: self.plan.recipe_text.clone(),
            tensors,
        };
        self.reporter.save(&checkpoint, std::mem::take(&mut self.new_best))
    }

    fn seconds(&self) -> f64 {
        self.began.1 + self.began.0.elapsed().as_secs_f64()
    }

    fn finish(mut self) -> Result<Summary, TrainError> {
        let seconds = self.seconds();
        let interrupted = self.position.step < self.plan.total_steps;
        let evaluation = if interrupted {
            Evaluation::default()
        } else {
            let encoder = self.learner.encoder(Network::Student);
            let encoder = encoder.expect("every method has a student");
            evaluate::at_the_end(self.plan, &encoder, &mut self.reporter)?
        };
        let summary = self.plan.summary(&self.position, seconds, evaluation);
        self.reporter.finish(&summary)?;
        Ok(summary)
    }
}

fn restore(
    checkpoint: &Checkpoint,
    plan: &Plan,
    learner: &mut dyn Learner,
    optimizer: &mut Optimizer,
    probe: Option<&mut Probe>,
) -> Result<(), TrainError> {
    let tensors = |kind: &'static str| {
        checkpoint.tensors.get(kind).cloned().ok_or(TrainError::Incomplete { kind })
    };
    learner.load(tensors("student")?, tensors("memory")?).map_err(|source| {
        let folder = plan.run.join("checkpoints").join(Store::name(checkpoint.position.step));
        CheckpointError::OtherNetwork { path: folder, source: Box::new(source) }
    })?;
    let parameters = learner.parameters();
    let device = &plan.device;
    optimizer.load_state(tensors("optimizer")?, &parameters, device)?;
    match probe {
        Some(probe) => probe.load(tensors("probe")?).map_err(|e| TrainError::Probe(Box::new(e))),
        None => Ok(()),
    }
}
