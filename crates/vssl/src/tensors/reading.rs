//! Where a training step waits for its device: the one place in the loop that reads tensors.
//!
//! A read makes the host wait until everything that was asked of the device before is done, so a step
//! may have one. Losses, figures of the probe and the norm of the gradients are gathered on the device
//! and fetched together by `Waiting::read`; where the features are watched, they are another read
//! (`rows`). `tests/it/device_reads.rs` counts them, and looks for others in the source.

use std::cell::Cell;

use burn::tensor::{Tensor, TensorData};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has read a device here since it began.
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

    /// All of them, by one read. None are left.
    pub fn read(&mut self) -> Vec<f32> {
        match self.0.is_empty() {
            true => Vec::new(),
            false => values(Tensor::cat(std::mem::take(&mut self.0), 0)),
        }
    }
}

/// The rows of a matrix, one after the other.
pub(crate) fn rows(x: Tensor<2>) -> Vec<f32> {
    values(x)
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    COUNT.set(COUNT.get() + 1);
    let data: TensorData = x.into_data(); // device read
    data.try_into_vec().expect("losses, norms and features are f32")
}
