//! Which files belong to a run: those that it writes and reads itself, and that no other output may replace.
//! Called by every command that writes a file whose name the user chose.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::{
    checkpoint, earlier, history, metrics,
    names::{CLASSES, CONFUSION, ENCODER, LABELS, LOG, RECIPE, SETTINGS, START, SUMMARY, TEACHER},
    tensorboard,
};

/// Returns the folder of the run, or of the training on labels, that owns the file `path`. The file need not
/// exist yet: nothing new belongs among the checkpoints.
pub fn owner(path: &Path) -> Option<PathBuf> {
    let place = place(path).ok()?;
    let owns = |run: &&Path| {
        let Ok(inside) = place.strip_prefix(run) else { return false };
        let parts: Vec<&OsStr> = inside.iter().collect();
        match parts.as_slice() {
            [name] => is_own(&name.to_string_lossy()),
            [first, ..] => *first == checkpoint::FOLDER,
            [] => false,
        }
    };
    place.ancestors().skip(1).filter(|folder| is_begun(folder)).find(owns).map(Path::to_owned)
}

/// Whether a run or a training on labels was begun in `folder`. A recipe alone does not make a run: people
/// keep recipes, too.
fn is_begun(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    (has(RECIPE) || has(SETTINGS)) && (has(LOG) || has(metrics::FILE))
}

fn is_own(name: &str) -> bool {
    let names =
        [RECIPE, SETTINGS, SUMMARY, CLASSES, CONFUSION, LABELS, ENCODER, LOG, START, TEACHER];
    names.contains(&name)
        || [metrics::FILE, history::FILE, checkpoint::FOLDER].contains(&name)
        || earlier::is_kept(name)
        || tensorboard::is_event_file(name)
}

/// Returns the place that `path` leads to: absolute, without links in what exists of it.
fn place(path: &Path) -> io::Result<PathBuf> {
    if let Ok(place) = fs::canonicalize(path) {
        return Ok(place);
    }
    let absolute = std::path::absolute(path)?;
    match (absolute.parent(), absolute.components().next_back()) {
        (Some(folder), Some(Component::Normal(name))) => Ok(place(folder)?.join(name)),
        (Some(folder), Some(Component::ParentDir)) => {
            Ok(place(folder)?.parent().unwrap_or(Path::new("/")).to_owned())
        }
        _ => Ok(absolute),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_of_a_run_are_its_own_and_results_beside_them_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let run = root.join("run");
        fs::create_dir_all(run.join("checkpoints/step-00000003")).unwrap();
        fs::create_dir(run.join("linear")).unwrap();
        for name in [RECIPE, LOG, "linear/settings.toml", "linear/log.txt"] {
            fs::write(run.join(name), "").unwrap();
        }
        symlink(&run, root.join("link")).unwrap();
        symlink(run.join(SUMMARY), root.join("to-summary.json")).unwrap();
        let owned = |name: &str| owner(&root.join(name));
        for name in [
            "run/recipe.toml",
            "run/summary.json",
            "run/metrics.jsonl",
            "run/events.jsonl",
            "run/log.txt",
            "run/events.out.tfevents.1.host",
            "run/classes.json",
            "run/confusion.csv",
            "run/labels.json",
            "run/encoder.json",
            "run/start.safetensors",
            "run/recipe-step-00000003.toml",
            "run/settings-step-00000003.toml",
            "run/summary-step-00000003.json",
            "run/checkpoints",
            "run/checkpoints/latest",
            "run/checkpoints/step-00000003/student.safetensors",
            "run/checkpoints/new/encoder.onnx",
            "run/../run/recipe.toml",
            "link/recipe.toml",
        ] {
            assert_eq!(owned(name), Some(run.clone()), "{name}");
        }
        assert_eq!(owned("run/linear/summary.json"), Some(run.join("linear")));
        for name in ["run/encoder.onnx", "run/report.html", "run/linear/table.md", "summary.json"] {
            assert_eq!(owned(name), None, "{name}");
        }
        fs::write(root.join(RECIPE), "").unwrap();
        assert_eq!(owned("summary.json"), None, "a recipe does not make a run");
        fs::write(run.join(SUMMARY), "").unwrap();
        assert_eq!(owned("to-summary.json"), Some(run));
    }
}
