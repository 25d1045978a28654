//! What every method must hold, whatever it does: walks `METHODS`.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use vssl::{
    backbone::BackboneConfig,
    method::Views,
    methods::{Entry, METHODS},
    optim::{Optimizer, OptimizerConfig},
    schedule::Step,
    train::{batch, learner::Learner},
};
use vssl_data::{
    Batch, Dataset, Image, Loader, LoaderPlan, OnBadImage, Pipeline, ViewGroup, dataset,
};

const SIZE: usize = 16;
const BATCH: usize = 16;

fn device() -> Device {
    Device::flex().autodiff()
}

/// Settings small enough for a test, where a method has such.
fn small(entry: &Entry) -> toml::Table {
    let all = (entry.configure)(&toml::Table::new()).unwrap().settings();
    let small = [("hidden", 32), ("dim", 16)];
    let known = small.into_iter().filter(|(key, _)| all.contains_key(*key));
    known.map(|(key, value)| (key.to_owned(), toml::Value::Integer(value))).collect()
}

fn learner(entry: &Entry) -> Box<dyn Learner> {
    let method = (entry.configure)(&small(entry)).unwrap();
    let backbone =
        BackboneConfig { width: 4, stem: vssl::backbone::Stem::Cifar, ..Default::default() };
    method.learner(&backbone, &device(), 7)
}

fn optimizer() -> Optimizer {
    let json = r#"{ "name": "adamw", "lr": 0.003, "scale_lr": false, "weight_decay": 0.0 }"#;
    let config: OptimizerConfig = serde_json::from_str(json).unwrap();
    Optimizer::new(config, BATCH).unwrap()
}

fn step(index: u64) -> Step {
    Step { index, steps_per_epoch: 10, total: 100, watch: true, ..Step::default() }
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
        Ok(Image { width: SIZE, height: SIZE, rgb })
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
        workers,
        prefetch: 2,
        on_bad_image: OnBadImage::Stop,
        start_step: 0,
        end_step: 3,
    };
    Loader::new(Arc::new(Pictures), Arc::new(pipeline), plan).unwrap()
}

fn views(batch: &Batch) -> Views {
    batch::micro(batch, 0, 1, &device()).views
}

fn first_batch() -> Batch {
    loader(0).next().unwrap().unwrap()
}

fn loss(learner: &mut dyn Learner, views: &Views, at: &Step) -> f32 {
    learner.forward_backward(views, 1.0, at).total.into_scalar()
}

fn train(learner: &mut dyn Learner, optimizer: &mut Optimizer, views: &Views, at: &Step) -> f32 {
    let value = loss(learner, views, at);
    let gradients = learner.take_gradients();
    learner.update(optimizer, gradients, &|base| base, at).unwrap();
    value
}

#[test]
fn the_loss_and_every_part_of_it_are_finite() {
    for entry in METHODS {
        let mut learner = learner(entry);
        let outcome = learner.forward_backward(&views(&first_batch()), 1.0, &step(0));
        assert!(outcome.total.into_scalar::<f32>().is_finite(), "{}", entry.schema.name);
        assert!(!outcome.parts.is_empty(), "{}", entry.schema.name);
        for (part, value) in outcome.parts {
            let value = value.into_scalar::<f32>();
            assert!(value.is_finite(), "{}: {part} is {value}", entry.schema.name);
        }
        for features in outcome.features {
            assert!(!features.is_require_grad(), "{}: features carry a graph", entry.schema.name);
        }
    }
}

#[test]
fn every_student_parameter_gets_a_gradient_and_memory_gets_none() {
    for entry in METHODS {
        let mut learner = learner(entry);
        let before = learner.memory();
        loss(learner.as_mut(), &views(&first_batch()), &step(0));
        let gradients = learner.take_gradients().0;
        for parameter in learner.parameters() {
            let path = &parameter.path;
            let gradient = gradients.get(path);
            let gradient = gradient.unwrap_or_else(|| panic!("{}: {path}", entry.schema.name));
            let largest: f32 = gradient.clone().abs().max().into_scalar();
            // A bias in front of a batch normalisation has none but rounding.
            assert!(largest.is_finite(), "{}: gradient of {path}", entry.schema.name);
        }
        assert_eq!(gradients.len(), learner.parameters().len(), "{}", entry.schema.name);
        // Nothing of memory but running statistics moves before the optimiser's step.
        for (path, now) in learner.memory() {
            let statistic = path.ends_with("running_mean") || path.ends_with("running_var");
            assert!(statistic || now == before[&path], "{}: {path} moved", entry.schema.name);
        }
    }
}

#[test]
fn twenty_steps_on_one_batch_lower_the_loss() {
    for entry in METHODS {
        let (mut learner, mut optimizer) = (learner(entry), optimizer());
        let views = views(&first_batch());
        // The same step, so that noise and schedules stay the same.
        let losses: Vec<f32> =
            (0..20).map(|_| train(learner.as_mut(), &mut optimizer, &views, &step(0))).collect();
        assert!(losses[19] < losses[0], "{}: {losses:?}", entry.schema.name);
    }
}

#[test]
fn a_saved_and_loaded_learner_goes_on_bit_for_bit() {
    for entry in METHODS {
        let (mut one, mut optimizer) = (learner(entry), optimizer());
        let views = views(&first_batch());
        for index in 0..3 {
            train(one.as_mut(), &mut optimizer, &views, &step(index));
        }
        let mut other = learner(entry);
        other.load(one.student(), one.memory()).unwrap();
        let (a, b) = (loss(one.as_mut(), &views, &step(3)), loss(other.as_mut(), &views, &step(3)));
        assert_eq!(a.to_bits(), b.to_bits(), "{}: {a} and {b}", entry.schema.name);
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
                    let views = views(&batch.unwrap());
                    let at = step(index as u64);
                    train(learner.as_mut(), &mut optimizer, &views, &at).to_bits()
                })
                .collect()
        };
        assert_eq!(losses(1), losses(4), "{}", entry.schema.name);
    }
}

#[test]
fn a_state_of_another_width_is_refused_and_changes_nothing() {
    for entry in METHODS {
        let mut wide = {
            let method = (entry.configure)(&small(entry)).unwrap();
            let backbone = BackboneConfig { width: 8, ..Default::default() };
            method.learner(&backbone, &device(), 7)
        };
        let narrow = learner(entry);
        let before = wide.student();
        let error = wide.load(narrow.student(), narrow.memory()).unwrap_err().to_string();
        assert!(error.contains("shape"), "{}: {error}", entry.schema.name);
        assert_eq!(wide.student(), before, "{}", entry.schema.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_networks() {
    for entry in METHODS {
        assert_eq!(learner(entry).student(), learner(entry).student(), "{}", entry.schema.name);
    }
}

#[test]
fn teachers_keep_statistics_of_their_own() {
    for entry in METHODS {
        let mut learner = learner(entry);
        let student = learner.student();
        loss(learner.as_mut(), &views(&first_batch()), &step(0));
        for (path, value) in learner.memory() {
            if path.ends_with("backbone.bn1.running_mean") {
                let value: Tensor<1> = Tensor::from_data(value, &Device::flex());
                assert!(value.abs().sum().into_scalar::<f32>() > 0.0, "{}", entry.schema.name);
                assert_ne!(learner.student()[&path], student[&path], "{}", entry.schema.name);
            }
        }
    }
}
