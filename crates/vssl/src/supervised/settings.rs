//! The settings of trainings on labels, as a TOML file or `--set` gives them.
//!
//! Linear evaluation has the numbers of solo-learn's offline evaluation (JMLR 23, 2022), which VSSL's paper
//! uses, too: 100 epochs, batches of 256, momentum 0.9, no weight decay, and a learning rate that falls to a
//! tenth after 60 and after 80 epochs. The best learning rate differs from method to method, from 0.1 to 30,
//! so several are trained at once. Fine-tuning has the numbers of SimCLR (arXiv:2002.05709, appendix B.5).

use serde::{Deserialize, Serialize};
use vssl_data::{OnBadImage, Splits, ViewGroup, augment::Interpolation};

use super::labels;
use crate::{
    eval::linear::LinearConfig,
    optim::{Algorithm, OptimizerConfig, Sgd},
    recipe::{Checker, LogSection, Origin, Provenance, Settings},
    schedule::{Schedule, WarmupCosine},
};

/// The settings of `vssl linear`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearSettings {
    /// The seed of the first weights, the order and the crops; 0.
    pub seed: u64,
    /// The learning rates at batch 256, which are multiplied by batch / 256. Each has its own classifier on
    /// the same features.
    pub rates: Vec<f64>,
    /// The momentum of SGD; 0.9.
    pub momentum: f64,
    /// The factor of the weights that are added to the gradient; 0.
    pub weight_decay: f64,
    /// The epochs after which the rates are multiplied by `gamma`. Unless given, they are 60 and 80 % of all
    /// epochs, rounded down, but the first is at least 1 and the second at least one epoch later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milestones: Option<Vec<u64>>,
    /// The factor of the rates at each milestone; 0.1.
    pub gamma: f64,
    /// The number of epochs and the batch size.
    pub train: Length,
    /// The augmentation of the training images.
    pub view: View,
    /// The reading of images.
    pub data: ReadingSection,
    /// When checkpoints are written.
    pub checkpoint: Saving,
    /// When figures are written and shown.
    pub log: LogSection,
    /// The settings of the fast evaluation, `--cached`.
    pub cached: Cached,
}

impl Default for LinearSettings {
    fn default() -> Self {
        Self {
            seed: 0,
            rates: vec![0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
            momentum: 0.9,
            weight_decay: 0.0,
            milestones: None,
            gamma: 0.1,
            train: Length { epochs: 100, ..Length::default() },
            view: View::default(),
            data: ReadingSection::default(),
            checkpoint: Saving::default(),
            log: LogSection::default(),
            cached: Cached::default(),
        }
    }
}

impl LinearSettings {
    /// Returns the schedule of the learning rates.
    pub fn schedule(&self) -> Schedule {
        let share = |percent: u64| self.train.epochs * percent / 100;
        let milestones = self.milestones.clone().unwrap_or_else(|| {
            let first = share(60).max(1);
            vec![first, share(80).max(first + 1)]
        });
        Schedule::Steps { milestones, gamma: self.gamma }
    }

    /// Lowers a batch that nobody has chosen to the number of training images. `goes_on` says whether the
    /// settings are those that a training goes on with: their batch may have been lowered before, and counts as
    /// chosen only where the command gives it. Returns notes on that, and on milestones that the training does
    /// not reach.
    pub fn adapt(&mut self, splits: &Splits, origins: &Provenance, goes_on: bool) -> Vec<String> {
        let late = self
            .milestones
            .as_ref()
            .and_then(|_| self.schedule().remark("milestones", self.train.epochs));
        let batch = self.train.adapt(splits.train.len(), origins, goes_on);
        late.into_iter().chain(batch).collect()
    }
}

impl Settings for LinearSettings {
    fn check(&self, checker: &mut Checker) {
        let rates = &self.rates;
        checker.require("rates", !rates.is_empty(), "an empty list", "at least one learning rate");
        let mut known: Vec<f64> = Vec::new();
        for &rate in rates {
            let holds = rate.is_finite() && rate > 0.0;
            checker.require("rates", holds, rate, "numbers above 0");
            checker.require("rates", !known.contains(&rate), format!("{rate} twice"), "each once");
            known.push(rate);
        }
        let momentum = self.momentum;
        let holds = (0.0..1.0).contains(&momentum);
        checker.require("momentum", holds, momentum, "a number from 0 to below 1");
        checker.not_negative("weight_decay", self.weight_decay);
        checker.not_negative("gamma", self.gamma);
        check_common(&self.train, &self.view, &self.data, &self.checkpoint, checker);
        self.cached.check(checker);
    }
}

/// The settings of `vssl finetune`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneSettings {
    /// The seed of the choice of labels, the first weights, the order, the crops and the mixtures; 0.
    pub seed: u64,
    /// The share of the training images whose labels are used, the same number of each class; 1.
    pub labels: f64,
    /// Another place for `optimizer.layer_decay`; 1. Transformers are commonly tuned with 0.65 to 0.75.
    pub layer_decay: f64,
    /// The α of mixup (Zhang et al. 2018, arXiv:1710.09412); 0 switches mixup off.
    pub mixup: f64,
    /// The number of epochs in which the learning rate rises from 0, before it falls by half a cosine; 0.
    pub warmup_epochs: f64,
    /// The learning rate at the end; 0.
    pub min_lr: f64,
    /// The update rule and the base learning rate: SGD with Nesterov's momentum, 0.05 at batch 256.
    pub optimizer: OptimizerConfig,
    /// The number of epochs and the batch size.
    pub train: Length,
    /// The augmentation of the training images.
    pub view: View,
    /// The reading of images.
    pub data: ReadingSection,
    /// When checkpoints are written.
    pub checkpoint: Saving,
    /// When figures are written and shown.
    pub log: LogSection,
}

impl Default for FinetuneSettings {
    fn default() -> Self {
        let optimizer = OptimizerConfig {
            algorithm: Algorithm::Sgd(Sgd { nesterov: true, ..Sgd::default() }),
            lr: 0.05,
            weight_decay: 0.0,
            ..OptimizerConfig::default()
        };
        Self {
            seed: 0,
            labels: 1.0,
            layer_decay: 1.0,
            mixup: 0.0,
            warmup_epochs: 0.0,
            min_lr: 0.0,
            optimizer,
            train: Length { epochs: 30, ..Length::default() },
            view: View::default(),
            data: ReadingSection::default(),
            checkpoint: Saving::default(),
            log: LogSection::default(),
        }
    }
}

impl FinetuneSettings {
    /// Returns the optimiser with the decay of the rates from block to block, whichever key gives it.
    pub fn optimizer(&self) -> OptimizerConfig {
        let layer_decay = self.layer_decay.min(self.optimizer.layer_decay);
        OptimizerConfig { layer_decay, ..self.optimizer.clone() }
    }

    /// Returns the schedule of the learning rate.
    pub fn schedule(&self) -> Schedule {
        let (warmup_epochs, min) = (self.warmup_epochs, self.min_lr);
        // The warmup starts at 0, because the rates of lower blocks can be below any other number.
        let shape = WarmupCosine { warmup_epochs, start: 0.0, min, ..WarmupCosine::default() };
        Schedule::WarmupCosine(shape)
    }

    /// Lowers a batch that nobody has chosen to the number of images that keep their labels; `goes_on` is that
    /// of [`LinearSettings::adapt`]. Returns a note on that.
    pub fn adapt(
        &mut self,
        splits: &Splits,
        origins: &Provenance,
        goes_on: bool,
    ) -> Option<String> {
        let labels = splits.train.labels()?;
        let classes = splits.train.classes().len();
        let images = labels::choose(labels, classes, self.labels, self.seed).len();
        self.train.adapt(images, origins, goes_on)
    }
}

impl Settings for FinetuneSettings {
    fn check(&self, checker: &mut Checker) {
        // Batch normalisation has no variance over a single image.
        checker.at_least("train.batch", self.train.batch as u64, 2);
        let share = |value: f64| value > 0.0 && value <= 1.0;
        let expected = "a share above 0, at most 1";
        checker.require("labels", share(self.labels), self.labels, expected);
        checker.require("layer_decay", share(self.layer_decay), self.layer_decay, expected);
        let once = self.layer_decay == 1.0 || self.optimizer.layer_decay == 1.0;
        let expected = "1 where optimizer.layer_decay is given";
        checker.require("layer_decay", once, self.layer_decay, expected);
        checker.not_negative("mixup", self.mixup);
        checker.not_negative("warmup_epochs", self.warmup_epochs);
        let epochs = self.train.epochs as f64;
        let (got, expected) = (self.warmup_epochs, format_args!("at most train.epochs, {epochs}"));
        checker.require("warmup_epochs", got <= epochs || epochs == 0.0, got, expected);
        checker.not_negative("min_lr", self.min_lr);
        checker.optimizer(&self.optimizer);
        check_common(&self.train, &self.view, &self.data, &self.checkpoint, checker);
    }
}

/// `[train]`: the number of epochs and the batch size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Length {
    /// The number of passes over the images.
    pub epochs: u64,
    /// The number of images of a step; 256.
    pub batch: usize,
    /// The number of epochs from one evaluation on the validation split to the next; 1. The last epoch is
    /// always evaluated.
    pub evaluate_every: u64,
}

impl Length {
    fn adapt(&mut self, images: usize, origins: &Provenance, goes_on: bool) -> Option<String> {
        let origin = origins.origin("train.batch");
        let is_stored = goes_on && matches!(origin, Origin::File { .. });
        if self.batch <= images || images < 2 || !(*origin == Origin::Default || is_stored) {
            return None;
        }
        let before = std::mem::replace(&mut self.batch, images);
        let batch = match is_stored {
            true => "of a batch so far",
            false => "of a batch unless train.batch is given",
        };
        Some(format!(
            "there are {images} training images with labels, fewer than the {before} {batch}: \
             train.batch is {images}"
        ))
    }
}

impl Default for Length {
    fn default() -> Self {
        Self { epochs: 100, batch: 256, evaluate_every: 1 }
    }
}

/// `[view]`: a random crop, resized to the encoder's input, and a flip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct View {
    /// The range of the crop's area, as a share of the image; 0.08 to 1.
    pub crop_scale: [f64; 2],
    /// The range of the crop's width divided by its height; 3/4 to 4/3.
    pub crop_ratio: [f64; 2],
    /// The filter of the resize; `bilinear`.
    pub interpolation: Interpolation,
    /// The probability of a left-right flip; 0.5.
    pub flip: f64,
}

impl Default for View {
    fn default() -> Self {
        Self {
            crop_scale: [0.08, 1.0],
            crop_ratio: [3.0 / 4.0, 4.0 / 3.0],
            interpolation: Interpolation::Bilinear,
            flip: 0.5,
        }
    }
}

impl View {
    /// Returns one view of `size` pixels whose colours are not changed.
    pub fn group(&self, size: usize) -> ViewGroup {
        let View { crop_scale, crop_ratio, interpolation, flip } = *self;
        let (count, jitter, grayscale) = (1, 0.0, 0.0);
        let shape = ViewGroup {
            count,
            size,
            crop_scale,
            crop_ratio,
            interpolation,
            flip,
            ..ViewGroup::default()
        };
        ViewGroup { jitter, grayscale, ..shape }
    }
}

/// `[data]`: the speed of reading, and the treatment of images that cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadingSection {
    /// The number of threads that decode and augment; chosen by the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// The largest number of batches that are finished or in the making, at least one for each worker; 4.
    pub prefetch: usize,
    /// How an image that cannot be decoded is treated; `stop`.
    pub on_bad_image: OnBadImage,
}

impl Default for ReadingSection {
    fn default() -> Self {
        Self { workers: None, prefetch: 4, on_bad_image: OnBadImage::Stop }
    }
}

/// `[checkpoint]`: when the whole state is written, and how many checkpoints stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Saving {
    /// The number of steps from one checkpoint to the next; unless given, steps call for no checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_steps: Option<u64>,
    /// The number of epochs from one checkpoint to the next; 1. With 0, checkpoints are written only by steps
    /// and at the end.
    pub every_epochs: u64,
    /// How many of the latest checkpoints stay; 1.
    pub keep: usize,
}

impl Default for Saving {
    fn default() -> Self {
        Self { every_steps: None, every_epochs: 1, keep: 1 }
    }
}

/// `[cached]`: the fast evaluation, a logistic regression on features without augmentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cached {
    /// The L2 penalties from which one is chosen on a held-out tenth of the training images.
    pub l2: Vec<f64>,
    /// The fit ends when no entry of the gradient is larger than this share of the largest at weights of zero;
    /// 1e-4.
    pub tolerance: f64,
    /// The largest number of iterations of a fit; 300.
    pub iterations: usize,
}

impl Default for Cached {
    fn default() -> Self {
        let LinearConfig { l2, tolerance, iterations } = LinearConfig::default();
        Self { l2, tolerance, iterations }
    }
}

impl Cached {
    fn check(&self, checker: &mut Checker) {
        let l2 = &self.l2;
        checker.require("cached.l2", !l2.is_empty(), "an empty list", "at least one penalty");
        l2.iter().for_each(|&l2| checker.not_negative("cached.l2", l2));
        checker.not_negative("cached.tolerance", self.tolerance);
        checker.at_least("cached.iterations", self.iterations as u64, 1);
    }

    /// Returns the same settings in the form that [`crate::eval::linear`] takes.
    pub fn config(&self) -> LinearConfig {
        let Cached { l2, tolerance, iterations } = self.clone();
        LinearConfig { l2, tolerance, iterations }
    }
}

fn check_common(
    train: &Length,
    view: &View,
    data: &ReadingSection,
    checkpoint: &Saving,
    checker: &mut Checker,
) {
    checker.epochs(train.epochs);
    checker.at_least("train.batch", train.batch as u64, 1);
    checker.at_least("train.evaluate_every", train.evaluate_every, 1);
    checker.range("view.crop_scale", view.crop_scale, 1.0);
    checker.range("view.crop_ratio", view.crop_ratio, 1000.0);
    checker.share("view.flip", view.flip);
    checker.workers(data.workers);
    let prefetch = data.prefetch as u64;
    checker.at_least("data.prefetch", prefetch, u64::from(data.workers != Some(0)));
    checker.at_least("checkpoint.keep", checkpoint.keep as u64, 1);
    if let Some(steps) = checkpoint.every_steps {
        checker.at_least("checkpoint.every_steps", steps, 1);
    }
}
