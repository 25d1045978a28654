//! The time that a training has run over all its starts, and its current speed.

use std::time::{Duration, Instant};

/// The clock of a training.
pub struct Clock {
    began: Instant,
    /// The seconds of the starts before this one.
    before: f64,
    window: Window,
}

/// The time since the last logged step.
struct Window {
    began: Instant,
    steps: u64,
    waited: Duration,
}

impl Window {
    fn new() -> Self {
        Self { began: Instant::now(), steps: 0, waited: Duration::ZERO }
    }
}

/// The speed of the steps since the last logged step.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The images (not views) per second.
    pub images_per_s: f64,
    /// The share of the time in which the loop waited for images, 0 to 1.
    pub loader_wait: f64,
}

impl Clock {
    /// Starts the clock; earlier starts of the same training took `before` seconds.
    pub fn start(before: f64) -> Self {
        Self { began: Instant::now(), before, window: Window::new() }
    }

    /// Returns the seconds over all starts.
    pub fn seconds(&self) -> f64 {
        self.before + self.began.elapsed().as_secs_f64()
    }

    /// Counts a step; the loop waited for its images for `waited`.
    pub fn step(&mut self, waited: Duration) {
        self.window.steps += 1;
        self.window.waited += waited;
    }

    /// Returns the pace of the steps of `batch` images since the last call; then counts anew.
    pub fn pace(&mut self, batch: usize) -> Pace {
        let Window { began, steps, waited } = std::mem::replace(&mut self.window, Window::new());
        let seconds = began.elapsed().as_secs_f64();
        let images_per_s = steps as f64 * batch as f64 / seconds;
        Pace { images_per_s, loader_wait: waited.as_secs_f64() / seconds }
    }

    /// Leaves the time since the last logged step, such as that of an evaluation, out of the pace.
    pub fn leave_out(&mut self) {
        self.window = Window::new();
    }
}

/// Returns whether something that happens every `every` steps or epochs is due after `done` of them; 0 is
/// never.
pub fn is_due(done: u64, every: u64) -> bool {
    every > 0 && done.is_multiple_of(every)
}
