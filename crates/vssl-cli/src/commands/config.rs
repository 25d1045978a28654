//! `vssl config`: prints a recipe with all its defaults.

use anyhow::anyhow;
use serde_json::json;
use vssl::{eval::evaluators, methods::METHODS, recipe::Recipe};

use crate::{
    arguments::{Common, Config},
    failure::Failure,
    notes::note,
    output::say,
};

pub(super) fn run(arguments: &Config, common: &Common) -> Result<(), Failure> {
    let (recipe, provenance) =
        Recipe::load(&arguments.recipe, &arguments.overrides, METHODS).map_err(Failure::usage)?;
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
