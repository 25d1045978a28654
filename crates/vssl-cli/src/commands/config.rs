//! `vssl config`: prints a recipe with all its defaults.

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    eval::evaluators,
    methods::METHODS,
    recipe::Recipe,
    train::{Role, Start},
};

use super::pretrain;
use crate::{
    arguments::{Common, Config},
    failure::Failure,
    notes::note,
    output::say,
};

pub(super) fn run(arguments: &Config, common: &Common) -> Result<(), Failure> {
    let from = pretrain::named(
        arguments.from.as_deref(),
        arguments.teacher.as_deref(),
        &arguments.overrides,
    )?;
    let overrides: Vec<String> = arguments.overrides.iter().cloned().chain(from).collect();
    let (mut recipe, mut provenance) =
        Recipe::load(&arguments.recipe, &overrides, METHODS).map_err(Failure::usage)?;
    if let Some(init) = &recipe.init {
        let start = Start::read(Role::Start, init, arguments.recipe.parent());
        let start = start.map_err(pretrain::classified)?;
        let taken = start.adapt(&mut recipe).map_err(pretrain::classified)?;
        recipe.check().map_err(|problem| Failure::usage(anyhow!(problem)))?;
        start.notes.iter().chain(&taken).for_each(|text| note(text));
        provenance = provenance.with_encoder(&recipe);
    }
    evaluators::chosen(&evaluators::Settings::of(&recipe))
        .map_err(|problem| Failure::usage(anyhow!("evaluation.evaluators: {problem}")))?;
    provenance.notes.iter().for_each(|text| note(text));
    if common.json {
        let value = json!({ "recipe": recipe.to_table(), "origin": provenance });
        say(&value.to_string())
    } else if common.quiet {
        say(recipe.to_toml().trim_end())
    } else {
        say(recipe.annotated(&provenance).trim_end())
    }
}
