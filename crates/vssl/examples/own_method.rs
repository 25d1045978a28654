//! A method of one's own, trained for some steps on the images in `data/` and judged by nearest
//! neighbours: `cargo run --release -p vssl --example own_method`, in the folder of the repository.

use std::{
    error::Error,
    io::{self, Write},
    path::Path,
    process::ExitCode,
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
        Loss { total, parts, features: h.into(), image_losses: None, carry: () }
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
    Environment, Plan, Recipe,
    collective::Group,
    pretrain,
    recipe::Entry,
    run::{
        events::{Event, Observer, Summary},
        stop::Stop,
    },
};

const RECIPE: &str = r#"
method = "uniformity"
uniformity = { hidden = 128, dim = 32 }
data = { format = "idx", path = "data/fashion-mnist-tenth" }
views = [{ size = 28 }]
backbone = { architecture = "resnet18", width = 8, stem = "imagenet" }
optimizer = { name = "adamw", lr = 0.003, scale_lr = false }
schedule = { name = "warmup-cosine", warmup_epochs = 0 }
train = { batch = 64, epochs = 2 }
knn = { every_epochs = 0 }
evaluation = { evaluators = ["knn"], pixels = false }
"#;

/// Writes the loss of every logged step.
struct Print<'a>(&'a mut dyn Write);

impl Observer for Print<'_> {
    fn event(&mut self, event: &Event) {
        if let Event::Step { step, loss, .. } = event {
            // A reader that went away does not end the run.
            let _ = writeln!(self.0, "step {step}: loss {loss:.4}");
        }
    }
}

/// Trains the recipe, with changes in the form `train.epochs=1`, on the images below `root`, in the run
/// folder `run`. Writes the losses, and how many images get their class from their nearest neighbours.
pub fn run(
    root: &Path,
    run: &Path,
    changes: &[String],
    out: &mut dyn Write,
) -> Result<Summary, Box<dyn Error>> {
    let own = [Entry::of::<Uniformity>(
        "uniformity",
        "Views close together, images spread over the sphere",
        "Wang and Isola 2020, arXiv:2005.10242",
    )];
    let (recipe, _) = Recipe::parse(RECIPE, "own_method.rs", changes, &own)?;
    let environment = Environment {
        device: Device::flex(),
        group: Group::alone(),
        data_root: Some(root.to_owned()),
        recipe_folder: None,
        commit: None,
        force: true,
        allow_changed_data: false,
        adapts_batch: false,
    };
    let plan = Plan::new(recipe, run, environment)?;
    let summary = pretrain(&plan, &Stop::default(), &mut Print(out))?;
    for (name, key) in [("trained", "knn_top1"), ("untrained", "untrained_knn_top1")] {
        let top1 = summary.figure(key).ok_or("the images have labels and a validation split")?;
        writeln!(out, "kNN accuracy of the {name} encoder: {top1:.1} %")?;
    }
    Ok(summary)
}
// ANCHOR_END: training

fn main() -> ExitCode {
    match run(Path::new("."), Path::new("runs/own-method"), &[], &mut io::stdout()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
