//! A short training on the images of the repository, for tests of what a run leaves behind.

use std::path::Path;

use burn::tensor::Device;
use vssl::{
    collective::Group,
    methods::METHODS,
    recipe::Recipe,
    run::{
        events::{Event, Observer},
        stop::Stop,
    },
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

/// Trains a recipe on the processor to its end.
pub fn train(run: &Path, text: &str) {
    let plan = Plan::new(recipe(text), run, environment(Device::flex())).unwrap();
    pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
}
