//! Large float buffers that are reused: to get the pages of a fresh allocation costs as much as a convolution
//! that writes into them.
//!
//! A [`Buffer`] that is dropped goes back to a store, and the next [`take`] of about its size gets it. The
//! activations of a training step have the same sizes as those of the last step, so after one step nothing is
//! allocated.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// The number of floats below which the system's allocator is as good.
pub const SMALLEST_KEPT: usize = 1 << 14;
/// The number of calls of [`take`] after which an unused buffer is given back to the system.
const OLDEST_KEPT: u64 = 4096;

struct Kept {
    memory: Vec<f32>,
    since: u64,
}

struct Store {
    kept: Vec<Kept>,
    takes: u64,
}

static STORE: Mutex<Store> = Mutex::new(Store { kept: Vec::new(), takes: 0 });

/// Floats in one piece of memory, which goes back to the store when it is dropped.
pub struct Buffer {
    memory: Vec<f32>,
}

/// Returns a buffer of `length` floats with unspecified values.
pub fn take(length: usize) -> Buffer {
    if length < SMALLEST_KEPT {
        return Buffer { memory: vec![0.0; length] };
    }
    let recycled = {
        let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
        store.takes += 1;
        let fits = |kept: &Kept| (length..=length + length / 4).contains(&kept.memory.len());
        let best = (0..store.kept.len())
            .filter(|&index| fits(&store.kept[index]))
            .min_by_key(|&index| store.kept[index].memory.len());
        best.map(|index| store.kept.swap_remove(index).memory)
    };
    let mut memory = recycled.unwrap_or_else(|| vec![0.0; length]);
    memory.truncate(length);
    Buffer { memory }
}

/// Returns all kept buffers to the system.
pub fn release() {
    STORE.lock().unwrap_or_else(PoisonError::into_inner).kept.clear();
}

impl Buffer {
    /// Returns the memory, which no longer goes back to the store.
    pub fn into_vec(mut self) -> Vec<f32> {
        std::mem::take(&mut self.memory)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.memory);
        if memory.len() < SMALLEST_KEPT {
            return;
        }
        // The memory gets its full length again, because the buffer may have served a slightly smaller
        // request.
        memory.resize(memory.capacity(), 0.0);
        let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
        let since = store.takes;
        store.kept.push(Kept { memory, since });
        store.kept.retain(|kept| since - kept.since <= OLDEST_KEPT);
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Calls `body` with `length` floats of unspecified value that belong to this thread. It is meant for the
/// inside of one task; a nested call gets fresh memory.
pub fn with_scratch<R>(length: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut memory = SCRATCH.take();
    if memory.len() < length {
        memory = vec![0.0; length];
    }
    let result = body(&mut memory[..length]);
    SCRATCH.set(memory);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_serves_the_next_request_of_its_size() {
        const LENGTH: usize = 777_777; // a size of this test's own: the store is the process's
        let first = take(LENGTH);
        let address = first.as_ptr();
        drop(first);
        assert_eq!(take(LENGTH).as_ptr(), address);
    }
}
