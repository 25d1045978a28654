//! Evaluation of frozen features on the host: nearest neighbours, linear probe, spectrum.
//!
//! [`evaluators`] lists the evaluations that a run can end with; the other modules compute. Nothing here
//! knows how features came about, and nothing depends on the number of threads: work is cut into fixed
//! pieces and summed in a fixed order. Matrix products are `vssl-kernels`'.

pub mod common_classes;
pub mod confusion;
mod curvature;
pub mod evaluators;
pub mod knn;
mod lbfgs;
pub mod linear;
mod logistic;
pub mod neighbours;
pub mod quality;
pub mod spectrum;
mod standardised;
pub mod topk;
mod vectors;
mod votes;

pub use logistic::memory_of_a_fit;

use crate::features::{FeatureError, Features, MOST_CLASSES, Source, check_size};

/// What can be wrong with what an evaluation is given.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The features.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// An evaluation by class of data without classes.
    #[error("{set}: no labels; this evaluation needs the class of every image")]
    NoLabels {
        /// Which set of features.
        set: &'static str,
    },
    /// A label outside of the classes.
    #[error("{set}: label of row {row} is {label}; expected a class index from 0 to {most}")]
    BadLabel {
        /// Which set of features.
        set: &'static str,
        /// Index of the row.
        row: usize,
        /// The label.
        label: i64,
        /// The largest label that is allowed.
        most: i64,
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

/// The class of every row.
fn classes(source: &dyn Source, set: &'static str) -> Result<Vec<usize>, EvalError> {
    let labels = source.labels().ok_or(EvalError::NoLabels { set })?;
    let (what, got, expected) = ("labels", labels.len(), source.rows());
    if got != expected {
        return Err(FeatureError::Length { set, what, got, expected }.into());
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
        for (source, set) in [(train, "training features"), (test, "features to classify")] {
            check_size(source, set)?;
        }
        let (train, test) =
            (classes(train, "training features")?, classes(test, "features to classify")?);
        let classes = 1 + train.iter().chain(&test).copied().max().unwrap_or(0);
        Ok(Self { train, test, classes })
    }
}

fn same_width(train: &Features, test: &Features) -> Result<(), FeatureError> {
    train.check("training features")?;
    test.check("features to classify")?;
    if train.dim == test.dim {
        return Ok(());
    }
    let (set, what) = ("features to classify", "width");
    Err(FeatureError::Length { set, what, got: test.dim, expected: train.dim })
}
