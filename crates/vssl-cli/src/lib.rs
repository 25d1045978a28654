//! The command `vssl` as a library: parse, run, print. The binary and the Python package call [`main`].
//!
//! Exit codes: 0 done, 1 failed, 2 wrong arguments or a wrong recipe, 128 and the number of the signal that
//! ended the command before it was done: 130 after Ctrl-C, 143 after `kill`.

#![deny(missing_docs)]

mod arguments;
mod commands;
mod failure;
mod home;
mod launcher;
mod notes;
mod output;
mod program;
mod progress;
mod signals;

use std::{
    ffi::OsString,
    io::{ErrorKind, Write, stdout},
};

use clap::error::ErrorKind as Kind;
use vssl::run::events::Observer;

pub use arguments::COMMIT;
use arguments::{Arguments, version_as_json};
use failure::Failure;
pub use failure::message;

// A training step frees and takes the same hundreds of megabytes again and again; the system's
// allocator gives them back to the kernel in between and pays for every page anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the command of a command line, whose first word is the name of the program, and returns the exit code. The
/// signals of the process are attended to from now on, and a panic ends it.
///
/// `program` is what starts this program again, with a command line behind it: its path, or an interpreter and the
/// arguments before the command.
pub fn main(line: Vec<OsString>, program: Vec<OsString>) -> u8 {
    failure::catch_panics();
    program::remember(program);
    if let Err(error) = signals::attend() {
        return ended(&Failure::from(error));
    }
    let asks_for_json = line.iter().any(|argument| argument == "--json");
    let arguments = match Arguments::read(line.into_iter().map(home::expanded)) {
        Ok(arguments) => arguments,
        Err(error) => return told(&error, asks_for_json),
    };
    match commands::run(&arguments).and_then(|()| output::check()) {
        Ok(()) => 0,
        Err(failure) => ended(&failure),
    }
}

/// An observer that writes the lines of `vssl pretrain` to `out`: all figures of a step if `verbose`, the five that
/// matter most otherwise.
pub fn lines<W: Write + 'static>(out: W, verbose: bool) -> Box<dyn Observer> {
    Box::new(progress::Lines::new(out, verbose))
}

fn ended(failure: &Failure) -> u8 {
    failure.print();
    failure.code()
}

/// Prints help, the version or what is wrong with the arguments. In a job, rank 0 alone does so.
fn told(error: &clap::Error, asks_for_json: bool) -> u8 {
    let code = error.exit_code() as u8;
    if launcher::Launch::is_follower() {
        return code;
    }
    if error.kind() == Kind::DisplayVersion && asks_for_json {
        return match output::say(&version_as_json().to_string()) {
            Ok(()) => code,
            Err(failure) => ended(&failure),
        };
    }
    match error.print().and_then(|()| stdout().flush()) {
        // A message on standard error that cannot be written is lost; its exit code is not.
        Err(unwritten) if !error.use_stderr() && unwritten.kind() != ErrorKind::BrokenPipe => {
            let context = "writing to standard output";
            ended(&anyhow::Error::new(unwritten).context(context).into())
        }
        _ => code,
    }
}
