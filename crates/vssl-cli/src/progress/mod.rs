//! Shows the progress of a run to a person, a log file or a program.

mod bar;
mod figures;
mod json;
mod lines;
mod quiet;
#[cfg(test)]
mod samples;
mod words;

use std::io::{IsTerminal, stderr, stdout};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vssl::run::{events::Observer, stop::Stop};

use crate::arguments::Common;

/// The observer that the arguments ask for: JSON lines, the result alone, a bar on a terminal, or
/// plain lines.
pub fn observer(common: &Common, stop: &Stop) -> Box<dyn Observer> {
    if common.json {
        Box::new(json::Json::new(stdout()))
    } else if common.quiet {
        Box::new(quiet::Quiet::new(stdout()))
    } else if stdout().is_terminal() && stderr().is_terminal() {
        Box::new(bar::Bar::new(stdout(), ProgressDrawTarget::stderr(), stop.clone()))
    } else {
        Box::new(lines::Lines::new(stdout()))
    }
}

/// A progress bar on standard error, hidden where there is no terminal or `--quiet` or `--json` was
/// given.
pub fn bar(common: &Common, template: &str) -> ProgressBar {
    let hidden = common.json || common.quiet || !stderr().is_terminal();
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template(template).expect("templates are literals in here");
    ProgressBar::with_draw_target(Some(0), target).with_style(style.progress_chars("=> "))
}
