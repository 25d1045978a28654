//! Features: numbers that an encoder made of images, in memory or in a file.
//!
//! Encoders make them, evaluations judge them, the embedding projector and the search show them. This
//! module knows no encoder and no judgement.

mod rows;
mod spill;
mod stored;

pub use rows::{FileRows, Source};
pub use spill::{FeatureRows, SpillWriter};
pub use stored::{StoredError, open};

/// Features of a set of images, one row an image.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Number of images.
    pub rows: usize,
    /// Numbers in each feature.
    pub dim: usize,
    /// `rows × dim` numbers, row after row.
    pub values: Vec<f32>,
    /// Class of each image, from 0; `None` for a data set without classes.
    pub labels: Option<Vec<i64>>,
}

/// A class index of this size or above is taken for a mistake (votes and weights are kept for every
/// class).
pub const MOST_CLASSES: i64 = 1 << 20;

/// What can be wrong with features.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// Lengths that do not agree.
    #[error("{set}: {what} has {got} entries, expected {expected}")]
    Length {
        /// Which set of features.
        set: &'static str,
        /// Values, labels or width.
        what: &'static str,
        /// Entries found.
        got: usize,
        /// Entries that have to be there.
        expected: usize,
    },
    /// A set without rows, or rows without numbers.
    #[error("{set}: no features ({rows} rows of {dim}); is the data set empty?")]
    Empty {
        /// Which set of features.
        set: &'static str,
        /// Number of rows.
        rows: usize,
        /// Numbers in each row.
        dim: usize,
    },
    /// A feature or score that is not a finite number.
    #[error(
        "{set}: row {row}, column {column} is {value}; the model has diverged, evaluate an earlier checkpoint"
    )]
    NotFinite {
        /// Which set of features.
        set: &'static str,
        /// Index of the row.
        row: usize,
        /// Index within the row.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A number of a file that is not finite.
    #[error(
        "{name}: row {row}, column {column} is {value}; expected finite single-precision numbers"
    )]
    StoredNotFinite {
        /// The file.
        name: String,
        /// Index of the row.
        row: usize,
        /// Index within the row.
        column: usize,
        /// The value, as single precision holds it.
        value: f32,
    },
    /// Rows that could not be read from their file.
    #[error("{name}: reading rows {first} to {last}: {what}; was the file cut short or moved?")]
    Read {
        /// The file.
        name: String,
        /// Index of the first row.
        first: usize,
        /// One after the index of the last row.
        last: usize,
        /// What the system said.
        what: String,
    },
    /// Rows that could not be kept in a temporary file.
    #[error(
        "{folder}: keeping features in a temporary file: {what}; free some space there, name \
         another folder in TMPDIR, or allow more memory"
    )]
    Spill {
        /// The folder of the temporary file.
        folder: String,
        /// What the system said.
        what: String,
    },
}

impl Features {
    /// One image's feature.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// Refuses features that are empty, of the wrong length or not finite.
    ///
    /// # Errors
    /// The first problem; `set` says whose features they are.
    pub fn check(&self, set: &'static str) -> Result<(), FeatureError> {
        let (rows, dim) = (self.rows, self.dim);
        check_size(self, set)?;
        let length = |what, got, expected| match got == expected {
            true => Ok(()),
            false => Err(FeatureError::Length { set, what, got, expected }),
        };
        length("values", self.values.len(), rows * dim)?;
        if let Some(labels) = &self.labels {
            length("labels", labels.len(), rows)?;
        }
        check_finite(set, 0, dim, &self.values)
    }
}

/// Refuses a set without rows or numbers.
///
/// # Errors
/// [`FeatureError::Empty`]; `set` says whose features they are.
pub fn check_size(source: &dyn Source, set: &'static str) -> Result<(), FeatureError> {
    match (source.rows(), source.dim()) {
        (rows, dim) if rows == 0 || dim == 0 => Err(FeatureError::Empty { set, rows, dim }),
        _ => Ok(()),
    }
}

/// Refuses numbers that are not finite. `values` are rows of `dim` numbers, and `first` is the index of
/// the first of these rows.
///
/// # Errors
/// [`FeatureError::NotFinite`]; `set` says whose features they are.
pub fn check_finite(
    set: &'static str,
    first: usize,
    dim: usize,
    values: &[f32],
) -> Result<(), FeatureError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let (row, column, value) = (first + at / dim, at % dim, values[at]);
            Err(FeatureError::NotFinite { set, row, column, value })
        }
    }
}
