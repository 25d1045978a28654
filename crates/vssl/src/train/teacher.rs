//! The frozen teacher of a run: `[teacher]` of its recipe. It is read as an encoder to start from is (`start`), and the
//! run folder keeps a copy, so that a run which goes on needs the encoder itself no more. No checkpoint holds it.

use std::{path::Path, sync::Arc};

use burn::{module::Module, tensor::Device};
use vssl_data::counted;

use super::{
    TrainError,
    kept::{self, Role},
    start::Start,
};
use crate::{
    backbone::Backbone, encoder::Input, layers::Init, method::FrozenTeacher, recipe::Recipe,
    tensors::state,
};

/// A teacher that fits the recipe of a run.
pub(super) struct Teacher {
    /// The network, as methods know it.
    pub(super) network: Arc<FrozenTeacher>,
    pub(super) input: Input,
    pub(super) is_copy: bool,
}

impl Teacher {
    /// Reads the teacher that the recipe of the run in the folder `run` names, if it names one, and gives the recipe its
    /// digest and place. Returns notes on it. The recipe has the normalisation of the views.
    ///
    /// # Errors
    /// The encoder cannot be read, or the method cannot learn from it.
    pub(super) fn of_run(
        recipe: &mut Recipe,
        run: &Path,
        was_begun: bool,
        recipe_folder: Option<&Path>,
        device: &Device,
    ) -> Result<(Option<Self>, Vec<String>), TrainError> {
        let Some(table) = &mut recipe.teacher else { return Ok((None, Vec::new())) };
        let start = Start::of_run(Role::Teacher, run, was_begun, table, recipe_folder)?;
        start.pin(table);
        let is_copy = start.is_copy();
        let input = start.input;
        let mut notes = start.notes.clone();
        let network = network(start, recipe, device)?;
        let sees_views = recipe.teacher.as_ref().is_some_and(|table| table.features.is_none());
        notes.extend(remark(recipe, &input).filter(|_| sees_views));
        Ok((Some(Self { network, input, is_copy }), notes))
    }

    /// Returns how many numbers the copy holds that [`Teacher::keep`] writes.
    pub(super) fn numbers_to_keep(&self) -> u64 {
        if self.is_copy { 0 } else { self.network.backbone().num_params() as u64 }
    }

    /// Writes a copy into the run folder, unless the teacher was read from it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn keep(&self, run: &Path, recipe: &Recipe) -> Result<(), TrainError> {
        let Some(table) = recipe.teacher.as_ref().filter(|_| !self.is_copy) else { return Ok(()) };
        let (config, network) = (self.network.config(), self.network.backbone());
        kept::keep(&run.join(Role::Teacher.file()), table, config, &self.input, network)
    }
}

/// Returns the teacher of `recipe` that was read, as methods know it.
///
/// # Errors
/// Its images have other channels than those of the recipe, or the method cannot learn from it.
fn network(
    start: Start,
    recipe: &Recipe,
    device: &Device,
) -> Result<Arc<FrozenTeacher>, TrainError> {
    let Start { config, input, weights, .. } = start;
    let (own, wanted) = (input.channels(), recipe.data.channels);
    if own != wanted {
        return Err(TrainError::Setting(format!(
            "the teacher takes images of {}, the recipe has images of {wanted} (data.channels); expected equal numbers",
            counted(own, "channel")
        )));
    }
    let blank = Backbone::new(&config, &Init::blank(device).with_channels(own));
    let backbone = state::restore(blank, weights);
    let backbone = backbone.expect("they are the tensors of this network").no_grad();
    let (own, of_views) = (input.normalisation, recipe.data.normalisation());
    let network = Arc::new(FrozenTeacher::new(config, backbone, input.size, own, of_views));
    let checked = recipe.method.check_teacher(&network, &recipe.backbone);
    checked.map_err(TrainError::Setting).map(|()| network)
}

/// Checks that the method of `recipe` can learn from the encoder `start`. Returns a note where it sees the views otherwise
/// than the student does.
///
/// # Errors
/// The method cannot learn from it, or it takes images of other channels.
pub fn check_teacher(start: Start, recipe: &Recipe) -> Result<Option<String>, TrainError> {
    let remark = remark(recipe, &start.input);
    network(start, recipe, &Device::flex()).map(|_| remark)
}

/// Returns a note where the teacher, which knows images as `known` says, sees the views otherwise than the student does.
fn remark(recipe: &Recipe, known: &Input) -> Option<String> {
    let renormalised = recipe.data.normalisation() != known.normalisation;
    let size = known.size;
    let settings = recipe.method.settings();
    let given = settings.get("teacher_size").and_then(toml::Value::as_integer);
    let seen = given.map_or(size, |given| given.unsigned_abs() as usize);
    let views = Input::of(recipe).size;
    let mut changes = Vec::new();
    if seen != views {
        changes.push(format!("resized from {views} to {seen} pixels"));
    }
    if renormalised {
        changes.push("in its own normalisation".to_owned());
    }
    let name = recipe.method.name();
    (!changes.is_empty()).then(|| {
        format!(
            "the teacher sees the views {}; {name}.teacher_size says the size otherwise",
            changes.join(" and ")
        )
    })
}
