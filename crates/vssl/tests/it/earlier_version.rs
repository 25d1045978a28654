//! A run of commit c60d083 is read as if this version had written it.
//!
//! `tests/data/run-c60d083` is its whole folder: BYOL on 64 of the embedded images, two epochs of four
//! steps, a checkpoint after each, made by `vssl pretrain tiny.toml --out runs/tiny` with
//! `tests/data/run-c60d083.toml`. That version wrote the keys of all optimisers into `recipe.toml`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use serde_json::Value;
use vssl::{
    comparison::Comparison,
    encoder::Encoder,
    method::learner::Network,
    methods::{self, METHODS},
    page::RunView,
    recipe::{Recipe, difference},
    run::{events::Summary, folder, metrics, resume::binding_differences, stop::Stop},
    train::{Plan, pretrain},
};

use super::training::{Silent, environment};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn stored() -> PathBuf {
    data().join("run-c60d083")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => fs::copy(entry.path(), to).map(drop).unwrap(),
        }
    }
}

/// Where the images are on this machine.
fn with_images(mut recipe: Recipe) -> Recipe {
    recipe.data.path = "data/fashion-mnist-tenth".into();
    recipe
}

#[test]
fn its_resolved_recipe_is_what_its_recipe_resolves_to_today() {
    let text = folder::recipe_of(&stored()).unwrap();
    for key in ["beta2 = 0.999", "overlap = false", "eta = 0.02"] {
        assert!(text.contains(key), "{key} is not in the stored recipe");
    }
    let was = methods::recipe_from(&text).unwrap();
    let path = data().join("run-c60d083.toml");
    let (now, _) = Recipe::load(&path, &[], METHODS).unwrap();
    assert_eq!(difference(&with_images(was.clone()), &with_images(now.clone())), []);
    assert_eq!(binding_differences(&was, &now), []);
    for key in ["beta2", "overlap"] {
        assert!(!was.to_toml().contains(key), "{key} is written");
    }
}

/// The numbers of a line of metrics; those of the clock aside.
fn figures(run: &Path) -> Vec<(u64, String, f64)> {
    let mut all = Vec::new();
    for line in metrics::read(run).unwrap() {
        let kept = line.figures.into_iter().filter(|(name, _)| !name.contains("time/"));
        all.extend(kept.map(|(name, value)| (line.step, name, value)));
    }
    all
}

/// Another version or instruction set adds in another order, which eight steps amplify.
const TOLERANCE: f64 = 2e-2;

#[test]
fn it_goes_on_from_its_checkpoint_as_that_version_did() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    copy(&stored(), &run);
    // As if it had been killed after its first epoch.
    fs::remove_dir_all(run.join("checkpoints/step-00000008")).unwrap();
    fs::remove_file(run.join("summary.json")).unwrap();
    fs::write(run.join("checkpoints/latest"), "step-00000004\n").unwrap();
    let recipe = methods::recipe_from(&folder::recipe_of(&run).unwrap()).unwrap();
    let environment = environment(Device::flex());
    let plan = Plan::resume(with_images(recipe), &run, "latest", environment).unwrap();
    let summary = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    assert_eq!((summary.steps, summary.interrupted), (8, false));

    let (was, now) = (figures(&stored()), figures(&run));
    assert_eq!(was.len(), now.len());
    // What was not restored (momentum, teacher, rate, order of the images) would show in the second figure.
    for (was, now) in was.iter().zip(&now) {
        assert_eq!((was.0, &was.1), (now.0, &now.1));
        let is_share_of_few_images = was.1.contains("top1");
        let holds = (was.2 - now.2).abs() <= TOLERANCE * was.2.abs();
        assert!(
            holds || is_share_of_few_images,
            "step {}: {} is {}, was {}",
            was.0,
            was.1,
            now.2,
            was.2
        );
    }
}

#[test]
fn its_figures_page_and_encoder_are_read() {
    let summary: Summary = folder::summary_of(&stored()).unwrap().unwrap();
    let text = fs::read_to_string(stored().join("summary.json")).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary.figure("knn_top1"), written["knn_top1"].as_f64());
    assert_eq!((summary.method.as_str(), summary.steps, summary.seed), ("byol", 8, 0));
    let view = RunView::read(&stored()).unwrap();
    assert_eq!((view.method.as_str(), view.steps.0, view.batch), ("byol", 8, 16));
    let encoder = Encoder::open(&stored(), "step-00000004", Network::Teacher, &Device::flex());
    assert_eq!(encoder.unwrap().config.dim(), 16);
}

#[test]
fn it_is_compared_with_runs_of_today_as_one_more_seed() {
    let folder = tempfile::tempdir().unwrap();
    let (was, now) = (folder.path().join("was"), folder.path().join("now"));
    copy(&stored(), &was);
    copy(&stored(), &now);
    let mut recipe = methods::recipe_from(&folder::recipe_of(&now).unwrap()).unwrap();
    recipe.seed = 1;
    fs::write(now.join("recipe.toml"), recipe.to_toml()).unwrap();
    let summary = fs::read_to_string(now.join("summary.json")).unwrap();
    fs::write(now.join("summary.json"), summary.replace("\"seed\": 0", "\"seed\": 1")).unwrap();
    let comparison = Comparison::of(&[folder.path().to_owned()]).unwrap();
    let rows = comparison.rows.iter().filter(|row| row.method == "byol" && !row.reference);
    let names: Vec<_> = rows.map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["byol"]);
}
