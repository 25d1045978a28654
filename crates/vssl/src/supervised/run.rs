//! The loop of a training on labels. It reads from top to bottom; the classifiers are in [`super::linear`]
//! and [`super::finetune`].

use serde::Serialize;
use vssl_data::{Batch, Loader};

use super::{
    Classifier, HeadEpoch, HeadStep, HeadSummary, Job, Sample, Summary,
    heads::{HeadPosition, choose},
    judging::{Judged, judge},
};
use crate::{
    eval::{common_classes, confusion},
    run::{
        checkpoint::{Checkpoint, Position},
        clock::{Clock, Pace},
        events::{Event, Observer},
        folder::{RunFolder, SETTINGS},
        journal::Journal,
        space,
        stop::Stop,
    },
    schedule::Step,
    train::{TrainError, evaluation::result_notes, watch::Watch},
};

/// Runs `job` from the position of its folder to the last step, or until `stop` is requested; then writes the
/// summary.
///
/// # Errors
/// An image cannot be read, the training diverged, or a file cannot be read or written. The last checkpoint
/// stays.
pub(super) fn run(
    job: &Job,
    classifier: &mut dyn Classifier,
    stop: &Stop,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let (mut training, loader) = Training::start(job, classifier, observer)?;
    let ended = training.train(loader, stop).and_then(|()| training.finish());
    if let Err(error) = &ended {
        training.journal.failed(training.position.step, error);
    }
    ended
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
    journal: Journal<'a>,
    names: Vec<String>,
    position: Position,
    /// The progress of each classifier.
    heads: Vec<HeadPosition>,
    clock: Clock,
}

/// Opens the folder of the training, which has done `step` steps, and writes what belongs into it from the start.
fn opened(job: &Job, step: u64) -> Result<RunFolder, TrainError> {
    let path = &job.output.folder;
    let tensorboard = job.log.tensorboard;
    let folder = match job.output.resume {
        true => {
            let mut folder = RunFolder::resume(path, step, tensorboard)?;
            if job.differs_from_folder() {
                folder.replace_settings(SETTINGS, &job.settings, step)?;
            }
            folder
        }
        false => {
            let settings = (SETTINGS, job.settings.as_str());
            RunFolder::create_with(settings, path, job.output.force, tensorboard)?
        }
    };
    for (name, text) in &job.records {
        folder.write(name, text)?;
    }
    Ok(folder)
}

impl<'a> Training<'a> {
    fn start(
        job: &'a Job,
        classifier: &'a mut dyn Classifier,
        observer: &'a mut dyn Observer,
    ) -> Result<(Self, Loader), TrainError> {
        let names = classifier.heads();
        let path = &job.output.folder;
        let mut position = Position::default();
        let mut heads = vec![HeadPosition::default(); names.len()];
        if let Some(checkpoint) = &job.resume_from {
            classifier.load(checkpoint.tensors.clone())?;
            position = checkpoint.position.clone();
            heads = serde_json::from_value(position.task.take())
                .map_err(|source| TrainError::StoredHeads { folder: path.clone(), source })?;
            if checkpoint.images.as_ref() != Some(&job.images) {
                // These are numbers of other images.
                position.unreadable.clear();
            }
            if checkpoint.images.is_none() {
                // An earlier version wrote the checkpoint; it did not count the steps of an epoch.
                heads.iter_mut().for_each(|head| head.steps = position.step % job.steps_per_epoch);
            }
        }
        // An earlier training in the folder stays if this one cannot begin.
        let loader = job.loader(position.step)?;
        let folder = opened(job, position.step)?;
        let mut journal = Journal::new(folder, observer);
        journal.tell(&Event::Started {
            method: job.task.to_owned(),
            run: path.clone(),
            parameters: classifier.numbers(),
            train_images: job.train.len(),
            validation_images: Some(job.validation.len()),
            classes: job.train.classes().len(),
            steps: job.total_steps(),
            first_step: position.step,
            notes: job.notes.clone(),
        })?;
        let training = Self {
            job,
            classifier,
            journal,
            names,
            clock: Clock::start(position.seconds),
            position,
            heads,
        };
        Ok((training, loader))
    }

    /// Runs all steps, or until `stop` is requested.
    fn train(&mut self, loader: Loader, stop: &Stop) -> Result<(), TrainError> {
        let job = self.job;
        if self.position.unevaluated {
            // The training was stopped before it could evaluate.
            self.end_epoch(self.position.step / job.steps_per_epoch, stop)?;
            self.save()?;
        }
        for batch in loader {
            if self.position.unevaluated {
                break;
            }
            let batch = batch?;
            let at = job.step(self.position.step);
            self.learn(batch, &at)?;
            let done = self.position.step;
            if done.is_multiple_of(job.steps_per_epoch) {
                self.end_epoch(at.epoch + 1, stop)?;
            }
            let stops = stop.requested();
            if job.saves_after(done) || stops {
                self.save()?;
            }
            if stops {
                break;
            }
        }
        Ok(())
    }

    fn learn(&mut self, mut batch: Batch, at: &Step) -> Result<(), TrainError> {
        let labels = batch.labels.take().expect("a job's images have labels");
        let pixels = batch.views.remove(0).pixels.into_vec();
        let steps = self.classifier.learn(Sample { pixels, labels: &labels }, at)?;
        for (head, step) in self.heads.iter_mut().zip(&steps) {
            head.steps += 1;
            if step.loss.is_finite() {
                head.loss += step.loss;
                head.correct += step.correct;
            } else {
                head.diverged = true;
            }
        }
        self.position.step += 1;
        self.position.replaced += batch.replaced.len() as u64;
        self.position.unreadable.extend(batch.replaced.iter().map(|image| image.index));
        self.journal.warn_of_replaced(&batch, self.position.step, at.epoch)?;
        self.clock.step(batch.wait);
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
        self.journal
            .record(step, &Line::Step { step, epoch, loss: smallest, parts: &parts, lr })?;
        let Pace { images_per_s, loader_wait } = self.clock.pace(self.job.length.batch);
        let correct = steps.iter().map(|step| step.correct).max().unwrap_or(0);
        self.journal.tell(&Event::Step {
            step,
            epoch,
            loss: smallest.unwrap_or(f64::NAN),
            parts: parts.into_iter().filter_map(|(name, loss)| Some((name, loss?))).collect(),
            lr,
            gradient_norm: None,
            images_per_s,
            loader_wait,
            probe_top1: Some(100.0 * correct as f64 / self.job.length.batch as f64),
        })?;
        Ok(())
    }

    /// Closes the sums of an epoch, and evaluates on the validation split when that is due. Where `stop` is
    /// requested meanwhile, the sums stay open, and the next start evaluates.
    fn end_epoch(&mut self, epoch: u64, stop: &Stop) -> Result<(), TrainError> {
        self.note_lost_classes(epoch)?;
        let judged: Vec<Option<Judged>> =
            match self.job.evaluates_after(epoch).then(|| self.evaluate(stop)) {
                Some(Err(TrainError::Stopped)) => {
                    self.position.unevaluated = true;
                    return Ok(());
                }
                Some(judged) => judged?.into_iter().map(Some).collect(),
                None => vec![None; self.names.len()],
            };
        self.position.unevaluated = false;
        for (head, judged) in self.heads.iter_mut().zip(&judged) {
            let accuracy = judged.as_ref().filter(|_| !head.diverged);
            let images = head.steps * self.job.length.batch as u64;
            head.epochs.push(HeadEpoch {
                epoch,
                train_loss: (!head.diverged).then(|| head.loss / head.steps as f64),
                train_top1: 100.0 * head.correct as f64 / images as f64,
                top1: accuracy.and_then(|judged| judged.classes.top1()),
                top5: accuracy.map(|judged| judged.top5),
                balanced_top1: accuracy.and_then(|judged| judged.classes.balanced_top1()),
            });
            (head.steps, head.loss, head.correct) = (0, 0.0, 0);
        }
        let step = self.position.step;
        let last = |head: &HeadPosition| *head.epochs.last().expect("an epoch was just added");
        let heads = self.names.iter().zip(&self.heads);
        let heads = heads.map(|(name, head)| HeadLine { name, epoch: last(head) }).collect();
        self.journal.record(step, &Line::Evaluation { step, epoch, heads })?;
        let results = self.results();
        let chosen = choose(&results);
        let top1 = chosen.and_then(|head| head.last?.top1);
        self.write_classes(chosen.map(|head| head.name.as_str()), &judged)?;
        self.journal.tell(&Event::Evaluated { step, epoch, knn_top1: None, probe_top1: top1 })?;
        self.clock.leave_out();
        Ok(())
    }

    /// Writes the classes that the `chosen` classifier gave, if it was evaluated now.
    fn write_classes(
        &self,
        chosen: Option<&str>,
        judged: &[Option<Judged>],
    ) -> Result<(), TrainError> {
        let own = self.names.iter().zip(judged).find(|(name, _)| Some(name.as_str()) == chosen);
        let Some((name, Some(judged))) = own else { return Ok(()) };
        let classifier = format!("{}, {name}", self.job.task);
        let counts = [(classifier.as_str(), &judged.classes)];
        let files = confusion::files(self.position.step, &counts, self.job.train.classes());
        for (file, text) in files {
            self.journal.write(file, &text)?;
        }
        Ok(())
    }

    /// Returns what each classifier says of the validation split.
    fn evaluate(&mut self, stop: &Stop) -> Result<Vec<Judged>, TrainError> {
        let mut watch = Watch { stop, observer: self.journal.observer() };
        let found = judge(self.job, self.classifier.judge(), self.names.len(), &mut watch)?;
        (self.position.left_out, self.position.remarks) = (found.left_out, found.remarks);
        Ok(found.judged)
    }

    /// Notes the classes of which every training image was found to be unreadable, so that others took their places:
    /// they were not learnt.
    fn note_lost_classes(&mut self, epoch: u64) -> Result<(), TrainError> {
        let (images, bad) = (&self.job.train, &self.position.unreadable);
        let labels = images.labels().unwrap_or_default();
        let good = labels.iter().enumerate().filter(|(index, _)| !bad.contains(index));
        let good: Vec<i64> = good.map(|(_, &label)| label.into()).collect();
        let note = common_classes::lost("training", labels, &good, images.classes());
        match note.filter(|note| !self.position.notes.contains(note)) {
            None => Ok(()),
            Some(note) => {
                self.position.notes.push(note.clone());
                Ok(self.journal.warn("classes", self.position.step, epoch, note)?)
            }
        }
    }

    fn results(&self) -> Vec<HeadSummary> {
        let heads = self.names.iter().zip(&self.heads);
        heads
            .map(|(name, head)| HeadSummary::of(name.clone(), head.diverged, &head.epochs))
            .collect()
    }

    fn save(&mut self) -> Result<(), TrainError> {
        self.position.seconds = self.clock.seconds();
        let task = serde_json::to_value(&self.heads).expect("positions are plain data");
        let checkpoint = Checkpoint {
            position: Position { task, ..self.position.clone() },
            method: self.job.task.to_owned(),
            recipe: self.job.identity.clone(),
            images: Some(self.job.images.clone()),
            tensors: self.classifier.state(),
        };
        Ok(self.journal.save(&checkpoint, false, self.job.saving.keep)?)
    }

    fn finish(&mut self) -> Result<Summary, TrainError> {
        let (job, heads) = (self.job, self.results());
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
            network: job.encoder.network,
            pooling: job.encoder.pooling,
            seed: job.seed,
            steps: self.position.step,
            interrupted: self.position.step < job.total_steps() || self.position.unevaluated,
            train_images: job.train.len(),
            validation_images: job.validation.len().saturating_sub(self.position.left_out),
            classes: job.train.classes().len(),
            seconds: self.clock.seconds(),
            peak_rss_mib: space::peak_rss_mib(),
            commit: job.output.commit.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replaced_images: self.position.replaced,
            chosen: chosen.map(|head| head.name),
            top1: last.and_then(|epoch| epoch.top1),
            top5: last.and_then(|epoch| epoch.top5),
            balanced_top1: last.and_then(|epoch| epoch.balanced_top1),
            best_top1: best.and_then(|epoch| epoch.top1),
            best_top5: best.and_then(|epoch| epoch.top5),
            best_epoch: best.map(|epoch| epoch.epoch),
            heads,
            images: Some(job.images.clone()),
            notes: [
                result_notes(&self.position.notes, &job.notes, self.position.left_out),
                self.position.remarks.clone(),
            ]
            .concat(),
            folder: job.output.folder.clone(),
        };
        self.journal.finish(&summary, summary.steps, summary.interrupted)?;
        Ok(summary)
    }
}
