//! Makes the buffers of [`crate::raw::buffer`] the storage of tensors. When a tensor is dropped, its memory
//! goes back to the store of buffers.
#![allow(
    unsafe_code,
    reason = "Burn's storage of tensors is an unsafe trait; the arithmetic is in raw"
)]

use std::mem::MaybeUninit;

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};

use crate::raw::buffer::{Buffer, SMALLEST_KEPT};

/// Returns the same memory as the storage of a tensor.
pub fn bytes(buffer: Buffer) -> Bytes {
    if buffer.len() < SMALLEST_KEPT {
        return Bytes::from_elems(buffer.into_vec());
    }
    let length = size_of_val(&*buffer);
    // SAFETY: all `length` bytes are initialised floats.
    unsafe { Bytes::from_controller(Box::new(Recycled(buffer)), length) }
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
        let floats: &mut [f32] = &mut self.0;
        let (start, length) = (floats.as_mut_ptr().cast(), size_of_val(floats));
        // SAFETY: the same memory; callers write initialised bytes only, and any bytes are floats.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, length) })
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let floats: &[f32] = &self.0;
        // SAFETY: the same memory, read as bytes.
        Ok(unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), size_of_val(floats)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::buffer::take;

    #[test]
    fn the_memory_of_dropped_bytes_serves_the_next_request_of_its_size() {
        const LENGTH: usize = 99_999_999; // a size of this test's own: the store is the process's
        let first = take(LENGTH);
        let address = first.as_ptr();
        let bytes = bytes(first);
        assert_eq!(bytes.len(), 4 * LENGTH);
        drop(bytes);
        assert_eq!(take(LENGTH).as_ptr(), address);
    }

    #[test]
    fn cloned_bytes_are_a_copy() {
        let mut buffer = take(20_000);
        buffer[3] = 1.5;
        let bytes = bytes(buffer);
        let mut copy = bytes.clone();
        copy[12..16].copy_from_slice(&2.5f32.to_ne_bytes());
        assert_eq!(bytes[12..16], 1.5f32.to_ne_bytes());
    }
}
