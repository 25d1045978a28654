//! A short training on the images of the repository, for tests of what a run leaves behind.

use std::{fs, path::Path};

use burn::tensor::Device;
use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig, Stem},
    collective::Group,
    layers::Init,
    methods::{self, METHODS},
    recipe::Recipe,
    run::{
        events::{Event, Observer},
        stop::Stop,
    },
    tensors::{file, state},
    train::{Environment, Plan, pretrain},
};

/// Does not look.
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: &Event) {}
}

/// A recipe from its text.
pub fn recipe(text: &str) -> Recipe {
    Recipe::parse(text, "test.toml", &[], METHODS).unwrap().0
}

/// One process on this device; paths of data begin at the repository.
pub fn environment(device: Device) -> Environment {
    Environment {
        device,
        group: Group::alone(),
        data_root: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")),
        recipe_folder: None,
        commit: None,
        force: false,
        allow_changed_data: false,
        adapts_batch: false,
    }
}

/// A recipe that trains a tiny network on images of the repository, four steps an epoch; `more` goes on in `[train]`.
pub fn text(method: &str, more: &str) -> String {
    format!(
        r#"
        method = "{method}"
        [data]
        format = "idx"
        path = "data/fashion-mnist-tenth"
        limit_train = 64
        limit_validation = 16
        [[views]]
        count = 2
        size = 28
        [backbone]
        architecture = "resnet18"
        width = 2
        stem = "imagenet"
        [optimizer]
        name = "adamw"
        lr = 1e-3
        [schedule]
        name = "warmup-cosine"
        warmup_epochs = 0
        [evaluation]
        enabled = false
        [train]
        batch = 16
        {more}
        "#
    )
}

/// Trains a recipe on the processor to its end.
pub fn train(run: &Path, text: &str) {
    let plan = Plan::new(recipe(text), run, environment(Device::flex())).unwrap();
    pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
}

/// Writes the weights of an encoder to a file as another program would, without a word on what they are.
pub fn weights_of(config: &BackboneConfig, path: &Path) {
    let network = Backbone::new(config, &Init::new(&Device::flex(), 31));
    let bytes = file::bytes(path, &state::collect(&network), &[]).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The lines of a recipe that name a small frozen teacher, whose file is written into `folder`; empty for a method without
/// a frozen teacher.
pub fn teacher_of(method: &str, folder: &Path) -> String {
    if !methods::find(method).unwrap().defaults().has_frozen_teacher() {
        return String::new();
    }
    let path = folder.join("a-teacher.safetensors");
    let config = ResnetConfig { width: 2, stem: Stem::Cifar, ..ResnetConfig::default() };
    weights_of(&config.into(), &path);
    format!(
        "teacher.from = {path:?}\nteacher.stem_padding = 1\nteacher.normalisation = \"cifar10\"\n"
    )
}
