//! Where rows of features come from: memory, or a file that is read block by block.
//!
//! Called by `search`, which goes through the training rows in order and keeps one block of them.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{EvalError, Features};

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
    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), EvalError>;
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

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), EvalError> {
        out.copy_from_slice(&self.values[first * self.dim..][..out.len()]);
        Ok(())
    }
}

/// `rows × dim` little-endian `f32` numbers somewhere in a file, row after row.
#[derive(Debug)]
pub struct FileRows {
    /// The open file.
    pub file: File,
    /// What to call it in a message.
    pub name: String,
    /// Bytes before the first number.
    pub offset: u64,
    /// Number of rows.
    pub rows: usize,
    /// Numbers in each row.
    pub dim: usize,
    /// Class of each row, where it is known.
    pub labels: Option<Vec<i64>>,
}

/// Numbers that are converted together.
const PIECE: usize = 16 * 1024;

impl FileRows {
    /// The rows from `first` on.
    ///
    /// # Errors
    /// What the system says, or that the file ends too early.
    pub fn read_rows(&self, first: usize, out: &mut [f32]) -> io::Result<()> {
        let mut bytes = vec![0; 4 * PIECE.min(out.len())];
        let mut at = self.offset + 4 * (first * self.dim) as u64;
        for piece in out.chunks_mut(PIECE) {
            let bytes = &mut bytes[..4 * piece.len()];
            self.file.read_exact_at(bytes, at)?;
            for (number, bytes) in piece.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *number = f32::from_le_bytes(*bytes);
            }
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// All rows, in memory.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn load(&self) -> Result<Features, EvalError> {
        let mut values = vec![0.0; self.rows * self.dim];
        self.read(0, &mut values)?;
        Ok(Features { rows: self.rows, dim: self.dim, values, labels: self.labels.clone() })
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

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), EvalError> {
        self.read_rows(first, out).map_err(|error| EvalError::Read {
            name: self.name.clone(),
            first,
            last: first + out.len() / self.dim.max(1),
            what: error.to_string(),
        })
    }
}
