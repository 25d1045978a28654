//! The loop of a training on labels. It reads from top to bottom; what learns stands in
//! [`super::linear`] and [`super::finetune`].

use std::time::Instant;

use serde::Serialize;
use vssl_data::Batch;

use super::{Classifier, HeadStep, HeadSummary, Job, Sample, Summary, summary::choose};
use crate::{
    encoder::images::{each_evaluated, images_to_tensor},
    eval::topk::top_hits,
    run::{
        checkpoint::{Checkpoint, HeadEpoch, HeadPosition, Position},
        events::{Event, Observer},
        folder::{RunFolder, SETTINGS},
        space,
        stop::Stop,
    },
    schedule::Step,
    train::{TrainError, evaluate::left_out_note},
};

/// Runs `job` from where its folder stands to the last step, or until `stop` is requested; then
/// writes the summary.
///
/// # Errors
/// Bad images, a training that diverged, and whatever cannot be read or written. The last
/// checkpoint stays.
pub(super) fn run(
    job: &Job,
    classifier: &mut dyn Classifier,
    stop: &Stop,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let mut training = Training::start(job, classifier, observer)?;
    for batch in job.loader(training.position.step)? {
        let batch = batch?;
        let at = job.step(training.position.step);
        training.learn(batch, &at)?;
        let done = training.position.step;
        if done.is_multiple_of(job.steps_per_epoch) {
            training.end_epoch(at.epoch + 1)?;
        }
        if job.saves_after(done) || stop.requested() {
            training.save()?;
        }
        if stop.requested() {
            break;
        }
    }
    training.finish()
}

/// A line of `metrics.jsonl`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Line<'a> {
    Step { step: u64, epoch: u64, loss: Option<f64>, parts: &'a [(String, Option<f64>)], lr: f64 },
    Evaluation { step: u64, epoch: u64, heads: Vec<HeadLine<'a>> },
}

#[derive(Serialize)]
struct HeadLine<'a> {
    name: &'a str,
    #[serde(flatten)]
    epoch: HeadEpoch,
}

struct Training<'a> {
    job: &'a Job,
    classifier: &'a mut dyn Classifier,
    observer: &'a mut dyn Observer,
    folder: RunFolder,
    names: Vec<String>,
    position: Position,
    /// When this start began, and the seconds of the starts before it.
    began: (Instant, f64),
    /// Since the last logged step: when that was, steps and seconds of waiting.
    window: (Instant, u64, f64),
    /// Images that the last look at the validation split had to do without.
    left_out: usize,
}

impl<'a> Training<'a> {
    fn start(
        job: &'a Job,
        classifier: &'a mut dyn Classifier,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let names = classifier.heads();
        let path = &job.outset.folder;
        let mut position =
            Position { heads: vec![HeadPosition::default(); names.len()], ..Position::default() };
        if let Some(checkpoint) = &job.resume_from {
            classifier.load(checkpoint.tensors.clone())?;
            position = checkpoint.position.clone();
        }
        let tensorboard = job.log.tensorboard;
        let mut folder = match job.outset.resume {
            true => RunFolder::resume(path, position.step, tensorboard)?,
            false => {
                let settings = (SETTINGS, job.settings.as_str());
                RunFolder::create_with(settings, path, job.outset.force, tensorboard)?
            }
        };
        if let Some((name, text)) = &job.record {
            folder.write(name, text)?;
        }
        folder.log(&format!("starts at step {} of {}", position.step, job.total_steps()))?;
        observer.event(&Event::Started {
            method: job.task.to_owned(),
            run: path.clone(),
            parameters: classifier.numbers(),
            train_images: job.train.len(),
            validation_images: Some(job.validation.len()),
            classes: job.train.classes().len(),
            steps: job.total_steps(),
            first_step: position.step,
            notes: job.notes.clone(),
        });
        let began = (Instant::now(), position.seconds);
        let window = (Instant::now(), 0, 0.0);
        let left_out = 0;
        Ok(Self { job, classifier, observer, folder, names, position, began, window, left_out })
    }

    fn learn(&mut self, mut batch: Batch, at: &Step) -> Result<(), TrainError> {
        let labels = batch.labels.take().expect("a job's images have labels");
        let pixels = batch.views.remove(0).pixels.into_vec();
        let steps = self.classifier.learn(Sample { pixels, labels: &labels }, at)?;
        for (head, step) in self.position.heads.iter_mut().zip(&steps) {
            if step.loss.is_finite() {
                head.loss += step.loss;
                head.correct += step.correct;
            } else {
                head.diverged = true;
            }
        }
        self.position.step += 1;
        self.position.replaced += batch.replaced.len() as u64;
        for bad in &batch.replaced {
            let message = format!("replaced an unreadable image: {}", bad.error);
            self.folder.log(&message)?;
            self.observer.event(&Event::Warning { step: self.position.step, message });
        }
        self.window.1 += 1;
        self.window.2 += batch.wait.as_secs_f64();
        if self.job.logs_after(self.position.step) {
            self.log_step(&steps, at)?;
        }
        Ok(())
    }

    fn log_step(&mut self, steps: &[HeadStep], at: &Step) -> Result<(), TrainError> {
        let finite = |step: &HeadStep| step.loss.is_finite().then_some(step.loss);
        let parts: Vec<(String, Option<f64>)> =
            self.names.iter().cloned().zip(steps.iter().map(finite)).collect();
        let smallest = steps.iter().filter_map(finite).min_by(f64::total_cmp);
        let (step, epoch, lr) = (self.position.step, at.epoch, self.classifier.rate(at));
        self.folder.record(step, &Line::Step { step, epoch, loss: smallest, parts: &parts, lr })?;
        let (began, count, waited) = std::mem::replace(&mut self.window, (Instant::now(), 0, 0.0));
        let seconds = began.elapsed().as_secs_f64();
        let correct = steps.iter().map(|step| step.correct).max().unwrap_or(0);
        self.observer.event(&Event::Step {
            step,
            epoch,
            loss: smallest.unwrap_or(f64::NAN),
            parts: parts.into_iter().filter_map(|(name, loss)| Some((name, loss?))).collect(),
            lr,
            gradient_norm: 0.0,
            images_per_s: count as f64 * self.job.length.batch as f64 / seconds,
            loader_wait: waited / seconds,
            probe_top1: Some(100.0 * correct as f64 / self.job.length.batch as f64),
        });
        Ok(())
    }

    /// Closes the sums of an epoch, and looks at the validation split when that is due.
    fn end_epoch(&mut self, epoch: u64) -> Result<(), TrainError> {
        let accuracies = match self.job.evaluates_after(epoch) {
            true => self.evaluate()?.into_iter().map(Some).collect(),
            false => vec![None; self.names.len()],
        };
        let steps = self.job.steps_per_epoch;
        let images = steps * self.job.length.batch as u64;
        for (head, accuracy) in self.position.heads.iter_mut().zip(accuracies) {
            let accuracy = accuracy.filter(|_| !head.diverged);
            head.epochs.push(HeadEpoch {
                epoch,
                train_loss: (!head.diverged).then(|| head.loss / steps as f64),
                train_top1: 100.0 * head.correct as f64 / images as f64,
                top1: accuracy.map(|[top1, _]| top1),
                top5: accuracy.map(|[_, top5]| top5),
            });
            (head.loss, head.correct) = (0.0, 0);
        }
        let step = self.position.step;
        let last = |head: &HeadPosition| *head.epochs.last().expect("one was just pushed");
        let heads = self.names.iter().zip(&self.position.heads);
        let heads = heads.map(|(name, head)| HeadLine { name, epoch: last(head) }).collect();
        self.folder.record(step, &Line::Evaluation { step, epoch, heads })?;
        let top1 = choose(&self.heads()).and_then(|head| head.last?.top1);
        self.observer.event(&Event::Evaluated { step, epoch, knn_top1: None, probe_top1: top1 });
        self.window = (Instant::now(), 0, 0.0);
        Ok(())
    }

    /// Top-1 and top-5 of each classifier on the validation split, percent.
    fn evaluate(&mut self) -> Result<Vec<[f64; 2]>, TrainError> {
        let (validation, job) = (&self.job.validation, self.job);
        let labels = validation.labels().expect("a job's images have labels");
        let judge = self.classifier.judge();
        let mut hits = vec![[0_usize; 2]; self.names.len()];
        let mut images = 0;
        let evaluation = job.evaluation();
        let left_out =
            each_evaluated(validation, evaluation, TrainError::from, |indices, pixels| {
                let x = images_to_tensor(pixels, indices.len(), job.input.size, &job.device);
                let targets: Vec<u32> = indices.iter().map(|&index| labels[index]).collect();
                for (hits, scores) in hits.iter_mut().zip(judge(x)) {
                    let classes = scores.dims()[1];
                    let scores: Vec<f32> =
                        scores.into_data().try_into_vec().expect("scores are f32"); // device read
                    for (sum, more) in hits.iter_mut().zip(top_hits(&scores, classes, &targets)) {
                        *sum += more;
                    }
                }
                images += indices.len();
                Ok(())
            })?;
        self.left_out = left_out;
        let percent = |count: usize| 100.0 * count as f64 / images.max(1) as f64;
        Ok(hits.into_iter().map(|hits| hits.map(percent)).collect())
    }

    fn heads(&self) -> Vec<HeadSummary> {
        let heads = self.names.iter().zip(&self.position.heads);
        heads
            .map(|(name, head)| HeadSummary::of(name.clone(), head.diverged, &head.epochs))
            .collect()
    }

    fn seconds(&self) -> f64 {
        self.began.1 + self.began.0.elapsed().as_secs_f64()
    }

    fn save(&mut self) -> Result<(), TrainError> {
        self.position.seconds = self.seconds();
        let step = self.position.step;
        let checkpoint = Checkpoint {
            position: self.position.clone(),
            method: self.job.task.to_owned(),
            recipe: self.job.identity.clone(),
            tensors: self.classifier.state(),
        };
        let store = self.folder.checkpoints();
        let saved = store.save(&checkpoint, false, self.job.saving.keep);
        let path = saved.map_err(TrainError::not_saved(&store, step))?;
        self.observer.event(&Event::Checkpoint { step, path });
        Ok(())
    }

    fn finish(mut self) -> Result<Summary, TrainError> {
        let (job, heads) = (self.job, self.heads());
        let chosen = choose(&heads).filter(|head| head.last.is_some()).cloned();
        let (last, best) = (
            chosen.as_ref().and_then(|head| head.last),
            chosen.as_ref().and_then(|head| head.best),
        );
        let summary = Summary {
            task: job.task.to_owned(),
            encoder: job.encoder.path.clone(),
            encoder_step: job.encoder.step,
            method: job.encoder.method.clone(),
            pretraining_seed: job.encoder.seed,
            seed: job.seed,
            steps: self.position.step,
            interrupted: self.position.step < job.total_steps(),
            train_images: job.train.len(),
            validation_images: job.validation.len() - self.left_out,
            classes: job.train.classes().len(),
            seconds: self.seconds(),
            peak_rss_mib: space::peak_rss_mib(),
            commit: job.outset.commit.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replaced_images: self.position.replaced,
            chosen: chosen.map(|head| head.name),
            top1: last.and_then(|epoch| epoch.top1),
            top5: last.and_then(|epoch| epoch.top5),
            best_top1: best.and_then(|epoch| epoch.top1),
            best_top5: best.and_then(|epoch| epoch.top5),
            best_epoch: best.map(|epoch| epoch.epoch),
            heads,
            notes: job.notes.iter().cloned().chain(left_out_note(self.left_out)).collect(),
            folder: job.outset.folder.clone(),
        };
        self.folder.summarise(&summary)?;
        let how = if summary.interrupted { "stopped on request" } else { "finished" };
        self.folder.log(&format!("{how} after step {}", summary.steps))?;
        Ok(summary)
    }
}
