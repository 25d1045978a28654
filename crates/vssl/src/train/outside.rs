//! What a run reads must not lie in the folder that it is about to replace. Called by the plan of a run.

use std::path::Path;

use super::{TrainError, kept::Role, start::found, teacher_features};
use crate::recipe::{InitSection, Recipe};

/// Checks that the folder `run`, which is about to be replaced, does not hold an encoder that the run of `recipe` reads.
///
/// # Errors
/// It does, or there is no such encoder.
pub(super) fn check(
    recipe: &Recipe,
    run: &Path,
    recipe_folder: Option<&Path>,
) -> Result<(), TrainError> {
    let Ok(run) = run.canonicalize() else { return Ok(()) };
    for (role, source) in [(Role::Start, &recipe.init), (Role::Teacher, &recipe.teacher)] {
        let Some(InitSection { from, .. }) = source else { continue };
        let features = source.as_ref().and_then(|source| source.features.as_ref());
        let features =
            features.map(|file| teacher_features::found(file, recipe_folder)).transpose()?;
        let read = [(found(role, from, recipe_folder)?, "the encoder")];
        let read = read.into_iter().chain(features.map(|file| (file, "the features")));
        for (path, what) in read {
            if path.canonicalize().is_ok_and(|place| place.starts_with(&run)) {
                return Err(TrainError::Setting(format!(
                    "--force would remove {}, {what} that the run reads; expected another --out",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}
