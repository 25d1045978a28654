//! Whether a device computes what the CPU computes: a few steps of a method from the same weights on
//! the same views, on both. Losses, norms of gradients and all that the steps changed are compared;
//! then the networks go through the bytes of a checkpoint, after which their next loss has to be the
//! same, bit for bit. Called by `vssl bench agreement`.
//!
//! How far two correct devices lie apart is measured, not chosen. The CPU takes the steps once more
//! with every weight and every pixel moved by up to one unit in the last place of the numbers that
//! the device multiplies ([`Rounding`]). A sound matrix product returns the exact product of factors
//! that are moved by about so much, in each layer, so a correct device is about as far off as this
//! run; it may be `FACTOR` times as far.
//!
//! Gradients of a network with rectifiers jump where a number changes its sign, so they are off by
//! about the root of what the factors are off by: up to 5 % in single precision, and most of their
//! length in bfloat16. There only gross errors show, in losses and norms before all; a transformer,
//! which has no such jumps, is the sharper test.

mod file;
mod trace;
mod weights;

use burn::tensor::{DType, Device, TensorData};
use serde::{Deserialize, Serialize};
use vssl_data::rng::{Stream, rng, uniform};

pub use file::{FileError, read, write};
pub use trace::{Distance, Trace};

use self::{
    trace::numbers,
    weights::{load, moved, shaken, tensors},
};
use super::{
    TrainError,
    bench::{self, BenchError},
    step_report::StepReport,
};
use crate::{
    backbone::BackboneConfig,
    collective::Group,
    device,
    encoder::images::images_to_tensor,
    layers::budget,
    method::{
        Sizes, Views,
        learner::{AnyMethod, Learner},
    },
    methods,
    optim::{Algorithm, LossScale, Optimizer, OptimizerConfig, Sgd},
    precision::Precision,
    recipe::RecipeError,
    run::checkpoint::CheckpointError,
    schedule::Step,
};

/// Fixes weights and views.
const SEED: u64 = 0;
/// Optimiser steps that are compared.
const STEPS: u64 = 3;
/// Steps of an epoch: the third step begins the second epoch, in which nothing is frozen any more.
const EPOCH: u64 = 2;
/// See the head of this file.
const FACTOR: f64 = 4.0;
/// How far plain gradient descent moves all weights together in the first step. So what a tensor was
/// moved by is what its gradients were, and all methods stay near to where they began.
const FIRST_MOVE: f64 = 0.01;
/// Of the loss in half precision. A run finds its own factor by leaving out its first steps.
const LOSS_SCALE: f64 = 128.0;
/// Hidden width, output length and prototypes of the heads: a file can hold all methods.
const SMALL: [(&str, usize); 3] = [("hidden", 32), ("dim", 16), ("prototypes", 12)];
/// Batches that a queue holds.
const QUEUE: usize = 4;

/// The network and the views that two devices share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// The encoder.
    pub backbone: BackboneConfig,
    /// Side of the views in pixels.
    pub size: usize,
    /// Images of a step, each seen as two views.
    pub batch: usize,
}

/// How many bits of a number take part in a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// All 24 of single precision.
    Single,
    /// 11, of half precision and of NVIDIA's TF32, in which GPUs may multiply single-precision numbers.
    Eleven,
    /// 8, of bfloat16.
    Eight,
}

impl Rounding {
    /// All of them, as [`Reference::spreads`] has them.
    pub const ALL: [Self; 3] = [Self::Single, Self::Eleven, Self::Eight];

    /// Of the products of a backbone in `precision` on `device`.
    pub fn of(precision: Precision, device: &Device) -> Self {
        match precision {
            Precision::Bf16 => Self::Eight,
            Precision::F16 => Self::Eleven,
            Precision::F32 if device::is_cpu(&device.clone().inner()) => Self::Single,
            Precision::F32 => Self::Eleven,
        }
    }

    /// Distance of two neighbouring numbers at 1.
    fn unit(self) -> f64 {
        match self {
            Self::Single => 2f64.powi(-23),
            Self::Eleven => 2f64.powi(-10),
            Self::Eight => 2f64.powi(-7),
        }
    }
}

/// What the CPU computed for a method.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Two views of the batch, each `[batch, size, size, 3]`.
    pub views: Vec<TensorData>,
    /// The steps.
    pub trace: Trace,
    /// Loss, gradient norm and weights of [`Distance`] for each [`Rounding`]: how far the steps move
    /// when their weights and pixels move by that much.
    pub spreads: [[f64; 4]; 3],
}

/// How a device did beside the CPU.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Of each step, on the device.
    pub losses: Vec<f32>,
    /// From the CPU's numbers.
    pub distance: Distance,
    /// Largest loss, gradient norm and weights of the distance that rounding explains.
    pub allowed: [f64; 4],
    /// The loss of the step after the last, and that of the networks which were saved and loaded.
    pub next: [f32; 2],
}

impl Verdict {
    /// Whether rounding explains all differences, and saving and loading made none.
    pub fn agrees(&self) -> bool {
        self.within() && self.is_reloaded()
    }

    /// Whether rounding explains all differences.
    pub fn within(&self) -> bool {
        let distances = self.distance.numbers();
        distances.into_iter().zip(self.allowed).all(|(distance, allowed)| distance <= allowed)
    }

    /// Whether a saved and loaded learner goes on bit for bit.
    pub fn is_reloaded(&self) -> bool {
        self.next[0].to_bits() == self.next[1].to_bits()
    }
}

impl Agreement {
    /// Refuses a network or sizes that a method cannot work with.
    ///
    /// # Errors
    /// An unknown method; what [`bench::StepBench::check`] refuses.
    pub fn check(&self, method: &str) -> Result<(), BenchError> {
        let method = self.method(method)?;
        bench::check(&self.backbone, self.size, method.as_ref(), &self.sizes())?;
        method.check_patches(self.backbone.patches(self.size)).map_err(BenchError::Sizes)?;
        let made = budget::fitted(|| self.learner(method.as_ref(), &Device::flex(), SEED));
        let refused = |space| BenchError::Sizes(format!("the networks take {space}"));
        made.map(drop).map_err(refused)
    }

    fn sizes(&self) -> Sizes {
        Sizes { images: self.batch, batch: self.batch, global_views: 2, local_views: 0 }
    }

    /// The numbers of the CPU, and how far they move with the last bits of weights and pixels.
    ///
    /// # Errors
    /// An unknown method; losses or gradients that are not finite.
    pub fn reference(&self, method: &str) -> Result<Reference, TrainError> {
        let method = self.method(method).map_err(|error| TrainError::Setting(error.to_string()))?;
        let (cpu, single) = (Device::flex(), Precision::F32);
        let fresh = || self.learner(method.as_ref(), &cpu, SEED);
        let views: Vec<TensorData> = (0..2).map(|view| self.view(view)).collect();
        let first = self.train(fresh(), &self.views(&views, &cpu, single), 1.0, 1)?.0;
        let rate = rate(&first);
        let trace = self.train(fresh(), &self.views(&views, &cpu, single), rate, STEPS)?.0;
        let mut spreads = [[0.0; 4]; 3];
        for (spread, rounding) in spreads.iter_mut().zip(Rounding::ALL) {
            let mut learner = fresh();
            load(learner.as_mut(), moved(&trace.start, rounding))?;
            let mut rng = rng(SEED, Stream::Evaluation, rounding as u64, 1);
            let views: Vec<_> = views.iter().map(|view| shaken(view, rounding, &mut rng)).collect();
            let views = self.views(&views, &cpu, single);
            *spread = trace.distance(&self.train(learner, &views, rate, STEPS)?.0).numbers();
        }
        Ok(Reference { views, trace, spreads })
    }

    /// Takes the steps of `reference` on `device` and compares.
    ///
    /// # Errors
    /// A precision that the device does not have; tensors that are not this network's; losses or
    /// gradients that are not finite.
    pub fn compare(
        &self,
        method: &str,
        reference: &Reference,
        device: &Device,
        precision: Precision,
    ) -> Result<Verdict, TrainError> {
        precision.check(device)?;
        let method = self.method(method).map_err(|error| TrainError::Setting(error.to_string()))?;
        let mut learner = self.learner(method.as_ref(), device, SEED);
        load(learner.as_mut(), reference.trace.start.clone())?;
        let views = self.views(&reference.views, device, precision);
        let (trace, mut learner) = self.train(learner, &views, rate(&reference.trace), STEPS)?;
        // What was written and read has the same bits, in a learner that began elsewhere.
        let mut other = self.learner(method.as_ref(), device, SEED + 1);
        let saved = file::through_bytes(&trace.end).map_err(CheckpointError::from)?;
        load(other.as_mut(), saved)?;
        let next = [&mut learner, &mut other].map(|learner| {
            let mut report = StepReport::default();
            report.add(&learner.forward_backward(&views, 1.0, &at(STEPS)), 1.0);
            report.read(None);
            report.loss as f32
        });
        let rounding = Rounding::of(precision, device);
        let spread = reference.spreads[rounding as usize];
        Ok(Verdict {
            distance: reference.trace.distance(&trace),
            losses: trace.losses,
            allowed: spread.map(|spread| (FACTOR * spread).max(rounding.unit())),
            next,
        })
    }

    /// The method with heads and memories of a size that a file can hold.
    fn method(&self, name: &str) -> Result<Box<dyn AnyMethod>, BenchError> {
        let entry = methods::find(name).ok_or_else(|| BenchError::unknown(name))?;
        let mut table = entry.defaults().settings();
        shrink(&mut table, self.batch);
        let refused = |error: RecipeError| BenchError::Refused {
            method: entry.name,
            what: error.to_string(),
        };
        entry.with(&table).map_err(refused)
    }

    fn learner(&self, method: &dyn AnyMethod, device: &Device, seed: u64) -> Box<dyn Learner> {
        method.learner(&self.backbone, &self.sizes(), &device.clone().autodiff(), seed)
    }

    fn train(
        &self,
        mut learner: Box<dyn Learner>,
        views: &Views,
        rate: f64,
        steps: u64,
    ) -> Result<(Trace, Box<dyn Learner>), TrainError> {
        let start = tensors(learner.as_ref());
        let config = OptimizerConfig {
            algorithm: Algorithm::Sgd(Sgd::default()),
            lr: rate,
            ..bench::optimizer()
        };
        let mut optimizer = Optimizer::new(config, self.batch)?;
        let is_scaled = views.all().any(|view| view.dtype() == DType::F16);
        let scale = LossScale { factor: LOSS_SCALE, ..LossScale::default() };
        let mut scale = is_scaled.then_some(scale);
        let (mut losses, mut norms) = (Vec::new(), Vec::new());
        for index in 0..steps {
            let at = at(index);
            let report = bench::step(learner.as_mut(), &mut optimizer, &mut scale, views, &at)?;
            losses.push(report.loss as f32);
            norms.push(report.gradient_norm as f32);
        }
        let end = tensors(learner.as_ref());
        Ok((Trace { start, end, losses, norms }, learner))
    }

    fn views(&self, views: &[TensorData], device: &Device, precision: Precision) -> Views {
        let device = device.clone().autodiff();
        let global = views
            .iter()
            .map(|view| images_to_tensor(numbers(view).to_vec(), self.batch, self.size, &device));
        precision.of(Views {
            images: (0..self.batch).collect(),
            labels: Some((0..self.batch as u32).map(|image| image % bench::CLASSES).collect()),
            global: global.collect(),
            local: Vec::new(),
            group: Group::alone(),
            frozen_backbone: false,
        })
    }

    /// Waves, another one in each channel of each image, and noise, another one in each view: images
    /// that networks can tell apart.
    fn view(&self, view: u16) -> TensorData {
        let mut noise = rng(SEED, Stream::View(view), 0, 0);
        let mut pixels = Vec::with_capacity(self.batch * self.size * self.size * 3);
        for image in 0..self.batch {
            let mut waves = rng(SEED, Stream::Evaluation, 0, 2 + image as u64);
            let waves: [[f64; 3]; 3] =
                std::array::from_fn(|_| [(); 3].map(|()| uniform(&mut waves, -3.0, 3.0)));
            for place in 0..self.size * self.size {
                let at = |pixel: usize| pixel as f64 / self.size as f64;
                let (x, y) = (at(place % self.size), at(place / self.size));
                for [along, down, phase] in waves {
                    let wave = (along * x + down * y + phase).sin();
                    pixels.push((wave + uniform(&mut noise, -0.3, 0.3)) as f32);
                }
            }
        }
        TensorData::new(pixels, [self.batch, self.size, self.size, 3])
    }
}

fn at(index: u64) -> Step {
    let (epoch, total) = (index / EPOCH, STEPS + 1);
    Step { index, epoch, steps_per_epoch: EPOCH, total, seed: SEED, ..Step::default() }
}

/// The learning rate with which the first step has the length [`FIRST_MOVE`]. DeepCluster V2 learns
/// nothing in its first epoch, so there is no gradient to go by.
fn rate(trace: &Trace) -> f64 {
    match f64::from(trace.norms[0]) {
        0.0 => FIRST_MOVE,
        norm => FIRST_MOVE / norm,
    }
}

fn shrink(table: &mut toml::Table, batch: usize) {
    for (key, value) in table.iter_mut() {
        let end = key.rsplit('_').next().unwrap_or(key);
        let small = SMALL.iter().find(|(name, _)| *name == end);
        let small = small.map(|(_, small)| toml::Value::Integer((*small).min(batch) as i64));
        match (value, small) {
            (toml::Value::Table(inner), _) => shrink(inner, batch),
            (value @ toml::Value::Integer(_), _) if end == "queue" => {
                let rows = (QUEUE * batch).max(5_usize.next_multiple_of(batch));
                *value = toml::Value::Integer(rows as i64);
            }
            // Heads divide a length that may be odd.
            (value @ toml::Value::Integer(_), _)
                if ["heads", "depth", "context"].contains(&end) =>
            {
                *value = 1.into();
            }
            (value, _) if end == "width" => *value = 16.into(),
            // So few images have no covariance of so many columns.
            (value, _) if key == "whitening_eps" => {
                *value = toml::Value::Float(bench::WHITENING_EPS)
            }
            (value, _) if key == "whitening_size" => *value = toml::Value::Integer(batch as i64),
            (value @ toml::Value::Integer(_), Some(small)) => *value = small,
            (toml::Value::Array(values), Some(small)) => values.fill(small),
            _ => {}
        }
    }
}
