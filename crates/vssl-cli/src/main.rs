//! The binary `vssl`: parse, run, print.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong arguments or a wrong recipe, 128 and the number of the signal that
//! ended the command before it was done: 130 after Ctrl-C, 143 after `kill`.

mod arguments;
mod commands;
mod failure;
mod home;
mod launcher;
mod notes;
mod output;
mod progress;
mod signals;

use std::{
    env,
    io::{ErrorKind, Write, stdout},
    process::ExitCode,
};

use clap::error::ErrorKind as Kind;

use arguments::{Arguments, version_as_json};
use failure::Failure;

// A training step frees and takes the same hundreds of megabytes again and again; the system's
// allocator gives them back to the kernel in between and pays for every page anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    failure::catch_panics();
    if let Err(error) = signals::attend() {
        return ended(&Failure::from(error));
    }
    let arguments = match Arguments::read(env::args_os().map(home::expanded)) {
        Ok(arguments) => arguments,
        Err(error) => return told(&error),
    };
    match commands::run(&arguments).and_then(|()| output::check()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ended(&failure),
    }
}

fn ended(failure: &Failure) -> ExitCode {
    failure.print();
    failure.code()
}

/// Prints help, the version or what is wrong with the arguments. In a job, rank 0 alone does so.
fn told(error: &clap::Error) -> ExitCode {
    let code = ExitCode::from(error.exit_code() as u8);
    if launcher::Launch::is_follower() {
        return code;
    }
    if error.kind() == Kind::DisplayVersion && env::args_os().any(|argument| argument == "--json") {
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
