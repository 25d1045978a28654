//! The training loop. It reads from top to bottom; [`crate::method`] defines what a method is, and
//! [`crate::run::folder`] what a run leaves behind. Where several processes train together, all run this loop
//! in step, as [`crate::collective`] describes; rank 0 alone evaluates, writes and reports.

use std::sync::Arc;

use vssl_data::{Batch, Loader};
use vssl_kernels::breakdown::{self, Part};

use super::{
    Plan, TrainError,
    batch::{self, MicroBatch},
    evaluate,
    evaluation::Evaluation,
    health::Health,
    loss_head::LossHeadTraining,
    probe::Probe,
    report::Reporter,
    saved_state::{self, restore},
    step::Update,
    step_report::{LOSS_HEAD, StepReport},
};
use crate::{
    encoder::images,
    eval::evaluators::{self, Knn, Splits},
    method::learner::{Learner, Network},
    optim::Optimizer,
    run::{
        checkpoint::{Checkpoint, Position},
        clock::Clock,
        events::{Observer, Summary},
        metrics,
        stop::Stop,
    },
    schedule::Step,
};

/// Runs `plan` from the position of its run folder to the last step, or until `stop` is requested; then
/// evaluates and writes the summary.
///
/// # Errors
/// Images cannot be read, a number is not finite, or a file cannot be read or written. The last checkpoint
/// stays. Other ranks may wait for this rank without a limit: a program with several ranks has to end them
/// by [`Group::abort`](crate::collective::Group::abort) when a rank fails.
pub fn pretrain(
    plan: &Plan,
    stop: &Stop,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let (mut run, loader) = Run::start(plan, observer)?;
    let ended = run.train(loader, stop).and_then(|()| run.finish(stop));
    if let (Err(error), Some(reporter)) = (&ended, &mut run.reporter) {
        reporter.failed(run.position.step, error);
    }
    ended
}

/// The state that changes while a run goes on.
pub(super) struct Run<'a> {
    plan: &'a Plan,
    learner: Box<dyn Learner>,
    optimizer: Optimizer,
    probe: Option<Probe>,
    loss_head: Option<LossHeadTraining>,
    position: Position,
    /// The step at which this process started.
    first: u64,
    clock: Clock,
    /// The kNN accuracy since the last checkpoint, when it is the best so far.
    new_best: bool,
    /// The reporter, on rank 0 only.
    reporter: Option<Reporter<'a>>,
}

impl<'a> Run<'a> {
    /// Checks everything that can be checked before the run folder is touched: an earlier run in it stays if
    /// the new one cannot begin.
    fn start(plan: &'a Plan, observer: &'a mut dyn Observer) -> Result<(Self, Loader), TrainError> {
        let mut run = Self::prepared(plan)?;
        let (learner, probe) = (run.learner.as_ref(), run.probe.as_ref());
        let numbers = plan.numbers_saved(learner, &run.optimizer, probe, run.loss_head.as_ref());
        plan.check_space(numbers, plan.numbers_kept(learner))?;
        let loader = plan.loader(run.position.step)?;
        plan.check_start()?;
        // All ranks have come this far; while rank 0 works alone, the others wait without a time limit.
        plan.group.barrier();
        plan.group.check()?;
        if plan.group.leads() {
            let parameters = run.learner.parameters();
            let numbers = parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum();
            let mut opened = Reporter::open(plan, &run.position, observer)?;
            plan.keep_start(run.learner.as_ref())?;
            opened.started(numbers, &run.position)?;
            run.reporter = Some(opened);
        }
        plan.group.wait_for_leader();
        plan.group.check()?;
        run.clock = Clock::start(run.position.seconds);
        Ok((run, loader))
    }

    /// Makes the networks and what trains them, or takes them from the checkpoint, without a file of the run.
    pub(super) fn prepared(plan: &'a Plan) -> Result<Self, TrainError> {
        plan.check_weights()?;
        evaluators::check_names(&plan.evaluators).map_err(TrainError::Setting)?;
        let mut learner = plan.fitting_learner()?;
        let mut optimizer = plan.optimizer(learner.as_ref())?;
        let mut probe = plan.probe();
        let mut loss_head = plan.loss_head()?;
        let mut position = match &plan.resume_from {
            None => Position::default(),
            Some(checkpoint) => {
                let (probe, head) = (probe.as_mut(), loss_head.as_mut());
                restore(checkpoint, plan, learner.as_mut(), &mut optimizer, probe, head)?;
                checkpoint.position.clone()
            }
        };
        if plan.recipe.train.precision.scales_loss() {
            position.loss_scale.get_or_insert_default();
        }
        let (clock, first) = (Clock::start(position.seconds), position.step);
        let (new_best, reporter) = (false, None);
        Ok(Self {
            plan,
            learner,
            optimizer,
            probe,
            loss_head,
            position,
            first,
            clock,
            new_best,
            reporter,
        })
    }

    /// Runs all steps, or until `stop` is requested in a process of the group.
    fn train(&mut self, loader: Loader, stop: &Stop) -> Result<(), TrainError> {
        self.evaluate_start(stop)?;
        let group = &self.plan.group;
        // The run was stopped before it could evaluate.
        if self.position.unevaluated && self.evaluate_and_save(stop, false)? {
            return Ok(());
        }
        for batch in loader {
            let mut batch = batch?;
            let at = self.plan.step(self.position.step);
            let report = self.step(&mut batch, &at)?;
            self.clock.step(batch.wait);
            let own = [batch.replaced.len() as u64, u64::from(stop.requested())];
            let [replaced, stops] = group.sum_numbers(own);
            group.check()?;
            self.position.replaced += replaced;
            if let Some(reporter) = &mut self.reporter {
                reporter.step(&report, &batch, &self.position, &at, &mut self.clock)?;
            }
            if self.evaluate_and_save(stop, stops > 0)? {
                break;
            }
        }
        Ok(())
    }

    /// Trains on one batch, whose views may be taken out.
    pub(super) fn step(&mut self, batch: &mut Batch, at: &Step) -> Result<StepReport, TrainError> {
        if at.starts_epoch() {
            self.learner.before_epoch(at);
        }
        let mut report = self.forward_backward(batch, at)?;
        self.update(&mut report, at)?;
        self.position.step += 1;
        Ok(report)
    }

    /// Runs both passes over the micro-batches of this rank. The gradients, this rank's share of the mean
    /// over the whole batch, wait in the learner. The report is of the joint batch, and its numbers are still
    /// on the device.
    fn forward_backward(&mut self, batch: &mut Batch, at: &Step) -> Result<StepReport, TrainError> {
        let (group, train) = (&self.plan.group, &self.plan.recipe.train);
        let (micro_batches, precision) = (train.accumulate, train.precision);
        let loss_scale = self.position.loss_scale.map_or(1.0, |scale| scale.factor);
        let device = self.plan.device.clone().autodiff();
        let mut report = StepReport::default();
        for micro in 0..micro_batches {
            breakdown::enter(Part::Loader);
            let MicroBatch { views, labels } =
                batch::micro(batch, micro, micro_batches, group, &device);
            let at = Step { micro: micro as u64, ..*at };
            let share = 1.0 / micro_batches as f64;
            let mut views = precision.of(views);
            if self.plan.recipe.method.sees_labels() {
                views.labels = labels.map(<[u32]>::to_vec);
            }
            let outcome = self.learner.forward_backward(&views, share * loss_scale, &at);
            group.check()?;
            report.add(&outcome, share);
            let looks = micro == 0 && self.plan.checks_health_after(at.index + 1);
            let labels = labels.filter(|_| self.probe.is_some());
            if !looks && labels.is_none() && self.loss_head.is_none() {
                continue;
            }
            // The features of other ranks are sent only where they are used.
            let features = outcome.features.into_iter().map(|x| x.inner()).collect();
            let features = group.gather_all(features);
            if looks {
                let features = images::features(features[0].clone());
                report.health = Some(Health::of(&features)?);
            }
            if let Some(head) = &mut self.loss_head {
                let losses = outcome.image_losses;
                let losses =
                    losses.expect("a method that has losses of images returns them when asked");
                let loss =
                    head.step(&features, losses.inner(), |base| self.plan.rate(base, &at))?;
                report.add_figure(LOSS_HEAD, loss, share);
            }
            if let (Some(probe), Some(labels)) = (&mut self.probe, labels) {
                let labels = group.gather_labels(labels);
                report.probe(probe.step(features, &labels, self.plan.probe_rate(&at)));
            }
        }
        group.check()?;
        Ok(report)
    }

    fn update(&mut self, report: &mut StepReport, at: &Step) -> Result<(), TrainError> {
        let (plan, clips) = (self.plan, self.plan.recipe.train.clips());
        let rate = |base| plan.rate(base, at);
        let loss_scale = self.position.loss_scale.as_mut();
        let update = Update { group: &plan.group, clips: &clips, rate: &rate, loss_scale };
        update.apply(self.learner.as_mut(), &mut self.optimizer, report, at)?;
        report.lr = rate(plan.base_rate());
        report.weight_decay = plan.recipe.optimizer.changing_weight_decay_at(at);
        report.symptom = self.learner.symptom(&report.figures);
        Ok(())
    }

    /// Evaluates and saves on rank 0 where that is due; the other ranks wait, however long it takes. `stops`
    /// says whether the run ends here on request. Returns whether it does: a stop may also be requested during
    /// the evaluation, which then is left to the next start.
    fn evaluate_and_save(&mut self, stop: &Stop, mut stops: bool) -> Result<bool, TrainError> {
        let (plan, catches_up) = (self.plan, self.position.unevaluated);
        let evaluates = plan.evaluates_after(self.position.step) && plan.has_validation_labels();
        if evaluates {
            self.position.unevaluated = true;
            if self.reporter.is_some() && !stops {
                match self.evaluate(stop) {
                    Ok(()) => self.position.unevaluated = false,
                    Err(TrainError::Stopped) => {}
                    Err(error) => return Err(error),
                }
                self.clock.leave_out();
            }
            plan.group.wait_for_leader();
            let left = self.position.unevaluated && plan.group.leads();
            let own = [u64::from(stop.requested()), u64::from(left)];
            let [asked, left] = plan.group.sum_numbers(own);
            plan.group.check()?;
            self.position.unevaluated = left > 0;
            stops |= asked > 0;
        } else {
            // With another length or other settings no evaluation is due here any more.
            self.position.unevaluated = false;
        }
        let saves = plan.saves_after(self.position.step) || stops || catches_up;
        if saves || self.new_best || evaluates {
            if saves || self.new_best {
                self.save()?;
            }
            plan.group.wait_for_leader();
            plan.group.check()?;
        }
        Ok(stops)
    }

    /// Evaluates the encoder that the run starts from on rank 0, before the first step: the curve of the evaluations
    /// begins there. A stop during the evaluation leaves it out.
    fn evaluate_start(&mut self, stop: &Stop) -> Result<(), TrainError> {
        let plan = self.plan;
        let wanted = plan.recipe.init.is_some() && plan.recipe.knn.every_epochs > 0;
        if self.position.step > 0 || !wanted || !plan.has_validation_labels() {
            return Ok(());
        }
        let is_known = plan.continues && metrics::has_evaluation(&plan.run, 0);
        if self.reporter.is_some() && !is_known && !stop.requested() {
            match self.neighbours(stop) {
                Ok(None) | Err(TrainError::Stopped) => {}
                Ok(Some((_, knn))) => {
                    let reporter = self.reporter.as_mut().expect("this rank has one");
                    reporter.evaluated(0, Some(knn), None)?;
                }
                Err(error) => return Err(error),
            }
            self.clock.leave_out();
        }
        plan.group.wait_for_leader();
        plan.group.check()?;
        Ok(())
    }

    /// Returns the features of both splits by the encoder as it is now, and the accuracy of nearest neighbours.
    fn neighbours(&mut self, stop: &Stop) -> Result<Option<(Arc<Splits>, f64)>, TrainError> {
        let encoder = self.learner.encoder(Network::Student).expect("every method has a student");
        let Some(reporter) = &mut self.reporter else { return Ok(None) };
        let watch = &mut reporter.watch(stop);
        let Some((splits, _)) = evaluate::splits(self.plan, &encoder, watch)? else {
            return Ok(None);
        };
        let (knn, splits) = (Knn::of(&self.plan.recipe.knn), Arc::new(splits));
        let own = Arc::clone(&splits);
        let knn = watch.run("nearest neighbours", move |_| Ok(knn.top1(&own)?))?;
        Ok(Some((splits, knn)))
    }

    fn evaluate(&mut self, stop: &Stop) -> Result<(), TrainError> {
        let Some((splits, knn)) = self.neighbours(stop)? else { return Ok(()) };
        let Some(reporter) = &mut self.reporter else { return Ok(()) };
        self.position.online = match &self.probe {
            Some(probe) => {
                let encoder = self.learner.encoder(Network::Student);
                let of = (&*splits, &encoder.expect("every method has a student"));
                Some(evaluate::probe_top1(self.plan, of, probe, &mut reporter.watch(stop))?)
            }
            None => None,
        };
        if self.position.best.is_none_or(|(best, _)| knn > best) {
            self.position.best = Some((knn, self.position.step));
            self.new_best = self.plan.recipe.checkpoint.best;
        }
        reporter.evaluated(self.position.step, Some(knn), self.position.online)
    }

    fn save(&mut self) -> Result<(), TrainError> {
        self.position.seconds = self.clock.seconds();
        let is_best = std::mem::take(&mut self.new_best);
        let Some(reporter) = &mut self.reporter else { return Ok(()) };
        let checkpoint = Checkpoint {
            position: self.position.clone(),
            method: self.plan.recipe.method.name().to_owned(),
            recipe: self.plan.recipe_text.clone(),
            images: self.plan.images.clone(),
            tensors: saved_state::collect(
                self.learner.as_ref(),
                &self.optimizer,
                self.probe.as_ref(),
                self.loss_head.as_ref(),
            ),
        };
        reporter.save(&checkpoint, is_best)
    }

    fn finish(&mut self, stop: &Stop) -> Result<Summary, TrainError> {
        let seconds = self.clock.seconds();
        let mut interrupted =
            self.position.step < self.plan.total_steps || self.position.unevaluated;
        let mut evaluation = Evaluation::unmeasured(self.plan);
        let reports_again = self.reporter.is_some() && self.position.step == self.first;
        let earlier = if reports_again { self.plan.earlier_result()? } else { None };
        if let Some(reporter) = &mut self.reporter
            && !interrupted
        {
            let encoder = self.learner.encoder(Network::Student);
            let encoder = encoder.expect("every method has a student");
            match evaluate::at_the_end(self.plan, &encoder, reporter, stop) {
                Ok(measured) => evaluation = measured,
                Err(TrainError::Stopped) => interrupted = true,
                Err(error) => return Err(error),
            }
            if let Some(earlier) = &earlier {
                evaluation.keep(earlier);
            }
        }
        if let Some(reporter) = self.reporter.as_mut().filter(|_| !interrupted) {
            reporter.classes(self.position.step, &evaluation.classes)?;
        }
        let mut summary = self.plan.summary(&self.position, seconds, evaluation);
        summary.interrupted = interrupted;
        // Half an evaluation does not replace an earlier result of the same weights.
        let replaces = !interrupted || earlier.is_none();
        if let Some(reporter) = self.reporter.as_mut().filter(|_| !replaces) {
            reporter.stopped_again(self.position.step)?;
        }
        if let Some(reporter) = self.reporter.as_mut().filter(|_| replaces) {
            if interrupted && self.position.step == self.plan.total_steps {
                reporter.stopped(self.position.step)?;
            }
            let done = self.position.step.saturating_sub(self.first).max(1);
            if let Some(traffic) = self.plan.group.traffic_of(done) {
                reporter.phase(&traffic)?;
            }
            reporter.finish(&summary)?;
        }
        self.plan.group.wait_for_leader();
        // Rank 0 alone evaluates, and all ranks end alike.
        let [stopped] = self.plan.group.sum_numbers([u64::from(interrupted)]);
        self.plan.group.check()?;
        summary.interrupted = stopped > 0;
        Ok(summary)
    }
}
