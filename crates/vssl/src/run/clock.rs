//! How long a training has run, over all its starts, and how fast it goes at the moment.

use std::time::{Duration, Instant};

/// The time of a training.
pub struct Clock {
    began: Instant,
    /// Seconds of the starts before this one.
    before: f64,
    window: Window,
}

/// Since the last logged step.
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

/// How fast the steps since the last logged one were.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Images (not views) a second.
    pub images_per_s: f64,
    /// Share of the time in which the loop waited for images, 0 to 1.
    pub loader_wait: f64,
}

impl Clock {
    /// Starts now; earlier starts of the same training took `before` seconds.
    pub fn start(before: f64) -> Self {
        Self { began: Instant::now(), before, window: Window::new() }
    }

    /// Seconds over all starts.
    pub fn seconds(&self) -> f64 {
        self.before + self.began.elapsed().as_secs_f64()
    }

    /// Counts a step whose images the loop waited for so long.
    pub fn step(&mut self, waited: Duration) {
        self.window.steps += 1;
        self.window.waited += waited;
    }

    /// The pace of the steps of `batch` images since the last call; then counts anew.
    pub fn pace(&mut self, batch: usize) -> Pace {
        let Window { began, steps, waited } = std::mem::replace(&mut self.window, Window::new());
        let seconds = began.elapsed().as_secs_f64();
        let images_per_s = steps as f64 * batch as f64 / seconds;
        Pace { images_per_s, loader_wait: waited.as_secs_f64() / seconds }
    }

    /// Leaves what happened since the last logged step, such as an evaluation, out of the pace.
    pub fn leave_out(&mut self) {
        self.window = Window::new();
    }
}

/// Whether something that is to happen every so many steps or epochs happens after `done` of them; 0 is
/// never.
pub fn is_due(done: u64, every: u64) -> bool {
    every > 0 && done.is_multiple_of(every)
}
