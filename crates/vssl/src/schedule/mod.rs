//! Schedules: pure functions of the step, which count and store nothing.
//!
//! Called by the training loop and by the methods.

mod momentum;
mod rate;

pub use momentum::{Momentum, straight_line};
pub(crate) use rate::TABLE;
pub use rate::{Interval, Schedule, ScheduleError, WarmupCosine};

/// The position in a run. Every quantity that changes over a run and is not learned is a function of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The number of optimiser steps done before this step.
    pub index: u64,
    /// The number of passes over the data done before this step.
    pub epoch: u64,
    /// The number of optimiser steps in one pass.
    pub steps_per_epoch: u64,
    /// The number of optimiser steps in the whole run.
    pub total: u64,
    /// The seed of the run.
    pub seed: u64,
    /// The index of the micro-batch within the step, where gradients are accumulated.
    pub micro: u64,
    /// The number of micro-batches of a step; 0 counts as 1.
    pub accumulate: u64,
    /// Whether figures beyond the loss are needed at this step.
    pub watch: bool,
    /// Whether the loss of each image is needed at this step.
    pub image_losses: bool,
}

impl Step {
    /// Returns whether this is the first step of its epoch.
    pub fn starts_epoch(&self) -> bool {
        self.index.is_multiple_of(self.steps_per_epoch)
    }

    /// Returns the number of forward passes done before this one. A queue that takes in each of them has got
    /// that far.
    pub fn passes(&self) -> u64 {
        self.index * self.accumulate.max(1) + self.micro
    }

    /// Returns the number of passes of the whole run; the last pass may be incomplete.
    fn epochs(&self) -> u64 {
        self.total.div_ceil(self.steps_per_epoch.max(1))
    }
}
