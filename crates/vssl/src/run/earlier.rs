//! The settings and the result that a training had before it went on with another length. They are kept
//! beside the new ones: `recipe-step-00003900.toml` are the settings with which the training had come to step
//! 3900, `summary-step-00003900.json` is its result there.

use std::{fs, io, path::Path};

use serde_json::Value;

use super::{checkpoint::Store, folder::RunFolderError, names::SUMMARY, whole_file};

/// Makes `text` the settings in the file `name` of the run folder `run`, which goes on after `step` steps. The
/// earlier settings, and the result of a training that had come to its end, are kept under other names.
///
/// # Errors
/// A file cannot be read, written or renamed. The settings change last, so a start that fails here can be
/// repeated.
pub(super) fn replace_settings(
    run: &Path,
    name: &str,
    text: &str,
    step: u64,
) -> Result<(), RunFolderError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| RunFolderError::Io { path, source }
    };
    let file = run.join(name);
    if step > 0 {
        let earlier = fs::read(&file).map_err(io(&file))?;
        let kept = run.join(kept_as(name, step));
        // Another length that was given up before its first checkpoint has not trained these steps.
        if !kept.try_exists().map_err(io(&kept))? {
            whole_file::write(&kept, earlier).map_err(io(&kept))?;
        }
        let summary = run.join(SUMMARY);
        if let Some(steps) = steps_of_result(&summary).map_err(io(&summary))? {
            fs::rename(&summary, run.join(kept_as(SUMMARY, steps))).map_err(io(&summary))?;
        }
    }
    whole_file::write(&file, text).map_err(io(&file))
}

/// Returns the number of steps of the result in `summary`; `None` where there is no result, or one of a
/// training that was stopped before its end.
fn steps_of_result(summary: &Path) -> io::Result<Option<u64>> {
    let text = match fs::read(summary) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    // A damaged result stays where it is: the next result replaces it.
    let result: Value = serde_json::from_slice(&text).unwrap_or_default();
    let is_whole = result.get("interrupted") == Some(&Value::Bool(false));
    Ok(result.get("steps").and_then(Value::as_u64).filter(|_| is_whole))
}

fn kept_as(name: &str, step: u64) -> String {
    let (stem, ending) = name.rsplit_once('.').expect("settings and results have an ending");
    format!("{stem}-{}.{ending}", Store::name(step))
}

/// Returns whether the file `name` of a run folder was kept from an earlier length.
pub(super) fn is_kept(name: &str) -> bool {
    ["recipe-step-", "settings-step-", "summary-step-"].iter().any(|kept| name.starts_with(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_the_result_of_a_whole_training_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let read = |name: &str| fs::read_to_string(at(name)).unwrap();
        fs::write(at("recipe.toml"), "old").unwrap();
        fs::write(at("summary.json"), r#"{"steps":24,"interrupted":false}"#).unwrap();
        replace_settings(folder.path(), "recipe.toml", "new", 24).unwrap();
        assert_eq!([read("recipe.toml"), read("recipe-step-00000024.toml")], ["new", "old"]);
        assert!(read("summary-step-00000024.json").contains("24") && !at("summary.json").exists());

        fs::write(at("summary.json"), r#"{"steps":30,"interrupted":true}"#).unwrap();
        replace_settings(folder.path(), "recipe.toml", "newer", 30).unwrap();
        assert!(at("summary.json").exists() && !at("summary-step-00000030.json").exists());
        let names = fs::read_dir(folder.path()).unwrap();
        let kept = names.filter(|n| is_kept(&n.as_ref().unwrap().file_name().to_string_lossy()));
        assert_eq!(kept.count(), 3);
    }

    #[test]
    fn a_length_that_was_given_up_at_once_does_not_hide_the_settings_that_trained() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        fs::write(folder.path().join("recipe.toml"), "first").unwrap();
        replace_settings(folder.path(), "recipe.toml", "given up", 4).unwrap();
        replace_settings(folder.path(), "recipe.toml", "last", 4).unwrap();
        assert_eq!([read("recipe.toml"), read("recipe-step-00000004.toml")], ["last", "first"]);
    }

    #[test]
    fn before_the_first_step_there_is_nothing_to_keep() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("settings.toml"), "old").unwrap();
        replace_settings(folder.path(), "settings.toml", "new", 0).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
