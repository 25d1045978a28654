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

/// Returns the memory of `values` as the storage of a tensor. When the tensor is dropped, `give_back` gets it.
pub fn lent(values: Vec<f32>, give_back: impl FnOnce(Vec<f32>) + Send + Sync + 'static) -> Bytes {
    let length = size_of_val(values.as_slice());
    let lent = Lent { values, give_back: Some(Box::new(give_back)) };
    // SAFETY: all `length` bytes are initialised floats.
    unsafe { Bytes::from_controller(Box::new(lent), length) }
}

struct Lent {
    values: Vec<f32>,
    /// `None` once it was called.
    give_back: Option<Box<dyn FnOnce(Vec<f32>) + Send + Sync>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(give_back) = self.give_back.take() {
            give_back(std::mem::take(&mut self.values));
        }
    }
}

impl AllocationController for Lent {
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
        Ok(bytes_mut(&mut self.values))
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        Ok(bytes_ref(&self.values))
    }
}

/// Returns floats as bytes, to which any bytes may be written: all of them are floats.
fn bytes_mut(floats: &mut [f32]) -> &mut [MaybeUninit<u8>] {
    let (start, length) = (floats.as_mut_ptr().cast(), size_of_val(floats));
    // SAFETY: the same memory; a caller of `memory_mut` promises to write initialised bytes only.
    unsafe { std::slice::from_raw_parts_mut(start, length) }
}

fn bytes_ref(floats: &[f32]) -> &[MaybeUninit<u8>] {
    // SAFETY: the same memory, read as bytes.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), size_of_val(floats)) }
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
        Ok(bytes_mut(&mut self.0))
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        Ok(bytes_ref(&self.0))
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
    fn lent_memory_is_used_in_place_and_comes_back() {
        let (send, receive) = std::sync::mpsc::channel();
        let values = vec![1.5f32, 2.5];
        let address = values.as_ptr();
        let bytes = lent(values, move |values| send.send(values).unwrap());
        assert_eq!(bytes[4..], 2.5f32.to_ne_bytes());
        assert_eq!(bytes.as_ptr(), address.cast());
        let copy = bytes.clone();
        drop(bytes);
        let values = receive.recv().unwrap();
        assert_eq!((values.as_ptr(), values.as_slice()), (address, &[1.5, 2.5][..]));
        assert_eq!(copy[..4], 1.5f32.to_ne_bytes());
        drop(copy);
        assert!(receive.recv().is_err(), "only the memory itself comes back");
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
