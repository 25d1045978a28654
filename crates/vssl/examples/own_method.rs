//! A method of one's own, trained for some steps on the images in `data/` and judged by nearest
//! neighbours: `cargo run --release -p vssl --example own_method`, in the folder of the repository.

use std::{
    error::Error,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

// ANCHOR: method
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};
use vssl::{
    Backbone, Loss, Method, Nothing, Sizes, Step, Views,
    layers::{Init, Mlp},
    objective::unit_rows,
    recipe::{Checker, Settings},
};

/// Alignment and uniformity on the sphere (Wang and Isola 2020, arXiv:2005.10242):
/// `L = mean |a − b|² + weight · ½ Σ_views log mean_{i≠j} exp(−2 |z_i − z_j|²)`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Uniformity {
    /// Hidden width of the projector.
    pub hidden: usize,
    /// Length of the embedding.
    pub dim: usize,
    /// Weight of the uniformity.
    pub weight: f64,
}

impl Default for Uniformity {
    fn default() -> Self {
        Self { hidden: 512, dim: 128, weight: 1.0 }
    }
}

impl Settings for Uniformity {
    fn check(&self, checker: &mut Checker) {
        checker.require("hidden", self.hidden > 0, self.hidden, "at least 1");
        checker.require("dim", self.dim > 0, self.dim, "at least 1");
        checker.not_negative("weight", self.weight);
    }
}

/// What the optimiser trains.
#[derive(Module, Debug)]
pub struct Student {
    backbone: Backbone,
    projector: Mlp,
}

impl Method for Uniformity {
    type Student = Student;
    type Memory = Nothing;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("uniformity")?;
        sizes.require_other_images("uniformity")
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student { backbone, projector: Mlp::new(dim, self.hidden, self.dim, init) }
    }

    fn memory(&self, _: &Student, _: &Sizes, _: &Init) -> Nothing {
        Nothing
    }

    fn loss(&self, student: &Student, _: &Nothing, views: &Views, _: &Step) -> Loss<()> {
        let mode = views.mode();
        let h = views.pair().map(|x| student.backbone.forward(x.clone(), mode));
        let z = h.clone().map(|h| student.projector.forward(h, mode));
        let z = views.gather(z).map(unit_rows);
        let alignment = (z[0].clone() - z[1].clone()).square().sum_dim(1).mean();
        let [a, b] = z.map(uniformity);
        let uniform = (a + b) * 0.5;
        let parts = vec![("alignment", alignment.clone()), ("uniformity", uniform.clone())];
        let total = alignment + uniform * self.weight;
        Loss { total, parts, features: h.into(), carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }
}

/// `log mean_{i≠j} exp(−2 |z_i − z_j|²)` of unit rows, where `|z_i − z_j|² = 2 − 2 z_i·z_j`.
///
/// # Shapes — `[n, d]` to `[1]`.
fn uniformity(z: Tensor<2>) -> Tensor<1> {
    let [n, _] = z.dims();
    let cosine = vssl_kernels::linear(z.clone(), z.clone(), None); // [n, n]
    let others = Tensor::<2>::ones([n, n], &z.device()) - Tensor::eye(n, &z.device());
    let potential: Tensor<2> = ((cosine - 1.0) * 4.0).exp() * others;
    (potential.sum() / (n * (n - 1)) as f64).log()
}
// ANCHOR_END: method

// ANCHOR: training
use vssl::{
    Encoder, Network,
    collective::Group,
    encoder::{Input, Reading},
    eval::evaluators::{Knn, Splits},
    method::learner,
    optim::Optimizer,
    train::batch::micro,
};
use vssl_data::{
    Loader, LoaderPlan, OnBadImage, Pipeline, Share, ViewGroup,
    dataset::{self, DataConfig, FASHION_MNIST, Format},
};

const BATCH: usize = 64;
const SIZE: usize = 28;

/// Trains for `steps` steps on the images below `root`, writes the loss of each tenth of them and the
/// accuracy of nearest neighbours, and returns that accuracy: the percentage of validation images that
/// are given their class by the 20 nearest training images.
pub fn run(root: &Path, steps: u64, out: &mut dyn Write) -> Result<f64, Box<dyn Error>> {
    let images = DataConfig {
        format: Format::Idx,
        path: root.join("data/fashion-mnist-tenth"),
        ..DataConfig::default()
    };
    let images = dataset::open(&images, None)?;
    let views = ViewGroup { size: SIZE, ..ViewGroup::default() };
    let plan = LoaderPlan {
        seed: 0,
        batch: BATCH,
        share: Share::WHOLE,
        workers: 1,
        prefetch: 2,
        on_bad_image: OnBadImage::Stop,
        start_step: 0,
        end_step: steps,
    };
    let pipeline = Arc::new(Pipeline::new(vec![views], FASHION_MNIST, plan.seed)?);
    let loader = Loader::new(Arc::clone(&images.train), pipeline, plan)?;

    let device = Device::flex().autodiff();
    let backbone = toml::from_str("architecture = \"resnet18\"\nwidth = 8\nstem = \"imagenet\"")?;
    let method = learner::erase("uniformity", Uniformity { hidden: 128, dim: 32, weight: 1.0 });
    let sizes = Sizes { images: images.train.len(), batch: BATCH, global_views: 2, local_views: 0 };
    method.check(&sizes)?;
    let mut learner = method.learner(&backbone, &sizes, &device, 0);
    let settings = toml::from_str("name = \"adamw\"\nlr = 0.003\nscale_lr = false")?;
    let mut optimizer = Optimizer::new(settings, BATCH)?;

    let steps_per_epoch = loader.steps_per_epoch();
    for batch in loader {
        let batch = batch?;
        let views = micro(&batch, 0, 1, &Group::alone(), &device).views;
        let (index, epoch) = (batch.step, batch.epoch);
        let at = Step { index, epoch, steps_per_epoch, total: steps, ..Step::default() };
        let outcome = learner.forward_backward(&views, 1.0, &at);
        let gradients = learner.take_gradients();
        learner.update(&mut optimizer, gradients, &|base| base, &at)?;
        if (index + 1).is_multiple_of((steps / 10).max(1)) {
            let loss = outcome.total.into_scalar::<f32>();
            writeln!(out, "step {}: loss {loss:.4}", index + 1)?;
        }
    }

    let encoder = Encoder {
        backbone: learner.encoder(Network::Student).expect("every method has a student"),
        config: backbone,
        input: Input::new(SIZE, Format::Idx, FASHION_MNIST),
        path: "own_method".into(),
        recipe: None,
        step: Some(steps),
        device: Device::flex(),
    };
    let validation = images.validation.ok_or("the images have no validation split")?;
    let train = encoder.features(&images.train, &Reading::default())?;
    let test = encoder.features(&validation, &Reading::default())?;
    let knn = Knn { k: 20, temperature: 0.07 };
    let top1 = knn.top1(&Splits { train, validation: test })?;
    writeln!(out, "kNN accuracy after {steps} steps: {top1:.1} %")?;
    Ok(top1)
}
// ANCHOR_END: training

fn main() -> ExitCode {
    match run(Path::new("."), 200, &mut io::stdout()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
