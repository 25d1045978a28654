//! Offline linear evaluation: classifiers on a frozen encoder, after solo-learn (JMLR 23, 2022).
//!
//! Training sees random resized crops and flips, testing a resize and a centre crop. The encoder
//! The encoder runs once for each batch, in evaluation mode; each learning rate has its own classifier on
//! these features. The classifiers share nothing: each ends as it would alone, bit for bit.

use std::collections::BTreeMap;

use vssl_data::Splits;

use super::{
    Classifier, HeadStep, Job, Judge, LinearSettings, OutputOptions, Sample, Summary, job::Common,
    run,
};
use crate::{
    encoder::Encoder,
    recipe::ProbeConfig,
    run::{events::Observer, stop::Stop},
    schedule::{Schedule, Step},
    tensors::{reading::Waiting, state::Tensors},
    train::{TrainError, probe::Probe},
};

impl Job {
    /// Plans a linear evaluation.
    ///
    /// # Errors
    /// Labels are missing, the batch is larger than the training set, or the folder is taken. For an
    /// evaluation that goes on: the checkpoint is damaged, or the settings, encoder or images are others.
    pub fn linear(
        encoder: &Encoder,
        splits: &Splits,
        settings: &LinearSettings,
        output: OutputOptions,
    ) -> Result<Self, TrainError> {
        let LinearSettings { seed, train, view, data, checkpoint, log, .. } = settings;
        let scale = train.batch as f64 / 256.0;
        let first = settings.rates.first().copied().unwrap_or_default();
        // Unless the settings name milestones, they follow the number of epochs.
        let rate = |epochs: u64, at: &Step| {
            let train = super::Length { epochs, ..train.clone() };
            LinearSettings { train, ..settings.clone() }.schedule().at(first * scale, at)
        };
        let rate_name = format!("the learning rate of `lr {first}`");
        let rate = &rate;
        let common = Common { seed: *seed, train, view, data, checkpoint, log, rate_name, rate };
        Job::new("linear", encoder, splits, settings, &common, output)
    }
}

/// Runs a linear evaluation to its end, or until `stop` is requested.
///
/// # Errors
/// An image cannot be read, or a file cannot be read or written. A learning rate that diverges is reported,
/// and the other rates go on.
pub fn linear(
    job: &Job,
    encoder: &Encoder,
    settings: &LinearSettings,
    stop: &Stop,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let mut heads = Heads::new(job, encoder, settings);
    run::run(job, &mut heads, stop, observer)
}

struct Heads<'a> {
    encoder: &'a Encoder,
    schedule: Schedule,
    /// The classifiers, each with its learning rate (batch size included) and its name.
    heads: Vec<(Probe, f64, String)>,
    numbers: usize,
}

impl<'a> Heads<'a> {
    fn new(job: &Job, encoder: &'a Encoder, settings: &LinearSettings) -> Self {
        let (dim, classes) = (encoder.config.dim(), job.train.classes().len());
        let scale = settings.train.batch as f64 / 256.0;
        let head = |&rate: &f64| {
            let LinearSettings { momentum, weight_decay, .. } = *settings;
            let config = ProbeConfig { enabled: true, lr: rate, momentum, weight_decay };
            let probe = Probe::new(config, dim, classes, &encoder.device, settings.seed);
            (probe, rate * scale, format!("lr {rate}"))
        };
        let heads: Vec<_> = settings.rates.iter().map(head).collect();
        Self {
            encoder,
            schedule: settings.schedule(),
            numbers: (dim + 1) * classes * heads.len(),
            heads,
        }
    }
}

impl Classifier for Heads<'_> {
    fn heads(&self) -> Vec<String> {
        self.heads.iter().map(|(_, _, name)| name.clone()).collect()
    }

    fn learn(&mut self, sample: Sample, at: &Step) -> Result<Vec<HeadStep>, TrainError> {
        let Sample { pixels, labels } = sample;
        let features = self.encoder.embed_on_device(&pixels, labels.len()); // [n, dim]
        let schedule = &self.schedule;
        let mut waiting = Waiting::default();
        for (probe, rate, _) in &mut self.heads {
            let step = probe.step(vec![features.clone()], labels, schedule.at(*rate, at));
            waiting.push(step.figures);
        }
        let figures = waiting.read(); // loss and correct answers of each head
        let step = |head: &[f32]| HeadStep { loss: head[0].into(), correct: head[1] as u64 };
        Ok(figures.chunks_exact(2).map(step).collect())
    }

    fn rate(&self, at: &Step) -> f64 {
        self.heads.first().map_or(0.0, |(_, rate, _)| self.schedule.at(*rate, at))
    }

    fn judge(&self) -> Judge {
        let network = self.encoder.network().clone();
        let probes: Vec<Probe> = self.heads.iter().map(|(probe, _, _)| probe.clone()).collect();
        Box::new(move |x| {
            let features = network.forward(x);
            probes.iter().map(|probe| probe.logits(features.clone())).collect()
        })
    }

    fn numbers(&self) -> usize {
        self.numbers
    }

    fn state(&self) -> BTreeMap<String, Tensors> {
        let states = self.heads.iter().enumerate();
        states.map(|(index, (probe, _, _))| (kind(index), probe.state())).collect()
    }

    fn load(&mut self, mut state: BTreeMap<String, Tensors>) -> Result<(), TrainError> {
        for (index, (probe, _, _)) in self.heads.iter_mut().enumerate() {
            let tensors =
                state.remove(&kind(index)).ok_or(TrainError::Incomplete { kind: "head" })?;
            probe.load(tensors).map_err(|error| TrainError::Probe(Box::new(error)))?;
        }
        Ok(())
    }
}

/// Returns the name of a classifier's file in a checkpoint.
fn kind(index: usize) -> String {
    format!("head-{index}")
}
