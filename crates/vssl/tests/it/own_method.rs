//! The worked example of the book's chapter "Add a method", and a training with it.

// ANCHOR: method
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};
use vssl::{
    backbone::Backbone,
    collective::Group,
    layers::{Init, Mlp},
    method::{Loss, Method, Nothing, Sizes, Views},
    objective::unit_rows,
    recipe::{Checker, Settings},
    schedule::Step,
};

/// Alignment and uniformity on the sphere (Wang and Isola 2020, arXiv:2005.10242):
/// `L = mean |a − b|² + weight · ½ Σ_views log mean_{i≠j} exp(−2 |z_i − z_j|²)`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Uniformity {
    hidden: usize,
    dim: usize,
    weight: f64,
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
        match (sizes.global_views, sizes.local_views, sizes.batch) {
            (2, 0, 2..) => Ok(()),
            (2, 0, batch) => Err(format!("train.batch = {batch}: expected at least 2")),
            (global, local, _) => Err(format!(
                "views.count: {global} global and {local} local views; expected two global ones"
            )),
        }
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
#[test]
fn an_own_method_learns() {
    let device = Device::flex().autodiff();
    let method = Uniformity { hidden: 32, dim: 16, weight: 1.0 };
    let method = vssl::method::learner::erase("uniformity", method);
    let sizes = Sizes { images: 16, batch: 16, global_views: 2, local_views: 0 };
    method.check(&sizes).unwrap();

    let backbone = vssl::backbone::ResnetConfig { width: 4, ..Default::default() }.into();
    let mut learner = method.learner(&backbone, &sizes, &device, 0);
    let json = r#"{ "name": "adamw", "lr": 0.003, "scale_lr": false }"#;
    let mut optimizer =
        vssl::optim::Optimizer::new(serde_json::from_str(json).unwrap(), 16).unwrap();

    let picture = |view: usize| {
        let pixel = |i: usize| ((i * 7 + i / 3072 * 31 + view * 13) % 251) as f32 / 251.0;
        let pixels = (0..16 * 32 * 32 * 3).map(pixel).collect();
        vssl::encoder::images::images_to_tensor(pixels, 16, 32, &device)
    };
    let views = Views {
        images: (0..16).collect(),
        global: vec![picture(0), picture(1)],
        local: Vec::new(),
        group: Group::alone(),
    };
    let mut losses = Vec::new();
    for index in 0..20 {
        let at = Step { index, steps_per_epoch: 20, total: 20, ..Step::default() };
        let outcome = learner.forward_backward(&views, 1.0, &at);
        losses.push(outcome.total.into_scalar::<f32>());
        let gradients = learner.take_gradients();
        learner.update(&mut optimizer, gradients, &|base| base, &at).unwrap();
    }
    assert!(losses[19] < losses[0] - 0.1, "{losses:?}");
}
// ANCHOR_END: training

use vssl::{
    backbone::ResnetConfig,
    method::learner::erase,
    recipe::{Entry, Recipe},
    run::{folder, stop::Stop},
    train::{Plan, pretrain},
};
use vssl_data::dataset::Format;

use super::training::{Silent, environment};

#[test]
fn a_recipe_takes_an_own_method() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let method = Uniformity { hidden: 32, dim: 16, weight: 1.0 };
    let mut recipe = Recipe::new(erase("uniformity", method));
    recipe.data.format = Format::Idx;
    recipe.data.path = "data/fashion-mnist-tenth".into();
    recipe.data.limit_train = Some(32);
    recipe.backbone = ResnetConfig { width: 2, ..ResnetConfig::default() }.into();
    recipe.train.batch = 16;
    recipe.train.max_steps = Some(2);
    recipe.evaluation.enabled = false;
    recipe.knn.every_epochs = 0;
    let plan = Plan::new(recipe.clone(), &run, environment(Device::flex())).unwrap();
    let summary = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    assert_eq!((summary.method.as_str(), summary.steps), ("uniformity", 2));
    let text = folder::recipe_of(&run).unwrap();
    assert!(text.contains("[uniformity]\nhidden = 32\ndim = 16"), "{text}");
    // With a list of one's own it is a recipe like any other.
    let own = [Entry::of::<Uniformity>("uniformity", "on the sphere", "arXiv:2005.10242")];
    let (again, _) = Recipe::parse(&text, "recipe.toml", &[], &own).unwrap();
    assert_eq!(again.method.settings(), recipe.method.settings());
}
