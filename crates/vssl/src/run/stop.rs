//! A request to stop, made by a signal handler and read between steps.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A flag that the signal handler and the training loop share.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the loop to end after the step that runs now, with a checkpoint.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was requested.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag itself, for a signal handler that can only set one.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
