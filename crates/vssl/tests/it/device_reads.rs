//! How often a training step waits for its device: counted where the loop reads, and looked for in the
//! source everywhere else.

use std::{fs, path::Path};

use vssl::{
    methods::{self, METHODS},
    recipe::Recipe,
    run::stop::Stop,
    tensors::reading,
    train::{Plan, pretrain},
};

use crate::{
    contract::{device, precision, small},
    training::{self, Silent, environment},
};

const STEPS: u64 = 8;
/// Steps whose features are looked at.
const WATCHED: u64 = 2;

/// Folders of what a step runs.
const STEP: [&str; 12] = [
    "backbone",
    "collective",
    "layers",
    "memory",
    "method",
    "methods",
    "objective",
    "optim",
    "run",
    "schedule",
    "tensors",
    "train",
];

/// Burn's functions that read the device: by name, and in what they do (`one_hot` looks at its
/// indices, sorting is done on the host by most back ends).
const READS: [&str; 16] = [
    "into_data",
    "to_data",
    "into_data_async",
    "to_data_async",
    "into_scalar",
    "into_scalar_async",
    "one_hot",
    "one_hot_fill",
    "all_close",
    "argwhere",
    "nonzero",
    "mask_select",
    "sort_with_indices",
    "argsort",
    "topk",
    "topk_with_indices",
];

/// Where they may stand and how often, and when they run.
const ALLOWED: [(&str, usize, &str); 8] = [
    ("tensors/reading.rs", 1, "the read of a step"),
    ("tensors/state.rs", 1, "checkpoints"),
    ("train/probe.rs", 4, "checkpoints"),
    ("optim/optimizer.rs", 3, "checkpoints"),
    ("collective/group.rs", 2, "the wire between processes"),
    ("memory/embeddings.rs", 1, "DeepCluster V2, once an epoch"),
    ("memory/clusters.rs", 1, "DeepCluster V2, once an epoch"),
    ("memory/kmeans.rs", 2, "DeepCluster V2, once an epoch"),
];

/// Eight steps of a small run.
pub fn plan(run: &Path, method: &str, table: toml::Table) -> Plan {
    Plan::new(recipe(run, method, table), run, environment(device().inner())).unwrap()
}

/// The same, where it stopped.
pub fn resumed(run: &Path, method: &str, table: toml::Table) -> Plan {
    let environment = environment(device().inner());
    Plan::resume(recipe(run, method, table), run, "latest", environment).unwrap()
}

fn recipe(run: &Path, method: &str, table: toml::Table) -> Recipe {
    let needs_patches =
        methods::find(method).is_some_and(|entry| entry.defaults().check_patches(None).is_err());
    let backbone = match needs_patches {
        true => {
            "architecture = \"vit-tiny\"\n[backbone.vit]\ndepth = 1\npatch = 4\nimage_size = 28"
        }
        false => "architecture = \"resnet18\"\nwidth = 4\nstem = \"imagenet\"",
    };
    let teacher = training::teacher_of(method, run.parent().unwrap());
    let recipe = format!(
        r#"
        {teacher}
        method = "{method}"
        [data]
        format = "idx"
        path = "data/fashion-mnist-tenth"
        limit_train = 64
        [[views]]
        count = 2
        size = 28
        [backbone]
        {backbone}
        [optimizer]
        name = "adamw"
        lr = 1e-3
        [train]
        max_steps = {STEPS}
        epochs = 2
        batch = 16
        precision = "{}"
        [log]
        every_steps = 2
        [health]
        every_steps = {}
        [knn]
        every_epochs = 0
        [checkpoint]
        every_epochs = 0
        [evaluation]
        enabled = false
        [schedule]
        name = "constant"
        "#,
        precision().name(),
        STEPS / WATCHED
    );
    let mut recipe: toml::Table = recipe.parse().unwrap();
    recipe.insert(method.to_owned(), toml::Value::Table(table));
    training::recipe(&recipe.to_string())
}

#[test]
fn a_step_reads_its_device_once() {
    let folder = tempfile::tempdir().unwrap();
    for entry in METHODS {
        let name = entry.name;
        let plan = plan(&folder.path().join(name), name, small(entry));
        let before = reading::count();
        pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
        assert_eq!(reading::count() - before, STEPS + WATCHED, "{name}");
    }
}

/// The calls in a file that read the device, but for those in its comments and its tests.
fn reads_in(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let calls = lines.flat_map(|line| {
        let after = line.split('.').skip(1).chain(line.split("Tensor::").skip(1));
        after.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
    });
    let names = calls.flatten().map(|name| name.strip_prefix("try_").unwrap_or(name).to_owned());
    names.filter(|name| READS.contains(&name.as_str())).collect()
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn nothing_else_in_a_step_reads_a_device() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for file in files(&source) {
        let name = file.strip_prefix(&source).unwrap().to_str().unwrap().replace('\\', "/");
        let part = name.split(['/', '.']).next().unwrap();
        if !STEP.contains(&part) || name.ends_with("collective/mpi.rs") {
            continue;
        }
        seen += 1;
        let found = reads_in(&file);
        let allowed = ALLOWED.iter().find(|(path, ..)| *path == name).map_or(0, |(_, n, _)| *n);
        assert_eq!(found.len(), allowed, "{name} reads the device: {found:?}");
    }
    let names = STEP
        .map(|part| source.join(part).is_dir() || source.join(part).with_extension("rs").is_file());
    assert!(names.into_iter().all(|there| there) && seen > STEP.len(), "{seen} files");
    for (path, ..) in ALLOWED {
        assert!(source.join(path).is_file(), "{path}");
    }
}
