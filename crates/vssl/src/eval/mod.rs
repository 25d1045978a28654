//! Evaluation of frozen features on the host: nearest neighbours, linear probe, spectrum.
//!
//! Nothing here knows how features came about, and nothing depends on the number of threads: work
//! is cut into fixed pieces and summed in a fixed order. The probe's matrix products are Burn's on its
//! CPU back end, those of the neighbours `vssl-kernels`'.

mod candidates;
mod coarse;
mod lbfgs;
mod npy;

pub mod knn;
pub mod linear;
mod logistic;
mod ranked;
mod screen;
mod search;
mod source;
pub mod spectrum;
mod spill;
pub mod stored;
pub mod topk;

pub use source::{FileRows, Source};
pub(crate) use spill::Keeper;
pub use spill::Kept;

use burn::tensor::{Device, Tensor, TensorData};

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

/// A class index above this is taken for a mistake (votes and weights are kept for every class).
const MOST_CLASSES: i64 = 1 << 20;

/// What can be wrong with what an evaluation is given.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
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
    /// No rows, or rows without numbers.
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
    /// The same in a file of features.
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
    /// An evaluation by class of data without classes.
    #[error("{set}: no labels; this evaluation needs the class of every image")]
    NoLabels {
        /// Which set of features.
        set: &'static str,
    },
    /// A label that is no class.
    #[error("{set}: label of row {row} is {label}; expected a class index from 0 to {most}")]
    BadLabel {
        /// Which set of features.
        set: &'static str,
        /// Index of the row.
        row: usize,
        /// The label.
        label: i64,
        /// Largest label that would do.
        most: i64,
    },
    /// Rows that could not be read from their file.
    #[error("{name}: reading rows {first} to {last}: {what}; was the file cut short or moved?")]
    Read {
        /// The file.
        name: String,
        /// First of the rows.
        first: usize,
        /// One after the last.
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
        /// Where the file was to be.
        folder: String,
        /// What the system said.
        what: String,
    },
    /// A setting out of range.
    #[error("{field} is {got}; expected {expected}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// Its value.
        got: f64,
        /// What it has to be.
        expected: &'static str,
    },
}

/// Shares of test images in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    /// The right class comes first.
    pub top1: f64,
    /// The right class is among the first five (or among all, where there are fewer).
    pub top5: f64,
}

impl Features {
    /// One image's feature.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// Refuses features that are empty, of the wrong length or not finite.
    ///
    /// # Errors
    /// The first problem; `set` says whose features they are.
    pub fn check(&self, set: &'static str) -> Result<(), EvalError> {
        let (rows, dim) = (self.rows, self.dim);
        if rows == 0 || dim == 0 {
            return Err(EvalError::Empty { set, rows, dim });
        }
        let length = |what, got, expected| match got == expected {
            true => Ok(()),
            false => Err(EvalError::Length { set, what, got, expected }),
        };
        length("values", self.values.len(), rows * dim)?;
        if let Some(labels) = &self.labels {
            length("labels", labels.len(), rows)?;
        }
        check_finite(set, 0, dim, &self.values)
    }
}

/// Refuses numbers that are not finite; `first` is the index of the first row.
fn check_finite(
    set: &'static str,
    first: usize,
    dim: usize,
    values: &[f32],
) -> Result<(), EvalError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let (row, column, value) = (first + at / dim, at % dim, values[at]);
            Err(EvalError::NotFinite { set, row, column, value })
        }
    }
}

/// The class of every row.
fn classes(source: &dyn Source, set: &'static str) -> Result<Vec<usize>, EvalError> {
    let labels = source.labels().ok_or(EvalError::NoLabels { set })?;
    let (what, got, expected) = ("labels", labels.len(), source.rows());
    if got != expected {
        return Err(EvalError::Length { set, what, got, expected });
    }
    let class = |(row, &label): (usize, &i64)| match usize::try_from(label) {
        Ok(class) if label < MOST_CLASSES => Ok(class),
        _ => Err(EvalError::BadLabel { set, row, label, most: MOST_CLASSES - 1 }),
    };
    labels.iter().enumerate().map(class).collect()
}

/// The classes of two sets that belong together.
struct Labelled {
    train: Vec<usize>,
    test: Vec<usize>,
    classes: usize,
}

impl Labelled {
    fn of(train: &dyn Source, test: &dyn Source) -> Result<Self, EvalError> {
        for (source, set) in [(train, "training features"), (test, "test features")] {
            let (rows, dim) = (source.rows(), source.dim());
            if rows == 0 || dim == 0 {
                return Err(EvalError::Empty { set, rows, dim });
            }
        }
        let (train, test) = (classes(train, "training features")?, classes(test, "test features")?);
        let classes = 1 + train.iter().chain(&test).copied().max().unwrap_or(0);
        Ok(Self { train, test, classes })
    }
}

fn same_width(train: &Features, test: &Features) -> Result<(), EvalError> {
    train.check("training features")?;
    test.check("test features")?;
    if train.dim == test.dim {
        return Ok(());
    }
    let (set, what) = ("test features", "width");
    Err(EvalError::Length { set, what, got: test.dim, expected: train.dim })
}

/// A matrix on the CPU back end, for a product.
fn matrix(values: Vec<f32>, rows: usize, columns: usize) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
}

/// The numbers of a product, row after row.
fn numbers(product: Tensor<2>) -> Vec<f32> {
    product.into_data().try_into_vec().expect("products of f32 matrices are f32")
}
