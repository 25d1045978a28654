//! The lock of a run folder, which a process holds as long as it works on the run.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
    thread,
    time::Duration,
};

use super::RunFolderError;
use crate::run::{error::io, names::LOG};

/// The number of attempts to lock a folder: [`is_busy`] holds the lock for a moment, too.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Returns whether a process works on the run in the folder `path`.
///
/// # Errors
/// The log of the run cannot be opened.
pub fn is_busy(path: &Path) -> Result<bool, RunFolderError> {
    if !path.join(LOG).exists() {
        return Ok(false);
    }
    match locked_log(path) {
        Err(RunFolderError::Busy { .. }) => Ok(true),
        log => log.map(|_| false),
    }
}

/// Opens a file to append to it, and makes it where there is none.
pub(super) fn append(file: &Path) -> Result<File, RunFolderError> {
    OpenOptions::new().create(true).append(true).open(file).map_err(io(file))
}

/// Opens and locks the log for as long as the process works on the run. The lock ends with the process,
/// however the process ends. On a file system without locks the log is not locked.
pub(super) fn locked_log(path: &Path) -> Result<File, RunFolderError> {
    let log = append(&path.join(LOG))?;
    for _ in 0..TRIES {
        match log.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(log),
        }
    }
    Err(RunFolderError::Busy { path: path.to_owned() })
}
