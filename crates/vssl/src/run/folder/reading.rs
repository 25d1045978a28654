//! What lies in a run folder.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::Path,
};

use serde::de::DeserializeOwned;

use super::{RECIPE, RunFolderError, SETTINGS, SUMMARY, lock::is_busy};
use crate::run::{error::io as failed, history, metrics, names::LOG};

/// Returns the name of the run of a recipe: `<recipe>-<seed>`, where `<recipe>` is the recipe's path below
/// `recipes/`.
pub fn name(recipe: &Path, seed: u64) -> String {
    let stem = recipe.with_extension("");
    let parts: Vec<_> = stem.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let own = match parts.iter().rposition(|part| part == "recipes") {
        Some(position) if position + 1 < parts.len() => &parts[position + 1..],
        _ => &parts[parts.len().saturating_sub(1)..],
    };
    format!("{}-{seed}", own.join("-"))
}

/// Returns whether a run was begun in the folder `path`.
pub fn is_run(path: &Path) -> bool {
    path.join(RECIPE).is_file()
}

/// Returns whether a training on labels was begun in the folder `path`.
pub fn is_on_labels(path: &Path) -> bool {
    path.join(SETTINGS).is_file()
}

/// Returns a number that changes when a file of the run in the folder `path` changes, apart from its
/// checkpoints, or when a process begins or ends to work on the run.
pub fn revision(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    for name in [RECIPE, metrics::FILE, history::FILE, LOG, SUMMARY] {
        let known = path.join(name).metadata().ok();
        known.map(|file| (file.len(), file.modified().ok())).hash(&mut hasher);
    }
    is_busy(path).unwrap_or(false).hash(&mut hasher);
    hasher.finish()
}

/// Returns the text of the resolved recipe of the run at `path`.
///
/// # Errors
/// The folder is not a run folder, or its recipe cannot be read.
pub fn recipe_of(path: &Path) -> Result<String, RunFolderError> {
    if !path.exists() {
        return Err(RunFolderError::Missing { path: path.to_owned() });
    }
    if path.is_file() {
        return Err(RunFolderError::File { path: path.to_owned() });
    }
    let file = path.join(RECIPE);
    match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(RunFolderError::NoRun { path: path.to_owned() })
        }
        text => text.map_err(failed(&file)),
    }
}

/// Returns the result of the run or of the training on labels in the folder `path`; `None` before its end.
///
/// # Errors
/// The result cannot be read, or is of another kind.
pub fn summary_of<Summary: DeserializeOwned>(
    path: &Path,
) -> Result<Option<Summary>, RunFolderError> {
    let file = path.join(SUMMARY);
    let bytes = match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(failed(&file))?,
    };
    let summary = serde_json::from_slice(&bytes);
    summary
        .map(Some)
        .map_err(|error| RunFolderError::Summary { path: file, what: error.to_string() })
}
