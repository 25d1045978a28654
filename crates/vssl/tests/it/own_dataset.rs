//! The worked example of the book's chapter "Use it as a library": own images through an encoder
//! and through a method.

// ANCHOR: dataset
use std::sync::Arc;

use vssl_data::{DataError, Dataset, Image};

/// Discs of three radii on a dark ground, drawn when they are asked for.
struct Discs {
    labels: Vec<u32>,
    classes: Vec<String>,
}

impl Discs {
    fn new(count: u32) -> Self {
        let classes = ["small", "middle", "large"].map(str::to_owned).to_vec();
        Self { labels: (0..count).map(|index| index % 3).collect(), classes }
    }
}

impl Dataset for Discs {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let radius = 4 + 4 * self.labels[index] as usize;
        let centre = 12 + index % 8;
        let pixel = |i: usize| {
            let (row, column) = (i / 32, i % 32);
            let inside = row.abs_diff(centre).pow(2) + column.abs_diff(16).pow(2) < radius.pow(2);
            if inside { [230, 180, (index % 200) as u8] } else { [20, 30, 40] }
        };
        Ok(Image { width: 32, height: 32, values: (0..32 * 32).flat_map(pixel).collect() })
    }

    fn labels(&self) -> Option<&[u32]> {
        Some(&self.labels)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> String {
        format!("disc {index}")
    }
}
// ANCHOR_END: dataset

use burn::{module::Module, tensor::Device};
use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig, Stem},
    collective::Group,
    encoder::{Encoder, Input, Reading},
    layers::Init,
    method::{Sizes, learner},
    optim::Optimizer,
    schedule::Step,
    train::batch,
};
use vssl_data::{
    Loader, LoaderPlan, OnBadImage, Pipeline, Share, ViewGroup,
    dataset::{CIFAR10, Format},
};

use super::own_method::example::Uniformity;

#[test]
fn own_images_have_features_and_labels_in_their_order() {
    let config: BackboneConfig =
        ResnetConfig { width: 4, stem: Stem::Cifar, ..Default::default() }.into();
    let device = Device::flex();
    let encoder = Encoder {
        backbone: Backbone::new(&config, &Init::new(&device, 0)).no_grad().into(),
        config,
        input: Input::new(32, Format::Cifar10, CIFAR10),
        path: "made here".into(),
        recipe: None,
        network: None,
        step: None,
        loss_head: None,
        pooling: None,
        device,
    };
    // ANCHOR: use
    let images: Arc<dyn Dataset> = Arc::new(Discs::new(30));
    let features = encoder.features(&images, &Reading::default()).unwrap();
    assert_eq!((features.rows, features.dim), (30, encoder.config.dim()));
    assert_eq!(
        features.labels.as_deref().map(|labels| &labels[..4]),
        Some([0, 1, 2, 0].as_slice())
    );
    // ANCHOR_END: use
    let row = |index: usize| &features.values[index * features.dim..][..features.dim];
    assert_ne!(row(0), row(1));
}

#[test]
fn an_own_method_learns_from_own_images() {
    let device = Device::flex().autodiff();
    let images: Arc<dyn Dataset> = Arc::new(Discs::new(64));
    let views = vec![ViewGroup { count: 2, size: 16, ..ViewGroup::default() }];
    let pipeline = Arc::new(Pipeline::new(views, CIFAR10, 0).unwrap());
    let plan = LoaderPlan {
        seed: 0,
        batch: 16,
        workers: 1,
        prefetch: 2,
        on_bad_image: OnBadImage::Stop,
        start_step: 0,
        end_step: 12,
        share: Share::WHOLE,
    };
    let method = learner::erase("uniformity", Uniformity::default());
    let sizes = Sizes { images: 64, batch: 16, global_views: 2, local_views: 0 };
    method.check(&sizes).unwrap();
    let config: BackboneConfig =
        ResnetConfig { width: 4, stem: Stem::Cifar, ..Default::default() }.into();
    let mut learner = method.learner(&config, &sizes, &device, 0);
    let json = r#"{ "name": "adamw", "lr": 0.003, "scale_lr": false }"#;
    let mut optimizer = Optimizer::new(serde_json::from_str(json).unwrap(), 16).unwrap();
    let mut losses = Vec::new();
    for batch in Loader::new(images, pipeline, plan).unwrap() {
        let mut batch = batch.unwrap();
        let at = Step { index: batch.step, steps_per_epoch: 4, total: 12, ..Step::default() };
        let part = batch::micro(&mut batch, 0, 1, &Group::alone(), &device);
        let outcome = learner.forward_backward(&part.views, 1.0, &at);
        losses.push(outcome.total.into_scalar::<f32>());
        let gradients = learner.take_gradients();
        learner.update(&mut optimizer, gradients, &|base| base, &at).unwrap();
    }
    assert_eq!(losses.len(), 12);
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
    assert!(mean(&losses[8..]) < mean(&losses[..4]), "{losses:?}");
}
