//! What is missing or damaged among the files of a training that goes on, apart from its checkpoints, and what
//! becomes of it. Called where a training that goes on is planned, and where one is found to be finished.

use std::{fs, path::Path};

use super::{
    folder::{self, RunFolderError},
    history, json_lines, metrics,
    names::{LOG, SUMMARY},
    outcome::Outcome,
};

/// Returns a note on each file of the training in the folder `run` that is missing or damaged. `goes_on` says
/// whether more steps or evaluations follow, which write these files.
///
/// # Errors
/// A file is there and cannot be read.
pub fn notes<Summary: Outcome>(run: &Path, goes_on: bool) -> Result<Vec<String>, RunFolderError> {
    let mut notes = Vec::new();
    let lost = [
        (metrics::FILE, "the figures of all steps so far are lost"),
        (
            history::FILE,
            "the warnings so far are unknown (runs of earlier versions lack this file)",
        ),
        (LOG, "what was said so far is lost"),
    ];
    for (name, meaning) in lost {
        if !run.join(name).exists() {
            let then = if goes_on { "; a new file begins here" } else { "" };
            notes.push(format!("{name} is missing: {meaning}{then}"));
        }
    }
    for name in [metrics::FILE, history::FILE] {
        notes.extend(damaged_lines(run, name, goes_on)?);
    }
    if let Err(RunFolderError::Summary { what, .. }) = folder::summary_of::<Summary>(run) {
        notes.push(format!("{SUMMARY} is damaged ({what}): the result is written anew at the end"));
    }
    Ok(notes)
}

fn damaged_lines(run: &Path, name: &str, goes_on: bool) -> Result<Option<String>, RunFolderError> {
    let file = run.join(name);
    if !file.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&file).map_err(|source| RunFolderError::Io { path: file, source })?;
    let damaged = json_lines::damaged(&bytes);
    let Some(first) = damaged.first() else { return Ok(None) };
    let what = match damaged.len() {
        1 => format!("line {first} is damaged, and its figures are lost"),
        count => format!(
            "{count} lines are damaged, the first is line {first}, and their figures are lost"
        ),
    };
    let then = if goes_on { "; they are removed from the file" } else { "" };
    Ok(Some(format!("{name}: {what}{then}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::events::Summary;

    #[test]
    fn what_is_missing_or_damaged_is_named_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let notes = |goes_on| notes::<Summary>(folder.path(), goes_on).unwrap();
        fs::write(at(LOG), "").unwrap();
        fs::write(at(history::FILE), "{\"step\":1}\n").unwrap();
        let missing = notes(true);
        assert!(
            missing.len() == 1 && missing[0].starts_with("metrics.jsonl is missing"),
            "{missing:?}"
        );
        // Half a line at the end is the mark of a run that was killed, and no damage.
        fs::write(at(metrics::FILE), "{\"step\":1}\n{\"st").unwrap();
        assert!(notes(true).is_empty());
        fs::write(at(metrics::FILE), "{\"step\":1}\nx\n\0\n{\"step\":4}\n").unwrap();
        fs::write(at(SUMMARY), "{").unwrap();
        let damaged = notes(true);
        assert_eq!(damaged.len(), 2, "{damaged:?}");
        assert!(damaged[0].contains("2 lines are damaged, the first is line 2"), "{damaged:?}");
        assert!(damaged[1].starts_with("summary.json is damaged"), "{damaged:?}");
        assert!(!notes(false)[0].contains("removed"), "a finished run is not changed");
    }
}
