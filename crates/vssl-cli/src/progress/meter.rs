//! Shows on standard error how far a command is that is no training.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{arguments::Common, notes::complain};

/// The time between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(120);

/// A progress bar on a terminal; plain lines on a terminal that cannot move its cursor; nothing where there
/// is no terminal or `--quiet` or `--json` was given.
pub struct Meter {
    bar: ProgressBar,
    lines: bool,
}

impl Meter {
    /// A bar over counted things: `template` as indicatif takes it.
    pub fn counting(common: &Common, template: &str) -> Self {
        let silent = common.json || common.quiet || !stderr().is_terminal();
        let target = match silent {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        // Where TERM is unset or `dumb`, indicatif hides what it would draw.
        let lines = !silent && target.is_hidden();
        let style = ProgressStyle::with_template(template).expect("templates are literals in here");
        // A length of 0 would be drawn as a full bar.
        let bar = ProgressBar::with_draw_target(None, target);
        Self { bar: bar.with_style(style.progress_chars("=> ")), lines }
    }

    /// A moving sign, what is going on, and for how long.
    pub fn waiting(common: &Common) -> Self {
        let meter = Self::counting(common, "{spinner} {msg} {elapsed}");
        if !meter.bar.is_hidden() {
            meter.bar.enable_steady_tick(TICK);
        }
        meter
    }

    /// Says what is going on.
    pub fn set_message(&self, what: impl Into<String>) {
        let what = what.into();
        if self.lines {
            complain(&format!("{what} …"));
        }
        self.bar.reset_elapsed();
        self.bar.set_message(what);
    }

    /// Says how far the work is that goes on.
    pub fn update(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// Says how many things there are.
    pub fn set_length(&self, length: u64) {
        self.bar.set_length(length);
    }

    /// Says how many things are done.
    pub fn set_position(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        self.bar.reset();
    }

    /// Lets `print` write to standard error without mixing it with the bar.
    pub fn suspend(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Takes the bar away.
    pub fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }
}
