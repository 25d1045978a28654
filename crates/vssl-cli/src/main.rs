//! The binary `vssl`: parse, run, print.
//!
//! Exit codes: 0 done (also when stopped on request), 1 failed, 2 wrong arguments or a wrong recipe.

mod arguments;
mod commands;
mod failure;
mod progress;
mod signals;
mod table;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

fn main() -> ExitCode {
    failure::catch_panics();
    let arguments = Arguments::parse();
    match commands::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.code()
        }
    }
}
