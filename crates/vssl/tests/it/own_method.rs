//! The worked example of the book's chapter "Add a method", trained.

use std::path::Path;

use burn::tensor::Device;
use vssl::{
    backbone::ResnetConfig,
    method::learner::erase,
    recipe::{Entry, Recipe},
    run::{folder, stop::Stop},
    train::{Plan, pretrain},
};
use vssl_data::dataset::Format;

use super::training::{Silent, environment};

#[allow(dead_code, reason = "its main prints what the test reads")]
#[path = "../../examples/own_method.rs"]
pub mod example;

#[test]
fn an_own_method_learns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut out = Vec::new();
    let top1 = example::run(&root, 40, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let loss = |line: &str| line.rsplit_once("loss ")?.1.parse::<f32>().ok();
    let losses: Vec<f32> = out.lines().filter_map(loss).collect();
    assert_eq!(losses.len(), 10, "{out}");
    assert!(losses[9] < losses[0] - 0.1, "{out}");
    assert!(top1 > 50.0, "{out}");
}

#[test]
fn a_recipe_takes_an_own_method() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let method = example::Uniformity { hidden: 32, dim: 16, weight: 1.0 };
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
    let own = [Entry::of::<example::Uniformity>("uniformity", "on the sphere", "arXiv:2005.10242")];
    let (again, _) = Recipe::parse(&text, "recipe.toml", &[], &own).unwrap();
    assert_eq!(again.method.settings(), recipe.method.settings());
}
