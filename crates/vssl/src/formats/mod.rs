//! The file formats that this crate both writes and reads, and pickles, which `vssl_data` reads. Each module holds
//! the reader and the writer of one format, and does not know the meaning of the numbers.

pub mod csv;
mod hex;
pub mod html;
pub mod npy;
pub mod safetensors;

pub use hex::hex;
pub use vssl_data::pickle;

use std::io;

use ::safetensors::Dtype;

/// An array in a file: its type, its shape and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// The type of a number. A `.npy` file uses the same names.
    pub kind: Dtype,
    /// The sizes of the axes, the outermost first.
    pub shape: Vec<usize>,
    /// The number of bytes of the file before the first number.
    pub offset: u64,
}

impl Array {
    /// Returns the number of bytes of the file up to the end of this array; `None` if it is too large for any
    /// file.
    pub fn end(&self) -> Option<u64> {
        let sizes = self.shape.iter().map(|&size| size as u64);
        let bytes = sizes.chain([self.kind.bitsize() as u64 / 8]).try_fold(1, u64::checked_mul)?;
        bytes.checked_add(self.offset)
    }
}

/// Why the header of a file cannot be used.
#[derive(Debug)]
pub enum HeaderError {
    /// The operating system refused to read the header.
    Io(io::Error),
    /// The header is not valid; the text names the fault.
    Malformed(String),
    /// The header is valid, and describes an array that is not read: the text tells how it is stored, and how it can
    /// be stored instead.
    Unread(String),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Malformed("it ends within its header".to_owned()),
            _ => Self::Io(error),
        }
    }
}

/// Returns the numbers as little-endian bytes.
pub fn bytes<const N: usize, T: Copy>(values: &[T], each: fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| each(value)).collect()
}
