//! Features: the numbers that an encoder computes from images, in memory or in a file.
//!
//! Encoders compute features; evaluations, the embedding projector and the search use them. This module
//! depends on none of these.

mod flat;
mod rows;
mod spill;
mod stored;

pub use flat::Flat;
pub use rows::{FileRows, Source};
pub use spill::{FeatureRows, SpillWriter};
pub use stored::{StoredError, open, read_labels};

/// Features of a set of images, one row an image.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// The number of images.
    pub rows: usize,
    /// The number of entries of each feature.
    pub dim: usize,
    /// `rows × dim` numbers, row after row.
    pub values: Vec<f32>,
    /// The class of each image, from 0; `None` for a data set without classes.
    pub labels: Option<Vec<i64>>,
}

/// The largest number of classes. A class index of this size or above is refused as a mistake, because votes
/// and weights are kept for every class.
pub const MOST_CLASSES: i64 = 1 << 20;

/// Why features cannot be used.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// The values, labels or width do not have the expected length.
    #[error("{set}: {what} has {got} entries, expected {expected}")]
    Length {
        /// The name of the set of features.
        set: &'static str,
        /// The part that has the wrong length: values, labels or width.
        what: &'static str,
        /// The number of entries that was found.
        got: usize,
        /// The number of entries that was expected.
        expected: usize,
    },
    /// A set has no rows, or its rows have no entries.
    #[error("{set}: no features ({rows} rows of {dim}); is the data set empty?")]
    Empty {
        /// The name of the set of features.
        set: &'static str,
        /// The number of rows.
        rows: usize,
        /// The number of entries in each row.
        dim: usize,
    },
    /// A feature or score is not a finite number.
    #[error(
        "{set}: row {row}, column {column} is {value}; the model has diverged, evaluate an earlier checkpoint"
    )]
    NotFinite {
        /// The name of the set of features.
        set: &'static str,
        /// The index of the row.
        row: usize,
        /// The index within the row.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A number of a file is not finite.
    #[error(
        "{name}: row {row}, column {column} is {value}; expected finite single-precision numbers"
    )]
    StoredNotFinite {
        /// The file.
        name: String,
        /// The index of the row.
        row: usize,
        /// The index within the row.
        column: usize,
        /// The value in single precision.
        value: f32,
    },
    /// Rows could not be read from their file.
    #[error("{name}: reading rows {first} to {last}: {what}; was the file cut short or moved?")]
    Read {
        /// The file.
        name: String,
        /// The index of the first row.
        first: usize,
        /// The index after the last row.
        last: usize,
        /// The error of the system.
        what: String,
    },
    /// Rows could not be kept in a temporary file.
    #[error(
        "{folder}: keeping features in a temporary file: {what}; free some space there, name \
         another folder in TMPDIR, or allow more memory"
    )]
    Spill {
        /// The folder of the temporary file.
        folder: String,
        /// The error of the system.
        what: String,
    },
}

impl Features {
    /// Returns the feature of one image.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// Checks that the features are not empty, have the right length and are finite.
    ///
    /// # Errors
    /// The first problem; `set` is the name of the features in the message.
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

/// Checks that a set has rows and that its rows have entries.
///
/// # Errors
/// [`FeatureError::Empty`]; `set` is the name of the features in the message.
pub fn check_size(source: &dyn Source, set: &'static str) -> Result<(), FeatureError> {
    match (source.rows(), source.dim()) {
        (rows, dim) if rows == 0 || dim == 0 => Err(FeatureError::Empty { set, rows, dim }),
        _ => Ok(()),
    }
}

/// Checks that numbers are finite. `values` are rows of `dim` numbers, and `first` is the index of the first
/// of these rows.
///
/// # Errors
/// [`FeatureError::NotFinite`]; `set` is the name of the features in the message.
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
