//! Whether a new run can have a folder, and what of an earlier run is removed before.

use std::{fs, io, path::Path};

use super::{
    CLASSES, CONFUSION, ENCODER, LABELS, RECIPE, RunFolderError, SETTINGS, START, SUMMARY, TEACHER,
    lock::{is_busy, locked_log},
    reading::{is_on_labels, is_run},
};
use crate::run::{
    checkpoint, earlier,
    error::io as failed,
    history::{self, Entry},
    metrics,
    names::LOG,
    tensorboard,
};

/// Makes the folder `path` one that a new run can have: it is empty, or what it holds of an earlier run is removed, if
/// `force` is on or that run failed before its first step.
///
/// # Errors
/// The folder holds anything else, or a process is at work in it.
pub(super) fn free(path: &Path, force: bool) -> Result<(), RunFolderError> {
    if !occupied(path).map_err(failed(path))? {
        return Ok(());
    }
    if !force && !failed_before_a_step(path) {
        return Err(RunFolderError::Occupied { path: path.to_owned() });
    }
    if !is_run(path) && !is_on_labels(path) {
        return Err(RunFolderError::Foreign { path: path.to_owned() });
    }
    let lock = locked_log(path)?;
    // Another start may have taken the folder before the lock was had.
    if !force && !failed_before_a_step(path) {
        return Err(RunFolderError::Occupied { path: path.to_owned() });
    }
    check_no_evaluation_is_at_work(path)?;
    clear(path)?;
    drop(lock);
    Ok(())
}

/// Checks that a new run can have the folder `path`: it is empty, or holds only what a start left that failed before
/// its first step.
///
/// # Errors
/// The folder holds anything else.
pub fn check_free(path: &Path) -> Result<(), RunFolderError> {
    match occupied(path).map_err(failed(path))? && !failed_before_a_step(path) {
        true => Err(RunFolderError::Occupied { path: path.to_owned() }),
        false => Ok(()),
    }
}

/// Returns whether the folder holds files. An empty log is none: a start that was killed before it wrote its
/// settings leaves it.
fn occupied(path: &Path) -> io::Result<bool> {
    let counts = |entry: io::Result<fs::DirEntry>| match entry {
        Ok(entry) => entry.file_name() != LOG || entry.metadata().is_ok_and(|log| log.len() > 0),
        Err(_) => true,
    };
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.any(counts)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether all that the folder holds is of a start that failed before its first step, for example because of an
/// image that cannot be read. Nothing is lost with it, so that the corrected command can be given again.
fn failed_before_a_step(path: &Path) -> bool {
    let left =
        [RECIPE, SETTINGS, LOG, START, TEACHER, LABELS, ENCODER, metrics::FILE, history::FILE];
    let is_left = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            left.contains(&&*name) || tensorboard::is_event_file(&name)
        })
    };
    let failed = || match history::read(path).ok()?.pop()? {
        Entry::Failed { step: 0, .. } => Some(()),
        _ => None,
    };
    fs::read_dir(path).is_ok_and(|mut entries| entries.all(is_left)) && failed().is_some()
}

/// Refuses a run folder whose trainings on labels, folders inside it, have a process at work.
fn check_no_evaluation_is_at_work(path: &Path) -> Result<(), RunFolderError> {
    for entry in fs::read_dir(path).map_err(failed(path))? {
        let path = entry.map_err(failed(path))?.path();
        if is_on_labels(&path) && is_busy(&path)? {
            return Err(RunFolderError::Busy { path });
        }
    }
    Ok(())
}

/// Removes the files of an earlier run and the trainings on labels inside it, which belong to its encoder,
/// and nothing else. The file that makes the folder a run goes last, so that an interrupted removal can be
/// repeated.
fn clear(path: &Path) -> Result<(), RunFolderError> {
    let removed = |file: &Path, result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(file)(error)),
        _ => Ok(()),
    };
    for entry in fs::read_dir(path).map_err(failed(path))? {
        let entry = entry.map_err(failed(path))?.path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if tensorboard::is_event_file(&name) || earlier::is_kept(&name) {
            removed(&entry, fs::remove_file(&entry))?;
        } else if name == checkpoint::FOLDER || is_on_labels(&entry) {
            removed(&entry, fs::remove_dir_all(&entry))?;
        }
    }
    let own = [
        metrics::FILE,
        history::FILE,
        LOG,
        SUMMARY,
        CLASSES,
        CONFUSION,
        LABELS,
        ENCODER,
        START,
        TEACHER,
    ];
    for name in own.into_iter().chain([SETTINGS, RECIPE]) {
        let file = path.join(name);
        removed(&file, fs::remove_file(&file))?;
    }
    Ok(())
}
