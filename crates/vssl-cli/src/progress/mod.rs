//! Shows the progress of a run to a person, a log file or a program.

mod bar;
mod figures;
mod json;
mod lines;
mod meter;
mod quiet;
#[cfg(test)]
mod samples;
mod words;

use std::io::{IsTerminal, stdout};

use indicatif::ProgressDrawTarget;
use vssl::run::{events::Observer, stop::Stop};

pub use lines::Lines;
pub use meter::Meter;

use crate::{arguments::Common, output::Out};

/// The observer that the arguments ask for: JSON lines, the result alone, a bar on a terminal, or
/// plain lines. Plain lines are for terminals, too, that cannot move their cursor: `TERM` is unset or `dumb`.
pub fn observer(common: &Common, stop: &Stop) -> Box<dyn Observer> {
    let target = ProgressDrawTarget::stderr();
    if common.json {
        Box::new(json::Json::new(Out))
    } else if common.quiet {
        Box::new(quiet::Quiet::new(Out))
    } else if stdout().is_terminal() && !target.is_hidden() {
        Box::new(bar::Bar::new(Out, target, stop.clone(), common.verbose))
    } else {
        Box::new(Lines::new(Out, common.verbose))
    }
}
