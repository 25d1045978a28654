//! Large float buffers that are used again: the pages of a fresh allocation cost as much as a
//! convolution writes into them.
//!
//! A [`Buffer`] that is dropped, or the [`Bytes`] it was turned into, goes back to a store, and
//! the next [`take`] of about its size gets it. The activations of a training step have the same
//! sizes as the last one's, so after one step nothing is allocated.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};

/// Below this many floats the system's allocator is as good.
const SMALLEST_KEPT: usize = 1 << 14;
/// A buffer nobody wanted during this many takes is given back to the system.
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

/// Floats in one piece of memory, which goes back to the store when dropped.
pub struct Buffer {
    memory: Vec<f32>,
}

/// A buffer of `length` floats of unspecified value.
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

/// Gives all kept buffers back to the system.
pub fn release() {
    STORE.lock().unwrap_or_else(PoisonError::into_inner).kept.clear();
}

impl Buffer {
    /// The same memory as the storage of a tensor; it returns to the store with the tensor's end.
    pub fn into_bytes(mut self) -> Bytes {
        if self.memory.len() < SMALLEST_KEPT {
            return Bytes::from_elems(std::mem::take(&mut self.memory));
        }
        let length = self.memory.len() * size_of::<f32>();
        // SAFETY: all `length` bytes are initialised floats.
        unsafe { Bytes::from_controller(Box::new(Recycled(self)), length) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.memory);
        if memory.len() < SMALLEST_KEPT {
            return;
        }
        // Back to full length: a buffer may have served a slightly smaller request.
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

struct Recycled(Buffer);

impl AllocationController for Recycled {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Native
    }

    unsafe fn memory_mut(
        &mut self,
        _policy: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let length = size_of_val(&*self.0.memory);
        let start = NonNull::from(&mut *self.0.memory).cast();
        // SAFETY: the same memory; callers write initialised bytes only, and any bytes are floats.
        Ok(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) })
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let length = size_of_val(&*self.0.memory);
        // SAFETY: the same memory, read as bytes.
        Ok(unsafe { std::slice::from_raw_parts(self.0.memory.as_ptr().cast(), length) })
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Calls `body` with `length` floats of unspecified value that belong to this thread; for the
/// inside of one task. (A nested call gets fresh memory.)
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
        let bytes = first.into_bytes();
        assert_eq!(bytes.len(), 4 * LENGTH);
        drop(bytes);
        assert_eq!(take(LENGTH).as_ptr(), address);
    }

    #[test]
    fn cloned_bytes_are_a_copy() {
        let mut buffer = take(20_000);
        buffer[3] = 1.5;
        let bytes = buffer.into_bytes();
        let mut copy = bytes.clone();
        copy[12..16].copy_from_slice(&2.5f32.to_ne_bytes());
        assert_eq!(bytes[12..16], 1.5f32.to_ne_bytes());
    }
}
