//! The 32-bit words of a message, and the mark in front of them. Called by [`super::Group`].

use burn::tensor::{DType, TensorData};

/// Returns a hash (FNV-1a) of the operation, its size and its number, on which all ranks have to agree.
pub(super) fn mark(operation: &str, words: usize, number: u64) -> u32 {
    let bytes = operation.bytes().chain(words.to_le_bytes()).chain(number.to_le_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Returns the numbers of a message, in the precision in which they were sent.
pub(super) fn floats(words: Vec<u32>, dtype: DType, shape: [usize; 2]) -> TensorData {
    match dtype {
        DType::F64 => {
            let values: Vec<f64> = from_words(&words).into_iter().map(f64::from_bits).collect();
            TensorData::new(values, shape)
        }
        _ => TensorData::new(words.into_iter().map(f32::from_bits).collect(), shape),
    }
}

/// Splits each number into halves, the lower half first.
pub(super) fn to_words(numbers: impl Iterator<Item = u64>) -> Vec<u32> {
    numbers.flat_map(|number| [number as u32, (number >> 32) as u32]).collect()
}

/// Joins the halves of [`to_words`].
pub(super) fn from_words(words: &[u32]) -> Vec<u64> {
    let whole = |pair: &[u32]| u64::from(pair[0]) | u64::from(pair[1]) << 32;
    words.chunks_exact(2).map(whole).collect()
}
