//! Device reads: the only place in a training step that waits for its device.
//!
//! A read makes the host wait until all earlier work of the device is done, so a step may have one read.
//! Losses, figures of the probe and the norm of the gradients are gathered on the device and fetched together
//! by `Waiting::read`; where the features are watched, a second read fetches them (`rows`).
//! `tests/it/device_reads.rs` counts the reads and looks for others in the source.

use std::cell::Cell;

use burn::tensor::{Tensor, TensorData};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Returns how often this thread has read from a device through this module.
pub fn count() -> u64 {
    COUNT.get()
}

/// Numbers that are still on the device, in the order in which they were added.
#[derive(Default)]
pub(crate) struct Waiting(Vec<Tensor<1>>);

impl Waiting {
    /// Adds numbers, off the autodiff device.
    ///
    /// # Shapes — `[n]`, of any n.
    pub fn push(&mut self, numbers: Tensor<1>) {
        self.0.push(numbers);
    }

    /// Fetches all waiting numbers by one read. Afterwards no number waits.
    pub fn read(&mut self) -> Vec<f32> {
        match self.0.is_empty() {
            true => Vec::new(),
            false => values(Tensor::cat(std::mem::take(&mut self.0), 0)),
        }
    }
}

/// Reads the rows of a matrix, one after the other.
pub(crate) fn rows(x: Tensor<2>) -> Vec<f32> {
    values(x)
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    COUNT.set(COUNT.get() + 1);
    let data: TensorData = x.into_data(); // device read
    data.try_into_vec().expect("losses, norms and features are f32")
}
