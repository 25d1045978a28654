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
/// The largest number of times that kept memory may be as large as a buffer of [`take_any`].
const LARGEST_SHARE: usize = 64;
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
    /// All of the memory, of which the buffer is the beginning.
    memory: Vec<f32>,
    length: usize,
}

/// Returns a buffer of `length` floats with unspecified values.
///
/// It is at most a fourth smaller than the memory that it occupies, so that the activations of a training
/// step, many of which are alive at once, do not hold more memory than they need.
pub fn take(length: usize) -> Buffer {
    take_up_to(length, length + length / 4)
}

/// Returns a buffer of `length` floats with unspecified values, in the smallest piece of kept memory that is
/// large enough, even if it is much larger.
///
/// It is meant for inference, where few activations are alive at once: large ones of the first layers are
/// followed by small ones, and a last batch is smaller than the others.
pub fn take_any(length: usize) -> Buffer {
    take_up_to(length, length.saturating_mul(LARGEST_SHARE))
}

fn take_up_to(length: usize, most: usize) -> Buffer {
    if length < SMALLEST_KEPT {
        return Buffer { memory: vec![0.0; length], length };
    }
    let recycled = {
        let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
        store.takes += 1;
        let fits = |kept: &Kept| (length..=most).contains(&kept.memory.len());
        let best = (0..store.kept.len())
            .filter(|&index| fits(&store.kept[index]))
            .min_by_key(|&index| store.kept[index].memory.len());
        best.map(|index| store.kept.swap_remove(index).memory)
    };
    Buffer { memory: recycled.unwrap_or_else(|| vec![0.0; length]), length }
}

/// Returns all kept buffers to the system.
pub fn release() {
    STORE.lock().unwrap_or_else(PoisonError::into_inner).kept.clear();
}

impl Buffer {
    /// Returns the memory, which no longer goes back to the store.
    pub fn into_vec(mut self) -> Vec<f32> {
        self.memory.truncate(self.length);
        std::mem::take(&mut self.memory)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        if memory.len() < SMALLEST_KEPT {
            return;
        }
        let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
        let since = store.takes;
        store.kept.push(Kept { memory, since });
        store.kept.retain(|kept| since - kept.since <= OLDEST_KEPT);
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.length]
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
        // A size of this test's own, for the store is the process's, and too small for the next test's part.
        const LENGTH: usize = 40_404_040;
        let first = take(LENGTH);
        let address = first.as_ptr();
        drop(first);
        assert_eq!(take(LENGTH).as_ptr(), address);
    }

    #[test]
    fn a_buffer_of_any_smaller_size_is_the_beginning_of_a_kept_one_and_gives_all_of_it_back() {
        const LENGTH: usize = 123_456_789; // a size of this test's own: see above
        let first = take(LENGTH);
        let address = first.as_ptr();
        drop(first);
        let part = take_any(LENGTH / 3);
        assert_eq!((part.as_ptr(), part.len()), (address, LENGTH / 3));
        drop(part);
        assert_eq!(take(LENGTH).as_ptr(), address);
        assert_eq!(take_any(LENGTH / 3).into_vec().len(), LENGTH / 3);
    }
}
