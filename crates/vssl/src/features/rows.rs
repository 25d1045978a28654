//! Where rows of features come from: memory, or a file that is read block by block.
//!
//! A search goes through the rows of a [`Source`] in order and keeps one block of them. Files come from
//! [`open`](super::open) and from the spill writer.

use std::{fs::File, io, os::unix::fs::FileExt};

use burn::tensor::f16;

use super::{FeatureError, Features};

/// Rows of features that can be read a block at a time, in any order, the same ones every time.
pub trait Source: Sync {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// Numbers in each row.
    fn dim(&self) -> usize;

    /// Class of each row, where it is known.
    fn labels(&self) -> Option<&[i64]>;

    /// Copies the rows from `first` on into `out`, which holds whole rows.
    ///
    /// # Errors
    /// What cannot be read.
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
    /// What to call it in a message.
    pub(super) name: String,
    /// Bytes before the first number.
    pub(super) offset: u64,
    /// How a number is stored.
    pub(super) number: Number,
    /// Number of rows.
    pub(super) rows: usize,
    /// Numbers in each row.
    pub(super) dim: usize,
    /// Class of each row, where it is known.
    pub(super) labels: Option<Vec<i64>>,
}

/// How a number of a file is stored; all become `f32`, the wide ones by rounding to nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    F16,
    F32,
    F64,
}

/// Numbers that are converted together.
const PIECE: usize = 16 * 1024;

impl FileRows {
    /// All rows, in memory.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn load(&self) -> Result<Features, FeatureError> {
        let mut values = vec![0.0; self.rows * self.dim];
        self.read(0, &mut values)?;
        Ok(Features { rows: self.rows, dim: self.dim, values, labels: self.labels.clone() })
    }

    /// The numbers from number `first` on.
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
    /// Bytes of one.
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
