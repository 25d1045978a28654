//! Every recipe that ships takes two steps: on the embedded images, with narrow encoders and small
//! batches, all else (heads, queues, prototypes, optimiser, views) as it is written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use vssl::{
    backbone::BackboneConfig,
    comparison::Published,
    methods::{self, METHODS},
    recipe::Recipe,
    run::stop::Stop,
    train::{Plan, pretrain},
};

use crate::training::{self, Silent, environment};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn recipes(folder: &str) -> Vec<PathBuf> {
    let folder = root().join("recipes").join(folder);
    let mut found: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    found.sort();
    found
}

/// The embedded images instead of the recipe's, a width of 4, views of 32 pixels, two steps of 8
/// images, no evaluation.
fn shrunken(path: &Path, folder: &Path) -> Recipe {
    let (whole, _) = Recipe::load(path, &[], METHODS).unwrap();
    let mut overrides: Vec<String> = [
        "data.format=\"idx\"",
        "data.path=\"data/fashion-mnist-tenth\"",
        // DeepCluster V2 needs an image for each of its 3000 prototypes.
        "data.limit_train=3008",
        "data.limit_validation=16",
        "train.batch=8",
        "train.max_steps=2",
        "knn.every_epochs=0",
        "evaluation.enabled=false",
    ]
    .map(str::to_owned)
    .into();
    if matches!(whole.backbone, BackboneConfig::Resnet(_)) {
        overrides.push("backbone.width=4".to_owned());
    }
    let mut most = 32;
    if let (Some(vit), Err(_)) = (whole.backbone.vit(), whole.method.check_patches(None)) {
        // Masks need a grid of patches; deep networks are not needed for two steps.
        most = 8 * vit.patch;
        overrides.push("backbone.vit.depth=2".to_owned());
    }
    if whole.method.name() == "wmse" {
        // Images are whitened together in groups that divide the batch and have more images than columns.
        overrides.extend(["wmse.whitening_size=8", "wmse.dim=4"].map(str::to_owned));
    }
    if whole.teacher.is_some() {
        let teacher = training::teacher_of(whole.method.name(), folder);
        overrides.extend(teacher.lines().map(|line| line.replacen(" = ", "=", 1)));
    }
    for (index, group) in whole.views.iter().enumerate() {
        overrides.push(format!("views.{index}.size={}", group.size.min(most)));
    }
    Recipe::load(path, &overrides, METHODS).unwrap().0
}

fn takes_two_steps(path: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let environment = environment(Device::flex());
    let recipe = shrunken(path, folder.path());
    let plan = Plan::new(recipe, &folder.path().join("run"), environment);
    let plan = plan.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let summary = pretrain(&plan, &Stop::default(), &mut Silent);
    let summary = summary.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(summary.steps, 2, "{}", path.display());
}

#[test]
fn every_method_has_a_recipe_for_every_dataset_and_each_takes_two_steps() {
    for folder in ["cifar10", "cifar100", "imagenet100", "cifar10-small", "cifar10-small-vit"] {
        let found = recipes(folder);
        for entry in METHODS {
            // The small budgets have a network each: a ResNet for all that run on it, a transformer for some.
            let needs_patches = entry.defaults().check_patches(None).is_err();
            if (folder == "cifar10-small" && needs_patches)
                || (folder == "cifar10-small-vit" && !needs_patches)
            {
                continue;
            }
            let name = format!("{}.toml", entry.name);
            assert!(found.iter().any(|path| path.ends_with(&name)), "{folder}/{name} is missing");
        }
        found.iter().for_each(|path| takes_two_steps(path));
    }
}

#[test]
fn a_recipe_cites_what_the_comparison_shows_as_published() {
    let published = Published::all();
    let mut cited = 0;
    for value in &published.values {
        let path = format!("recipes/{}/{}.toml", value.dataset, value.method);
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let header: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        for (figure, probe) in [(value.online, "online"), (value.offline, "offline")] {
            let Some(figure) = figure else { continue };
            cited += 1;
            assert!(header.contains(&format!("{figure:.2} % (")), "{path}: {probe} {figure:.2} %");
        }
    }
    assert!(cited >= published.values.len());
}

#[test]
fn every_resolved_recipe_of_the_record_loads() {
    let mut found = Vec::new();
    let mut folders = vec![root().join("record")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false if path.ends_with("recipe.toml") => found.push(path),
                false => {}
            }
        }
    }
    assert!(found.len() > 50, "{found:?}");
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        methods::recipe_from(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
