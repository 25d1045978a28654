//! Sources of rows of features: memory, or a file that is read block by block.
//!
//! A search goes through the rows of a [`Source`] in order and keeps one block of them. Files come from
//! [`open`](super::open) and from the spill writer.

use std::{fs::File, io, os::unix::fs::FileExt};

use burn::tensor::f16;

use super::{FeatureError, Features};

/// Rows of features that can be read a block at a time, in any order, with the same result every time.
pub trait Source: Sync {
    /// Returns the number of rows.
    fn rows(&self) -> usize;

    /// Returns the number of entries in each row.
    fn dim(&self) -> usize;

    /// Returns the class of each row, where it is known.
    fn labels(&self) -> Option<&[i64]>;

    /// Copies the rows from `first` on into `out`, which holds whole rows.
    ///
    /// # Errors
    /// The rows cannot be read.
    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), FeatureError>;
}

impl Source for Features {
    fn rows(&self) -> usize {
        self.rows
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn labels(&self) -> Option<&[i64]> {
        self.labels.as_deref()
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), FeatureError> {
        out.copy_from_slice(&self.values[first * self.dim..][..out.len()]);
        Ok(())
    }
}

/// `rows × dim` little-endian numbers somewhere in a file, row after row.
#[derive(Debug)]
pub struct FileRows {
    /// The open file.
    pub(super) file: File,
    /// The name of the file in messages.
    pub(super) name: String,
    /// The number of bytes before the first number.
    pub(super) offset: u64,
    /// The type in which a number is stored.
    pub(super) number: Number,
    /// The number of rows.
    pub(super) rows: usize,
    /// The number of entries in each row.
    pub(super) dim: usize,
    /// The class of each row, where it is known.
    pub(super) labels: Option<Vec<i64>>,
}

/// The types of numbers in a file. All become `f32`; wider types are rounded to the nearest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    F16,
    F32,
    F64,
}

/// The count of numbers that are converted together.
const PIECE: usize = 16 * 1024;

impl FileRows {
    /// Reads all rows into memory.
    ///
    /// # Errors
    /// The errors of [`Source::read`].
    pub fn load(&self) -> Result<Features, FeatureError> {
        let mut values = vec![0.0; self.rows * self.dim];
        self.read(0, &mut values)?;
        Ok(Features { rows: self.rows, dim: self.dim, values, labels: self.labels.clone() })
    }

    /// Reads numbers into `out`, starting at number `first`.
    fn numbers(&self, first: usize, out: &mut [f32]) -> io::Result<()> {
        let width = self.number.width();
        let mut bytes = vec![0; width * PIECE.min(out.len())];
        let mut at = self.offset + (width * first) as u64;
        for piece in out.chunks_mut(PIECE) {
            let bytes = &mut bytes[..width * piece.len()];
            self.file.read_exact_at(bytes, at)?;
            self.number.convert(bytes, piece);
            at += bytes.len() as u64;
        }
        Ok(())
    }
}

impl Number {
    /// Returns the number of bytes of a number.
    fn width(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn convert(self, bytes: &[u8], out: &mut [f32]) {
        fn each<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
            out.iter_mut().zip(bytes.as_chunks().0).for_each(|(out, &bytes)| *out = number(bytes));
        }
        match self {
            Self::F16 => each(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Self::F32 => each(bytes, out, f32::from_le_bytes),
            Self::F64 => each(bytes, out, |bytes| f64::from_le_bytes(bytes) as f32),
        }
    }
}

impl Source for FileRows {
    fn rows(&self) -> usize {
        self.rows
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn labels(&self) -> Option<&[i64]> {
        self.labels.as_deref()
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), FeatureError> {
        let (name, dim) = (|| self.name.clone(), self.dim.max(1));
        self.numbers(first * self.dim, out).map_err(|error| FeatureError::Read {
            name: name(),
            first,
            last: first + out.len() / dim,
            what: error.to_string(),
        })?;
        match out.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let (row, column, value) = (first + at / dim, at % dim, out[at]);
                Err(FeatureError::StoredNotFinite { name: name(), row, column, value })
            }
        }
    }
}
