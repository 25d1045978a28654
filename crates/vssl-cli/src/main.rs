//! The binary `vssl`: parse, run, print.
//!
//! Exit codes: 0 done (also when stopped on request), 1 failed, 2 wrong arguments or a wrong recipe.

mod arguments;
mod commands;
mod failure;
mod launcher;
mod output;
mod progress;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

// A training step frees and takes the same hundreds of megabytes again and again; the system's
// allocator gives them back to the kernel in between and pays for every page anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    failure::catch_panics();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // In a job, rank 0 alone prints the message.
        Err(error) if launcher::Launch::is_follower() => {
            return ExitCode::from(error.exit_code() as u8);
        }
        Err(error) => error.exit(),
    };
    match commands::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.code()
        }
    }
}
