//! What every method must hold, whatever it does: walks `METHODS`.
//!
//! On the CPU, or on the device that `VSSL_TEST_DEVICE` names, as in `--device`, and there with a
//! backbone in the precision that `VSSL_TEST_PRECISION` names: the assertions are the same.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use vssl::{
    backbone::{BackboneConfig, ResnetConfig, Stem, VitConfig},
    collective::Group,
    device::DeviceChoice,
    method::{Sizes, Views, learner::Learner},
    methods::METHODS,
    optim::{Gradients, Optimizer, OptimizerConfig},
    precision::Precision,
    recipe::Entry,
    schedule::Step,
    tensors::ParameterInfo,
    train::batch::{self, MicroBatch},
};
use vssl_data::{
    Batch, Dataset, Image, Loader, LoaderPlan, OnBadImage, Pipeline, Share, ViewGroup, dataset,
};

const SIZE: usize = 16;
const BATCH: usize = 16;
/// Of an epoch.
const STEPS: u64 = 4;

fn choice() -> DeviceChoice {
    let name = std::env::var("VSSL_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    name.parse().expect("VSSL_TEST_DEVICE is a device, as in --device")
}

/// Under autodiff.
pub fn device() -> Device {
    choice().resolve().expect("the tests are built with the device's feature").autodiff()
}

/// Of the backbone; single where nothing is said.
pub fn precision() -> Precision {
    let name = std::env::var("VSSL_TEST_PRECISION").unwrap_or_else(|_| "f32".to_owned());
    let precision = Precision::ALL.into_iter().find(|precision| precision.name() == name);
    let precision = precision.expect("VSSL_TEST_PRECISION is f32, bf16 or f16");
    precision.check(&device()).expect("VSSL_TEST_DEVICE computes in VSSL_TEST_PRECISION");
    precision
}

/// What the loss is multiplied by. A run finds its own factor, by leaving out its first steps; this one
/// is low enough for all methods.
pub fn loss_scale(precision: Precision) -> f64 {
    if precision.scales_loss() { 128.0 } else { 1.0 }
}

/// Integer settings that make networks and memories small, by what their names end in.
const SMALL: [(&str, i64); 10] = [
    ("hidden", 32),
    ("dim", 16),
    ("queue", 48),
    ("prototypes", 12),
    ("slices", 16),
    ("whitening_size", 16),
    ("r_width", 16),
    ("r_depth", 1),
    ("r_heads", 2),
    ("min_context", 2),
];

/// The method's own settings, made small.
pub fn small(entry: &Entry) -> toml::Table {
    let mut settings = entry.defaults().settings();
    for (key, value) in &mut settings {
        let Some((_, small)) = SMALL.iter().find(|(end, _)| key.ends_with(end)) else { continue };
        match value {
            toml::Value::Integer(value) => *value = *small,
            toml::Value::Array(values) => values.fill(toml::Value::Integer(*small)),
            _ => {}
        }
    }
    if let Some(share) = settings.get_mut("whitening_eps") {
        // Sixteen rows have no covariance of sixteen columns.
        *share = toml::Value::Float(0.05);
    }
    settings
}

pub fn sizes() -> Sizes {
    Sizes { images: Pictures.len(), batch: BATCH, global_views: 2, local_views: 0 }
}

/// A narrow ResNet, or a narrow transformer for a method that needs patches.
pub fn network(entry: &Entry, width: usize) -> BackboneConfig {
    if entry.defaults().check_patches(None).is_ok() {
        return ResnetConfig { width, stem: Stem::Cifar, ..Default::default() }.into();
    }
    VitConfig {
        width: Some(6 * width),
        depth: Some(2),
        patch: 4,
        image_size: SIZE,
        ..VitConfig::default()
    }
    .into()
}

fn learner_of_width(entry: &Entry, width: usize) -> Box<dyn Learner> {
    let method = entry.with(&small(entry)).unwrap();
    let backbone = network(entry, width);
    method.check(&sizes()).unwrap();
    method.check_patches(backbone.patches(SIZE)).unwrap();
    let mut learner = method.learner(&backbone, &sizes(), &device(), 7);
    learner.before_epoch(&step(0));
    learner
}

fn learner(entry: &Entry) -> Box<dyn Learner> {
    learner_of_width(entry, 4)
}

/// One that has seen an epoch: what is frozen or empty in the first one no longer is.
fn learner_in_second_epoch(entry: &Entry) -> Box<dyn Learner> {
    let (mut learner, mut optimizer) = (learner(entry), optimizer());
    for (index, batch) in loader(0).enumerate() {
        let views = views(&mut batch.unwrap());
        train(learner.as_mut(), &mut optimizer, &views, &step(index as u64));
    }
    learner.before_epoch(&step(STEPS));
    learner
}

pub fn optimizer() -> Optimizer {
    let json = r#"{ "name": "adamw", "lr": 0.003, "scale_lr": false, "weight_decay": 0.0 }"#;
    let config: OptimizerConfig = serde_json::from_str(json).unwrap();
    Optimizer::new(config, BATCH).unwrap()
}

pub fn step(index: u64) -> Step {
    let epoch = index / STEPS;
    Step { index, epoch, steps_per_epoch: STEPS, total: 100, watch: true, ..Step::default() }
}

/// Coloured gradients, different for every index.
struct Pictures;

impl Dataset for Pictures {
    fn len(&self) -> usize {
        64
    }
    fn image(&self, index: usize) -> Result<Image, vssl_data::DataError> {
        let pixel = |i: usize| ((i * (index + 3) + index * 37) % 251) as u8;
        let rgb = (0..SIZE * SIZE * 3).map(pixel).collect();
        Ok(Image { width: SIZE, height: SIZE, values: rgb })
    }
    fn labels(&self) -> Option<&[u32]> {
        None
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn name(&self, index: usize) -> String {
        format!("picture {index}")
    }
}

fn loader(workers: usize) -> Loader {
    let group = ViewGroup { size: SIZE, ..ViewGroup::default() };
    let pipeline = Pipeline::new(vec![group], dataset::CIFAR10, 7).unwrap();
    let plan = LoaderPlan {
        seed: 7,
        batch: BATCH,
        share: Share::WHOLE,
        workers,
        prefetch: 2,
        on_bad_image: OnBadImage::Stop,
        start_step: 0,
        end_step: STEPS,
    };
    Loader::new(Arc::new(Pictures), Arc::new(pipeline), plan).unwrap()
}

pub fn views(batch: &mut Batch) -> Views {
    labelled(batch::micro(batch, 0, 1, &Group::alone(), &device()), precision())
}

/// The views of a micro-batch with labels of four classes, which only one method reads.
pub fn labelled(part: MicroBatch<'_>, precision: Precision) -> Views {
    let labels = part.views.images.iter().map(|image| (image % 4) as u32).collect();
    Views { labels: Some(labels), ..precision.of(part.views) }
}

pub fn first_batch() -> Batch {
    loader(0).next().unwrap().unwrap()
}

pub fn loss(learner: &mut dyn Learner, views: &Views, at: &Step) -> f32 {
    learner.forward_backward(views, loss_scale(precision()), at).total.into_scalar()
}

pub fn gradients(learner: &mut dyn Learner) -> Gradients {
    learner.take_gradients().scale(1.0 / loss_scale(precision()))
}

pub fn train(
    learner: &mut dyn Learner,
    optimizer: &mut Optimizer,
    views: &Views,
    at: &Step,
) -> f32 {
    let value = loss(learner, views, at);
    let gradients = gradients(learner);
    learner.update(optimizer, gradients, &|base| base, at).unwrap();
    value
}

#[test]
fn the_loss_and_every_part_of_it_are_finite() {
    for entry in METHODS {
        let mut learner = learner(entry);
        let outcome = learner.forward_backward(&views(&mut first_batch()), 1.0, &step(0));
        assert!(outcome.total.into_scalar::<f32>().is_finite(), "{}", entry.name);
        assert!(!outcome.parts.is_empty(), "{}", entry.name);
        for (part, value) in outcome.parts {
            let value = value.into_scalar::<f32>();
            assert!(value.is_finite(), "{}: {part} is {value}", entry.name);
        }
        for features in outcome.features {
            assert!(!features.is_require_grad(), "{}: features carry a graph", entry.name);
        }
    }
}

/// A head of `[uncertainty]` learns from these.
#[test]
fn the_losses_of_images_are_there_where_a_method_has_them_and_their_mean_is_the_loss() {
    let mut with = 0;
    for entry in METHODS {
        let mut learner = learner_in_second_epoch(entry);
        let views = views(&mut first_batch());
        let silent = learner.forward_backward(&views, 1.0, &step(STEPS));
        assert!(silent.image_losses.is_none(), "{}: not asked for", entry.name);
        let mut learner = learner_in_second_epoch(entry);
        let at = Step { image_losses: true, ..step(STEPS) };
        let outcome = learner.forward_backward(&views, 1.0, &at);
        let has = entry.defaults().has_image_losses();
        assert_eq!(outcome.image_losses.is_some(), has, "{}", entry.name);
        let (silent, total) =
            (silent.total.into_scalar::<f32>(), outcome.total.into_scalar::<f32>());
        assert_eq!(silent.to_bits(), total.to_bits(), "{}: the loss itself", entry.name);
        if let Some(losses) = outcome.image_losses {
            with += 1;
            assert_eq!(losses.dims(), [BATCH], "{}", entry.name);
            assert!(!losses.is_require_grad(), "{}: the losses carry a graph", entry.name);
            let mean = losses.mean().into_scalar::<f32>();
            // KoLeo belongs to the whole batch.
            let koleo = outcome.parts.iter().find(|(name, _)| *name == "koleo");
            let koleo = koleo.map_or(0.0, |(_, value)| value.clone().into_scalar::<f32>());
            let weight = small(entry).get("koleo_weight").and_then(toml::Value::as_float);
            let total = total - koleo * weight.unwrap_or(0.0) as f32;
            let error = (mean - total).abs() / total.abs().max(1.0);
            assert!(error < 1e-4, "{}: {mean}, not {total}", entry.name);
        }
    }
    assert!(with >= 18, "only {with} methods tell the losses of images");
}

#[test]
fn every_student_parameter_gets_a_gradient_and_a_forward_pass_moves_no_teacher() {
    for entry in METHODS {
        let mut learner = learner_in_second_epoch(entry);
        let before = learner.memory();
        let at = step(STEPS);
        loss(learner.as_mut(), &views(&mut first_batch()), &at);
        let gradients = gradients(learner.as_mut()).0;
        for parameter in learner.parameters() {
            let path = &parameter.path;
            if learner.is_frozen(path, &at) {
                continue;
            }
            let gradient = gradients.get(path);
            let gradient = gradient.unwrap_or_else(|| panic!("{}: {path}", entry.name));
            let largest: f32 = gradient.clone().abs().max().into_scalar();
            // A bias in front of a batch normalisation has none but rounding.
            let found = largest > 0.0 || path.ends_with(".bias");
            assert!(largest.is_finite() && found, "{}: gradient of {path}", entry.name);
        }
        // What the optimiser's step moves, a forward pass does not.
        for (path, now) in learner.memory() {
            let statistic = path.ends_with("running_mean") || path.ends_with("running_var");
            let moved = !statistic && now != before[&path];
            assert!(!(moved && path.contains("backbone")), "{}: {path} moved", entry.name);
        }
    }
}

/// What a backward pass in half precision may be off by: its loss, relative to that in single
/// precision or to 1, and its gradients, as a distance relative to their norm. A ResNet of width 4 that
/// normalises 16 images has the largest errors there are.
fn allowed(precision: Precision) -> (f32, f32) {
    match precision {
        Precision::F32 => (0.0, 0.0),
        Precision::Bf16 => (0.1, 0.8),
        Precision::F16 => (0.02, 0.3),
    }
}

#[test]
fn half_precision_changes_loss_and_gradients_by_rounding_only() {
    let half = precision();
    if half == Precision::F32 {
        println!("skipped: VSSL_TEST_PRECISION names no half precision");
        return;
    }
    let (of_loss, of_gradients) = allowed(half);
    for entry in METHODS {
        let name = entry.name;
        let [(single, expected), (rounded, got)] = [Precision::F32, half].map(|precision| {
            let mut learner = learner_in_second_epoch(entry);
            let mut batch = first_batch();
            let part = batch::micro(&mut batch, 0, 1, &Group::alone(), &device());
            let views = labelled(part, Precision::F32);
            let loss = loss(learner.as_mut(), &precision.of(views), &step(STEPS));
            (loss, gradients(learner.as_mut()).0)
        });
        let squares = |x: Tensor<1>| x.square().sum().into_scalar::<f32>();
        let distance: f32 =
            got.into_iter().map(|(path, x)| squares(x - expected[&path].clone())).sum();
        let size: f32 = expected.into_values().map(squares).sum();
        let error = (distance / size).sqrt();
        let loss = (rounded - single).abs() / single.abs().max(1.0);
        println!(
            "{name}, {}: loss {single} differs by {loss:.1e}, gradients by {error:.1e}",
            half.name()
        );
        assert!(loss <= of_loss && error <= of_gradients, "{name}: {loss} and {error}");
    }
}

#[test]
fn frozen_parameters_do_not_move() {
    for entry in METHODS {
        let (mut learner, mut optimizer) = (learner(entry), optimizer());
        let before = learner.student();
        train(learner.as_mut(), &mut optimizer, &views(&mut first_batch()), &step(0));
        let after = learner.student();
        for ParameterInfo { path, .. } in learner.parameters() {
            if learner.is_frozen(&path, &step(0)) {
                assert_eq!(before[&path], after[&path], "{}: {path}", entry.name);
            }
        }
    }
}

#[test]
fn what_was_read_of_a_learner_stays_when_it_is_trained() {
    for entry in METHODS {
        let (mut learner, mut optimizer) = (learner_in_second_epoch(entry), optimizer());
        let before = learner.student();
        train(learner.as_mut(), &mut optimizer, &views(&mut first_batch()), &step(STEPS));
        let after = learner.student();
        let moved = |path: &String| !path.contains("running_") && before[path] != after[path];
        assert!(after.keys().any(moved), "{}", entry.name);
    }
}

#[test]
fn twenty_steps_on_one_batch_lower_the_loss() {
    for entry in METHODS {
        let (mut learner, mut optimizer) = (learner_in_second_epoch(entry), optimizer());
        let views = views(&mut first_batch());
        // The same step and memory, so that noise, schedules and targets stay the same: a centre
        // that moves changes DINO's loss more than twenty steps do.
        let (at, memory) = (step(STEPS), learner.memory());
        let losses: Vec<f32> = (0..20)
            .map(|_| {
                let loss = train(learner.as_mut(), &mut optimizer, &views, &at);
                learner.load(learner.student(), memory.clone()).unwrap();
                loss
            })
            .collect();
        assert!(losses[19] < losses[0], "{}: {losses:?}", entry.name);
    }
}

#[test]
fn a_saved_and_loaded_learner_goes_on_bit_for_bit() {
    for entry in METHODS {
        let mut one = learner_in_second_epoch(entry);
        let (views, at) = (views(&mut first_batch()), step(STEPS));
        let mut other = learner(entry);
        other.load(one.student(), one.memory()).unwrap();
        let (a, b) = (loss(one.as_mut(), &views, &at), loss(other.as_mut(), &views, &at));
        assert_eq!(a.to_bits(), b.to_bits(), "{}: {a} and {b}", entry.name);
    }
}

#[test]
fn the_number_of_loader_workers_does_not_change_the_loss() {
    for entry in METHODS {
        let losses = |workers| -> Vec<u32> {
            let (mut learner, mut optimizer) = (learner(entry), optimizer());
            loader(workers)
                .enumerate()
                .map(|(index, batch)| {
                    let views = views(&mut batch.unwrap());
                    let at = step(index as u64);
                    train(learner.as_mut(), &mut optimizer, &views, &at).to_bits()
                })
                .collect()
        };
        assert_eq!(losses(1), losses(4), "{}", entry.name);
    }
}

#[test]
fn a_state_of_another_width_is_refused_and_changes_nothing() {
    for entry in METHODS {
        let mut wide = learner_of_width(entry, 8);
        let narrow = learner(entry);
        let before = wide.student();
        let error = wide.load(narrow.student(), narrow.memory()).unwrap_err().to_string();
        assert!(error.contains("shape"), "{}: {error}", entry.name);
        assert_eq!(wide.student(), before, "{}", entry.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_networks() {
    for entry in METHODS {
        assert_eq!(learner(entry).student(), learner(entry).student(), "{}", entry.name);
    }
}

#[test]
fn teachers_keep_statistics_of_their_own() {
    for entry in METHODS {
        let mut learner = learner(entry);
        let student = learner.student();
        loss(learner.as_mut(), &views(&mut first_batch()), &step(0));
        for (path, value) in learner.memory() {
            if path.ends_with("backbone.bn1.running_mean") {
                let value: Tensor<1> = Tensor::from_data(value, &Device::flex());
                assert!(value.abs().sum().into_scalar::<f32>() > 0.0, "{}", entry.name);
                let path = path.strip_prefix("teacher.").unwrap_or(&path);
                assert_ne!(learner.student()[path], student[path], "{}", entry.name);
            }
        }
    }
}
