//! How this program is started once more. Called by the commands that train in processes of their own.

use std::{ffi::OsString, process::Command, sync::OnceLock};

use anyhow::Context;

static PROGRAM: OnceLock<Vec<OsString>> = OnceLock::new();

/// Remembers the words that start this program.
pub fn remember(words: Vec<OsString>) {
    // The first answer stays: a process has one program.
    let _ = PROGRAM.set(words);
}

/// A command that starts this program; arguments are to be added.
///
/// # Errors
/// Nobody knows what starts it.
pub fn command() -> anyhow::Result<Command> {
    let words = PROGRAM.get().and_then(|words| words.split_first());
    let (program, arguments) =
        words.context("finding the program itself: the system does not know its path")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}
