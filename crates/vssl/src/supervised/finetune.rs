//! Fine-tuning: the encoder and a fresh classifier learn from labels together.
//!
//! With few labels this is the semi-supervised evaluation of SimCLR (Chen et al. 2020,
//! arXiv:2002.05709, section 6). The encoder is in training mode: batch normalisation uses the
//! batch and follows the new images.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use rand_distr::{Beta, Distribution};
use vssl_data::{
    Splits,
    dataset::Subset,
    rng::{Stream, rng},
};

use super::{
    Classifier, FinetuneSettings, HeadStep, Job, Judge, OutputOptions, Sample, Summary,
    job::{Common, labelled},
    labels, run,
};
use crate::{
    backbone::{Backbone, Pooling},
    encoder::{Encoder, fine_tuned, images::images_to_tensor},
    layers::{Init, Linear, Mode},
    objective::cross_entropy,
    optim::{Gradients, Optimizer},
    run::{checkpoint::CheckpointError, events::Observer, folder::ENCODER, stop::Stop},
    schedule::{Schedule, Step},
    tensors::{
        self,
        reading::Waiting,
        state::{self, StateError, Tensors},
    },
    train::TrainError,
};

/// The first part of the random numbers' address for the mixture of a step: the letters "mixup".
const MIXUP: u64 = 0x6d_6978_7570;

impl Job {
    /// Plans a fine-tuning on the labels that `settings.labels` leaves.
    ///
    /// # Errors
    /// The errors of [`Job::linear`].
    pub fn finetune(
        encoder: &Encoder,
        splits: &Splits,
        settings: &FinetuneSettings,
        output: OutputOptions,
    ) -> Result<Self, TrainError> {
        let FinetuneSettings { seed, train, view, data, checkpoint, log, .. } = settings;
        let (schedule, base) = (settings.schedule(), settings.optimizer.base_rate(train.batch));
        let rate = &|_, at: &Step| schedule.at(base, at);
        let rate_name = "the learning rate".to_owned();
        let common = Common { seed: *seed, train, view, data, checkpoint, log, rate_name, rate };
        let ([all, validation], _) = labelled(splits)?;
        let known = all.labels().expect("they were asked for");
        let chosen = labels::choose(known, all.classes().len(), settings.labels, *seed);
        let note = labels::note(known.len(), settings.labels, chosen.len());
        let record = labels::Record { share: settings.labels, seed: *seed, images: &chosen };
        let text = serde_json::to_string(&record).expect("numbers are plain data") + "\n";
        let some = Arc::new(Subset::of(all, chosen)?);
        let found = splits.found.clone();
        let splits = Splits { train: some, validation: Some(validation), found };
        let mut job = Job::new("finetune", encoder, &splits, settings, &common, output)?;
        let network = (ENCODER, fine_tuned::description(encoder));
        job.records = vec![(labels::FILE, text), network];
        job.notes.extend(note);
        Ok(job)
    }
}

/// Runs a fine-tuning to its end, or until `stop` is requested.
///
/// # Errors
/// An image cannot be read, the loss is not finite, or a file cannot be read or written.
pub fn finetune(
    job: &Job,
    encoder: &Encoder,
    settings: &FinetuneSettings,
    stop: &Stop,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let mut tuned = Tuned::new(job, encoder, settings)?;
    run::run(job, &mut tuned, stop, observer)
}

/// The network that is trained. The names of its parameters are those of an exported encoder, below
/// `backbone`.
#[derive(Module, Debug)]
struct Network {
    backbone: Backbone,
    head: Linear,
}

impl Network {
    fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        self.head.forward(self.backbone.forward(x, mode))
    }
}

struct Tuned {
    /// The network; `None` only inside an update.
    network: Option<Network>,
    optimizer: Optimizer,
    schedule: Schedule,
    base_rate: f64,
    mixup: Option<Beta<f64>>,
    size: usize,
    device: Device,
    /// The name of the parameter that is never trained, if there is such a parameter: see
    /// [`BackboneConfig::fixed`](crate::backbone::BackboneConfig::fixed).
    fixed: Option<String>,
    /// The output folder.
    folder: PathBuf,
}

const WHOLE: &str = "the network is only absent inside an update";

impl Tuned {
    fn new(job: &Job, encoder: &Encoder, settings: &FinetuneSettings) -> Result<Self, TrainError> {
        if encoder.pooling == Some(Pooling::TokenMean) {
            return Err(TrainError::Setting(
                "pooling token_mean: a fine-tuned network has one feature; expected token or mean (--pooling)"
                    .to_owned(),
            ));
        }
        let device = encoder.device.clone().autodiff();
        let init = Init::new(&device, settings.seed);
        let (dim, classes) = (encoder.config.dim(), job.train.classes().len());
        let head = Linear::new(dim, classes, &init);
        let init = init.with_channels(encoder.input.channels());
        let fresh = Backbone::new(&encoder.config, &init);
        let backbone = state::restore(fresh, state::collect(&*encoder.backbone))
            .map_err(|source| other_network(&encoder.path, source))?;
        let network = Network { backbone, head };
        let parameters = tensors::parameters(&network);
        let config = settings.optimizer();
        let batch = settings.train.batch;
        let mixup = (settings.mixup > 0.0).then(|| Beta::new(settings.mixup, settings.mixup));
        let mixup = mixup
            .transpose()
            .map_err(|error| TrainError::Setting(format!("mixup = {}: {error}", settings.mixup)))?;
        Ok(Self {
            network: Some(network),
            folder: job.output.folder.clone(),
            fixed: encoder.config.fixed().map(|path| format!("backbone.{path}")),
            base_rate: config.base_rate(batch),
            optimizer: Optimizer::of(config, batch, &parameters)?,
            schedule: settings.schedule(),
            mixup,
            size: encoder.input.size,
            device,
        })
    }

    fn network(&self) -> &Network {
        self.network.as_ref().expect(WHOLE)
    }

    /// Returns mixup's λ of this step; 1 leaves the images as they are.
    fn share(&self, at: &Step) -> f64 {
        let mut rng = rng(at.seed, Stream::Evaluation, MIXUP, at.index);
        self.mixup.map_or(1.0, |beta| beta.sample(&mut rng))
    }
}

/// Returns the error for tensors at `path` that belong to another network.
fn other_network(path: &Path, source: StateError) -> TrainError {
    let (path, source) = (path.to_owned(), Box::new(source));
    TrainError::Checkpoint(CheckpointError::OtherNetwork { path, source })
}

/// Mixes each image with the image at the opposite place in the batch, which has the share `1 - share`.
fn mixed(pixels: &[f32], images: usize, share: f64) -> Vec<f32> {
    let length = pixels.len() / images.max(1);
    let share = share as f32;
    let rows = pixels.chunks_exact(length).zip(pixels.chunks_exact(length).rev());
    rows.flat_map(|(own, other)| {
        own.iter().zip(other).map(move |(a, b)| a * share + b * (1.0 - share))
    })
    .collect()
}

impl Classifier for Tuned {
    fn heads(&self) -> Vec<String> {
        vec!["network".to_owned()]
    }

    fn learn(&mut self, sample: Sample, at: &Step) -> Result<Vec<HeadStep>, TrainError> {
        let Sample { pixels, labels } = sample;
        let (count, share) = (labels.len(), self.share(at));
        let pixels = if share < 1.0 { mixed(&pixels, count, share) } else { pixels };
        let x = images_to_tensor(pixels, count, self.size, &self.device);
        let network = self.network.take().expect(WHOLE);
        let logits = network.forward(x, Mode::Train); // [n, classes]
        let targets = |labels: Vec<i64>| -> Tensor<1, Int> {
            Tensor::from_data(TensorData::new(labels, [count]), &self.device)
        };
        let own: Vec<i64> = labels.iter().map(|&label| label.into()).collect();
        let opposite: Vec<i64> = own.iter().rev().copied().collect();
        let own = targets(own);
        let mut loss = cross_entropy(logits.clone(), own.clone()) * share;
        if share < 1.0 {
            loss = loss + cross_entropy(logits.clone(), targets(opposite)) * (1.0 - share);
        }
        let correct = logits.argmax(1).reshape([count]).equal(own).int().sum();
        let mut gradients = Gradients::collect(loss.backward(), &network);
        gradients.0.retain(|path, _| Some(path) != self.fixed.as_ref());
        let mut waiting = Waiting::default();
        waiting.push(Tensor::cat(vec![loss.detach(), correct.float()], 0).inner());
        let figures = waiting.read();
        let (loss, correct) = (f64::from(figures[0]), figures[1] as u64);
        if !loss.is_finite() {
            let what = format!("the loss ({loss})");
            return Err(TrainError::NonFinite { step: at.index + 1, what });
        }
        let schedule = &self.schedule;
        let rate = |base| schedule.at(base, at);
        self.optimizer.decay_at(at);
        self.network = Some(self.optimizer.step(network, gradients, rate)?);
        Ok(vec![HeadStep { loss, correct }])
    }

    fn rate(&self, at: &Step) -> f64 {
        self.schedule.at(self.base_rate, at)
    }

    fn judge(&self) -> Judge {
        let network = self.network().valid();
        let (backbone, head) = (network.backbone.for_inference(), network.head);
        Box::new(move |x| vec![head.forward(backbone.forward(x))])
    }

    fn numbers(&self) -> usize {
        let parameters = tensors::parameters(self.network());
        parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum()
    }

    fn state(&self) -> BTreeMap<String, Tensors> {
        BTreeMap::from([
            ("network".to_owned(), state::collect(self.network())),
            ("optimizer".to_owned(), self.optimizer.state()),
        ])
    }

    fn load(&mut self, mut state: BTreeMap<String, Tensors>) -> Result<(), TrainError> {
        let mut take =
            |kind: &'static str| state.remove(kind).ok_or(TrainError::Incomplete { kind });
        let (network, optimizer) = (take("network")?, take("optimizer")?);
        let restored = state::restore(self.network().valid().train(), network)
            .map_err(|source| other_network(&self.folder, source))?;
        let parameters = tensors::parameters(&restored);
        let device = restored.head.weight.val().inner().device();
        self.optimizer.load_state(optimizer, &parameters, &device)?;
        self.network = Some(restored);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbone::{BackboneConfig, ResnetConfig, VitConfig},
        optim::layer_factors,
    };

    /// The factors of the rates of all parameters, 1 where none is given.
    fn factors(config: &BackboneConfig) -> BTreeMap<String, f64> {
        let device = Device::flex().autodiff();
        let init = Init::new(&device, 0);
        let head = Linear::new(config.dim(), 3, &init);
        let network = Network { backbone: Backbone::new(config, &init), head };
        let parameters = tensors::parameters(&network);
        let lower = layer_factors(&parameters, 0.5).unwrap();
        let all = parameters.into_iter().map(|parameter| parameter.path);
        all.map(|path| (path.clone(), lower.get(&path).copied().unwrap_or(1.0))).collect()
    }

    #[test]
    fn the_rate_falls_block_by_block_from_the_head_to_the_stem() {
        let config = ResnetConfig { width: 4, ..ResnetConfig::default() }.into();
        let factors = factors(&config);
        assert_eq!(factors["head.weight"], 1.0);
        assert_eq!(factors["backbone.layer4.1.conv1.weight"], 0.5);
        assert_eq!(factors["backbone.layer4.0.conv1.weight"], 0.25);
        assert_eq!(factors["backbone.layer1.0.bn1.weight"], 0.5_f64.powi(8));
        assert_eq!(factors["backbone.conv1.weight"], 0.5_f64.powi(9));
    }

    #[test]
    fn a_transformer_has_a_rate_for_each_of_its_blocks() {
        let config = VitConfig::default().into();
        let factors = factors(&config);
        assert_eq!(factors["backbone.norm.weight"], 1.0);
        assert_eq!(factors["backbone.cls_token"], 0.5_f64.powi(13));
        let block = |index: usize| {
            let start = format!("backbone.blocks.{index}.");
            *factors.iter().find(|(path, _)| path.starts_with(&start)).unwrap().1
        };
        assert_eq!(
            (block(11), block(10), block(1), block(0)),
            (0.5, 0.25, 0.5_f64.powi(11), 0.5_f64.powi(12))
        );
    }

    #[test]
    fn a_mixture_pairs_each_image_with_the_opposite_one() {
        let mixed = mixed(&[1.0, 2.0, 3.0, 4.0, 10.0, 20.0], 3, 0.75);
        assert_eq!(mixed, [3.25, 6.5, 3.0, 4.0, 7.75, 15.5]);
    }
}
