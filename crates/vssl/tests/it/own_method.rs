//! The worked example of the book's chapter "Add a method", trained.

use std::path::Path;

use burn::tensor::Device;
use vssl::{
    Plan, Recipe,
    backbone::ResnetConfig,
    method::learner::erase,
    pretrain,
    recipe::Entry,
    run::{folder, stop::Stop},
};
use vssl_data::dataset::Format;

use super::training::{Silent, environment};

#[allow(dead_code, reason = "its main prints what the test reads")]
#[path = "../../examples/own_method.rs"]
pub mod example;

use example::Uniformity;

#[test]
fn an_own_method_learns_and_its_recipe_can_be_read_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let changes = ["train.max_steps=40".to_owned(), "data.limit_train=3000".to_owned()];
    let mut out = Vec::new();
    let summary = example::run(&root, &run, &changes, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let loss = |line: &str| line.rsplit_once("loss ")?.1.parse::<f32>().ok();
    let losses: Vec<f32> = out.lines().filter_map(loss).collect();
    assert_eq!(losses.len(), 4, "{out}");
    assert!(losses[3] < losses[0] - 0.1, "{out}");
    assert!(summary.figure("knn_top1").unwrap() > 50.0, "{out}");
    assert_eq!((summary.method.as_str(), summary.steps), ("uniformity", 40));

    let text = folder::recipe_of(&run).unwrap();
    assert!(text.contains("[uniformity]\nhidden = 128\ndim = 32"), "{text}");
    let own = [Entry::of::<Uniformity>("uniformity", "on the sphere", "arXiv:2005.10242")];
    let (again, _) = Recipe::parse(&text, "recipe.toml", &[], &own).unwrap();
    let method = Uniformity { hidden: 128, dim: 32, weight: 1.0 };
    assert_eq!(again.method.settings(), erase("uniformity", method).settings());
}

/// Two steps of an own method, in the words of a program.
fn two_steps(weight: f64) -> Recipe {
    let method = Uniformity { hidden: 32, dim: 16, weight };
    let mut recipe = Recipe::new(erase("uniformity", method));
    recipe.data.format = Format::Idx;
    recipe.data.path = "data/fashion-mnist-tenth".into();
    recipe.data.limit_train = Some(32);
    recipe.backbone = ResnetConfig { width: 2, ..ResnetConfig::default() }.into();
    recipe.train.batch = 16;
    recipe.train.max_steps = Some(2);
    recipe.evaluation.enabled = false;
    recipe.knn.every_epochs = 0;
    recipe
}

#[test]
fn a_recipe_takes_an_own_method_without_a_file_and_its_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let plan = Plan::new(two_steps(1.0), &run, environment(Device::flex())).unwrap();
    let summary = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    assert_eq!((summary.method.as_str(), summary.steps), ("uniformity", 2));

    let resumed = |recipe| Plan::resume(recipe, &run, "latest", environment(Device::flex()));
    let plan = resumed(two_steps(1.0)).unwrap();
    assert_eq!(plan.result().unwrap().unwrap().steps, 2);
    let text = folder::recipe_of(&run).unwrap();
    let own = [Entry::of::<Uniformity>("uniformity", "on the sphere", "arXiv:2005.10242")];
    resumed(Recipe::parse(&text, "recipe.toml", &[], &own).unwrap().0).unwrap();
    let error = resumed(two_steps(0.5)).err().unwrap().to_string();
    assert!(error.contains("uniformity.weight: 1.0 -> 0.5"), "{error}");
}

#[test]
fn a_recipe_of_a_program_is_checked_as_one_that_is_read() {
    let mut recipe = two_steps(1.0);
    (recipe.train.batch, recipe.train.accumulate, recipe.views[0].local) = (0, 0, true);
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::new(recipe, &folder.path().join("run"), environment(Device::flex()));
    let error = plan.err().unwrap();
    assert!(error.is_usage(), "{error}");
    let error = error.to_string();
    for part in
        ["train.batch is 0", "train.accumulate is 0; expected at least 1", "views is 0 global"]
    {
        assert!(error.contains(part), "{error}");
    }
}

/// Linux takes any bytes for a name.
#[cfg(target_os = "linux")]
#[test]
fn a_run_folder_may_have_a_name_that_is_no_text_and_the_images_may_not() {
    use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};
    use vssl::{
        run::history::{self, Entry},
        train::Environment,
    };

    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join(OsStr::from_bytes(b"run\xff"));
    let plan = Plan::new(two_steps(1.0), &run, environment(Device::flex())).unwrap();
    assert_eq!(pretrain(&plan, &Stop::default(), &mut Silent).unwrap().steps, 2);
    let saved = |entry: &Entry| matches!(entry, Entry::Checkpoint { step: 2, .. });
    assert!(history::read(&run).unwrap().iter().any(saved));
    let plan = Plan::resume(two_steps(1.0), &run, "latest", environment(Device::flex())).unwrap();
    assert!(plan.result().unwrap().is_some());

    let root = folder.path().join(OsStr::from_bytes(b"root\xff"));
    fs::create_dir_all(root.join("images")).unwrap();
    let mut recipe = two_steps(1.0);
    recipe.data.path = "images".into();
    let environment = Environment { data_root: Some(root), ..environment(Device::flex()) };
    let error = Plan::new(recipe, &folder.path().join("new"), environment).err().unwrap();
    assert!(error.is_usage() && error.to_string().contains("not UTF-8"), "{error}");
}
