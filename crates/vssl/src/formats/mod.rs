//! The file formats that this crate both writes and reads. Each module holds the reader beside the
//! writer of one format, and knows nothing of what the numbers mean.

pub mod csv;
mod hex;
pub mod html;
pub mod npy;
pub mod safetensors;

pub use hex::hex;

use std::io;

use ::safetensors::Dtype;

/// One array of a file: its type, its shape and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// Type of a number. A `.npy` file uses the same names.
    pub kind: Dtype,
    /// Sizes, the outermost first.
    pub shape: Vec<usize>,
    /// Bytes of the file before the first number.
    pub offset: u64,
}

impl Array {
    /// Bytes of the file up to the end of this array; `None` for a size that no file can have.
    pub fn end(&self) -> Option<u64> {
        let sizes = self.shape.iter().map(|&size| size as u64);
        let bytes = sizes.chain([self.kind.bitsize() as u64 / 8]).try_fold(1, u64::checked_mul)?;
        bytes.checked_add(self.offset)
    }
}

/// Why the header of a file cannot be used.
#[derive(Debug)]
pub enum HeaderError {
    /// The operating system refused to read it.
    Io(io::Error),
    /// The text says what is wrong with the header.
    Malformed(String),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Malformed("it ends within its header".to_owned()),
            _ => Self::Io(error),
        }
    }
}

/// The numbers as little-endian bytes.
pub fn bytes<const N: usize, T: Copy>(values: &[T], each: fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| each(value)).collect()
}
