//! What watches an evaluation: a request to stop, which ends it at once, and the observer, which is told how far
//! it is. Called by the evaluations of a run and of a training on labels.

use super::TrainError;
use crate::run::{events::Observer, stop::Stop, task::Task};

/// What watches an evaluation: a request to stop, and the observer of the run.
pub struct Watch<'a> {
    /// The request ends the evaluation at once.
    pub stop: &'a Stop,
    /// The observer is told how far the evaluation is.
    pub observer: &'a mut dyn Observer,
}

impl Watch<'_> {
    /// Does `work`, called `what`.
    ///
    /// # Errors
    /// The work failed, or [`TrainError::Stopped`].
    pub fn run<T: Send + 'static>(
        &mut self,
        what: &str,
        work: impl FnOnce(&Task) -> Result<T, TrainError> + Send + 'static,
    ) -> Result<T, TrainError> {
        let observer = &mut self.observer;
        let done = Task::run(what, self.stop, &mut |event| observer.event(event), work);
        done.unwrap_or(Err(TrainError::Stopped))
    }
}
