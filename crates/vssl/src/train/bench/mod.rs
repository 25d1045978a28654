//! Measures the time of a training step: of a method with its default settings on random views, or of a recipe on
//! its images. The steps are those of [`super::pretrain`]. Those on random views lack loader and probe, and neither
//! kind writes files. Called by `vssl bench step`.

mod clock;
mod settings;

use burn::tensor::Device;
use vssl_data::rng::{Stream, rng, uniform};

pub use clock::{StepClock, StepTimes, plan};
pub use settings::method;

use super::{TrainError, step::Update, step_report::StepReport};
use crate::{
    backbone::{BackboneConfig, Stem},
    collective::Group,
    encoder::images::images_to_tensor,
    layers::budget,
    method::{
        Sizes, Views,
        learner::{AnyMethod, Learner},
    },
    methods::METHODS,
    optim::{Algorithm, Lars, LossScale, Optimizer, OptimizerConfig},
    precision::Precision,
    schedule::Step,
};

/// The seed of the weights and of the views.
const SEED: u64 = 0;
/// The number of training images that a memory of the size of the data set assumes: CIFAR's.
const IMAGES: usize = 50_000;
/// Share of the identity in a covariance that embeddings are whitened by, where the images of a batch are few.
pub(super) const WHITENING_EPS: f64 = 0.05;
/// The number of classes of the images, for a method that sees labels.
pub(super) const CLASSES: u32 = 10;

/// The settings of a benchmark.
#[derive(Clone, Debug)]
pub struct StepBench {
    /// The encoder.
    pub backbone: BackboneConfig,
    /// The side of the views in pixels.
    pub size: usize,
    /// The number of small crops of each image and their side in pixels.
    pub local: (usize, usize),
    /// The number of images of a step. Each is seen as two views and the small crops.
    pub batch: usize,
    /// The number format in which the backbone computes.
    pub precision: Precision,
    /// The update rule, with a rate of 0.1 for LARS and 0.001 for the others.
    pub algorithm: Algorithm,
    /// The steps that are run.
    pub clock: StepClock,
}

/// Why a benchmark cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// There is no method of this name.
    #[error("method {got:?}: expected one of {}", known.join(", "))]
    UnknownMethod {
        /// The name that the user gave.
        got: String,
        /// The names of all methods.
        known: Vec<&'static str>,
    },
    /// The method lacks a setting that was given.
    #[error("{method} has no setting {key:?}; leave it out, it has {}", known.join(", "))]
    NoSetting {
        /// The name of the method.
        method: &'static str,
        /// The key of the setting.
        key: String,
        /// The keys of the method's whole-number settings.
        known: Vec<String>,
    },
    /// The method refuses this batch of two views.
    #[error("{0}")]
    Sizes(String),
    /// The method refuses the value of a setting.
    #[error("{what}")]
    Refused {
        /// The name of the method.
        method: &'static str,
        /// The reason of the refusal.
        what: String,
    },
    /// A transformer cannot cut views of this size into patches.
    #[error("views of {size} pixels: expected a multiple of the patch, which is {patch} pixels")]
    Patches {
        /// The side of the views in pixels.
        size: usize,
        /// The side of a patch in pixels.
        patch: usize,
    },
    /// The first convolution is larger than the padded view.
    #[error(
        "views of {size} pixels with a stem padding of {padding}: the first convolution wants at \
         least 3 padded pixels a side"
    )]
    TooSmall {
        /// The side of the views in pixels.
        size: usize,
        /// The padding of the stem in pixels.
        padding: usize,
    },
    /// A ConvNeXt would have no pixel in its last stage.
    #[error(
        "views of {size} pixels: the last stage of the ConvNeXt has no pixel of them; expected at least \
         {least}"
    )]
    TooFewPixels {
        /// The side of the views in pixels.
        size: usize,
        /// The smallest side.
        least: usize,
    },
}

impl BenchError {
    pub(super) fn unknown(method: &str) -> Self {
        let known = METHODS.iter().map(|entry| entry.name).collect();
        Self::UnknownMethod { got: method.to_owned(), known }
    }
}

impl StepBench {
    /// Checks that the network can take the views and that the method accepts the sizes.
    ///
    /// # Errors
    /// [`BenchError::TooSmall`], [`BenchError::TooFewPixels`], [`BenchError::Patches`] or [`BenchError::Sizes`].
    pub fn check(&self, method: &dyn AnyMethod) -> Result<(), BenchError> {
        check(&self.backbone, self.size, method, &self.sizes())?;
        method.check_patches(self.backbone.patches(self.size)).map_err(BenchError::Sizes)?;
        match self.local {
            (0, _) => Ok(()),
            (_, side) => check(&self.backbone, side, method, &self.sizes()),
        }
    }

    fn sizes(&self) -> Sizes {
        let images = IMAGES.max(self.batch);
        Sizes { images, batch: self.batch, global_views: 2, local_views: self.local.0 }
    }

    /// Times the forward and backward pass of all views, the optimiser's step and the update of the memory.
    ///
    /// # Errors
    /// The loss or a gradient is not finite, or the device lacks the precision.
    pub fn run(&self, method: &dyn AnyMethod, device: &Device) -> Result<StepTimes, TrainError> {
        self.precision.check(device)?;
        let device = device.clone().autodiff();
        let made = || method.learner(&self.backbone, &self.sizes(), &device, SEED);
        let mut learner = budget::fitted(made)
            .map_err(|space| TrainError::Setting(format!("the networks take {space}")))?;
        let mut optimizer = Optimizer::new(self.optimizer(), self.batch)?;
        let (count, side) = self.local;
        let local = (2..).take(count).map(|view| self.view(view, side, &device)).collect();
        let views = self.precision.of(Views {
            images: (0..self.batch).collect(),
            labels: Some((0..self.batch as u32).map(|image| image % CLASSES).collect()),
            global: (0..2).map(|view| self.view(view, self.size, &device)).collect(),
            local,
            group: Group::alone(),
            frozen_backbone: false,
        });
        let mut loss_scale = self.precision.scales_loss().then(LossScale::default);
        let total = self.clock.total() as u64;
        let mut index = 0;
        self.clock.run(&device, || {
            let at = Step { index, steps_per_epoch: total, total, seed: SEED, ..Step::default() };
            index += 1;
            Ok(step(learner.as_mut(), &mut optimizer, &mut loss_scale, &views, &at)?.loss)
        })
    }

    fn optimizer(&self) -> OptimizerConfig {
        match self.algorithm {
            Algorithm::Lars(_) => optimizer(),
            algorithm => OptimizerConfig { algorithm, lr: 1e-3, ..optimizer() },
        }
    }

    /// Returns random pixels, uniform in [0, 1), `[batch, 3, side, side]`, in the memory layout of the
    /// loader.
    fn view(&self, number: u16, side: usize, device: &Device) -> burn::tensor::Tensor<4> {
        let mut rng = rng(SEED, Stream::View(number), 0, 0);
        let count = self.batch * side * side * 3;
        let pixels = (0..count).map(|_| uniform(&mut rng, 0.0, 1.0) as f32).collect();
        images_to_tensor(pixels, self.batch, side, device)
    }
}

/// Checks that a network can take the views and that a method accepts the sizes.
pub(super) fn check(
    backbone: &BackboneConfig,
    size: usize,
    method: &dyn AnyMethod,
    sizes: &Sizes,
) -> Result<(), BenchError> {
    match backbone {
        BackboneConfig::Vit(vit) if size < vit.patch || !size.is_multiple_of(vit.patch) => {
            return Err(BenchError::Patches { size, patch: vit.patch });
        }
        BackboneConfig::ConvNext(convnext) if size < convnext.smallest() => {
            return Err(BenchError::TooFewPixels { size, least: convnext.smallest() });
        }
        BackboneConfig::Resnet(resnet)
            if resnet.stem == Stem::Cifar && size + 2 * resnet.stem_padding < 3 =>
        {
            return Err(BenchError::TooSmall { size, padding: resnet.stem_padding });
        }
        _ => {}
    }
    let side = size as u64;
    let numbers = [2, sizes.batch as u64, side, side, 3, size_of::<f32>() as u64];
    let bytes = numbers.into_iter().fold(1_u64, u64::saturating_mul);
    budget::check_memory(bytes).map_err(|space| {
        let batch = sizes.batch;
        BenchError::Sizes(format!("two views of {batch} images of {size} pixels take {space}"))
    })?;
    method.check(sizes).map_err(BenchError::Sizes)
}

/// Returns LARS with a learning rate at which no method diverges.
pub(super) fn optimizer() -> OptimizerConfig {
    OptimizerConfig {
        algorithm: Algorithm::Lars(Lars { clip_lr: false, ..Lars::default() }),
        lr: 0.1,
        scale_lr: false,
        ..OptimizerConfig::default()
    }
}

/// Runs one step, as the body of the training loop does.
pub(super) fn step(
    learner: &mut dyn Learner,
    optimizer: &mut Optimizer,
    loss_scale: &mut Option<LossScale>,
    views: &Views,
    at: &Step,
) -> Result<StepReport, TrainError> {
    if at.starts_epoch() {
        learner.before_epoch(at);
    }
    let mut report = StepReport::default();
    let factor = loss_scale.map_or(1.0, |scale| scale.factor);
    report.add(&learner.forward_backward(views, factor, at), 1.0);
    let (group, rate) = (&Group::alone(), &|base| base);
    let update = Update { group, clips: &[], rate, loss_scale: loss_scale.as_mut() };
    update.apply(learner, optimizer, &mut report, at)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use vssl_kernels::breakdown::Part;

    use super::*;
    use crate::{
        backbone::{ResnetConfig, VitConfig},
        method::learner::Network,
        optim::Adam,
    };

    #[test]
    fn every_method_takes_steps() {
        let backbone = ResnetConfig { width: 4, stem: Stem::Cifar, ..Default::default() };
        let bench = StepBench {
            backbone: backbone.into(),
            size: 8,
            local: (0, 0),
            batch: 4,
            precision: Precision::F32,
            algorithm: Algorithm::default(),
            clock: StepClock { warmup: 1, steps: 2, breakdown: true },
        };
        let transformer = VitConfig {
            width: Some(24),
            depth: Some(1),
            patch: 2,
            image_size: 8,
            ..VitConfig::default()
        };
        for entry in METHODS {
            let changes: &[_] = if entry.name == "ijepa" { &[("context", 2)] } else { &[] };
            let method = method(entry.name, 4, changes).unwrap();
            let mut bench = bench.clone();
            if method.check_patches(None).is_err() {
                bench.backbone = transformer.into();
            }
            bench.check(method.as_ref()).unwrap();
            let times = bench.run(method.as_ref(), &Device::flex()).unwrap();
            assert_eq!(times.seconds.len(), 2);
            assert!(times.seconds[0] > 0.0 && times.loss.is_finite());
            // Every moment of a step is some part's.
            let parts = times.parts.unwrap();
            let (sum, steps) =
                (parts.values().flatten().sum::<f64>(), times.seconds.iter().sum::<f64>() / 2.0);
            assert!(sum >= steps, "{}: {sum} of {steps}", entry.name);
            for part in [Part::Backbone, Part::Heads] {
                let [forward, backward] = parts[&part];
                assert!(forward > 0.0 && backward > 0.0, "{}: {part:?}", entry.name);
            }
            let teacher = has_teacher(method.as_ref(), &bench);
            assert_eq!(parts.contains_key(&Part::Teacher), teacher, "{}", entry.name);
        }
    }

    fn has_teacher(method: &dyn AnyMethod, bench: &StepBench) -> bool {
        let device = Device::flex().autodiff();
        let learner = method.learner(&bench.backbone, &bench.sizes(), &device, 1);
        learner.encoder(Network::Teacher).is_some() || method.has_frozen_teacher()
    }

    #[test]
    fn small_crops_take_part_in_a_step() {
        let backbone = ResnetConfig { width: 4, stem: Stem::Cifar, ..Default::default() };
        let mut bench = StepBench {
            backbone: backbone.into(),
            size: 8,
            local: (3, 6),
            batch: 4,
            precision: Precision::F32,
            algorithm: Algorithm::Adamw(Adam::default()),
            clock: StepClock { warmup: 0, steps: 1, breakdown: false },
        };
        let dino = method("dino", 4, &[]).unwrap();
        bench.check(dino.as_ref()).unwrap();
        let with = bench.run(dino.as_ref(), &Device::flex()).unwrap();
        bench.local.0 = 0;
        let without = bench.run(dino.as_ref(), &Device::flex()).unwrap();
        assert_ne!(with.loss, without.loss);
        bench.local = (3, 0);
        let error = bench.check(dino.as_ref()).unwrap_err().to_string();
        assert!(error.contains("views of 0 pixels"), "{error}");
    }
}
