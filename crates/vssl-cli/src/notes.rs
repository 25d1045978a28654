//! Lines on standard error. A failure to write them is ignored, because there is no other place to report it;
//! the macros of the standard library would panic.

use std::{
    io::{Write, stderr},
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether notes are left out: `--quiet`.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves out notes from now on.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Writes a line.
pub fn complain(text: &str) {
    // In one piece: the processes of a job share a terminal, and `mpirun` marks what it gets.
    let _ = stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Writes a warning that a result may be worth nothing, with `--quiet` as well.
pub fn warn(text: &str) {
    complain(&format!("warning: {text}"));
}

/// Writes a note, unless `--quiet` was given.
pub fn note(text: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        complain(&format!("note: {text}"));
    }
}
