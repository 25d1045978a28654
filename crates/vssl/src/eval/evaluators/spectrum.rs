//! How much of the feature space the validation images use ([`crate::eval::spectrum`]).

use std::sync::Arc;

use super::{Entry, Evaluator, Figure, Splits, Unit};
use crate::eval::{EvalError, spectrum::spectrum};

pub(super) const ENTRY: Entry =
    Entry { name: "spectrum", figures: FIGURES, configure: |_| Arc::new(Spectrum) };

const FIGURES: &[Figure] = &[
    figure("spectrum_rank", "rank", "Effective rank, all validation images"),
    figure("spectrum_spread", "spread", "Spread, all validation images"),
    figure("spectrum_cosine", "cosine", "Mean cosine, all validation images"),
];

const fn figure(name: &'static str, title: &'static str, long_title: &'static str) -> Figure {
    Figure { name, title, long_title, unit: Unit::Number }
}

/// Effective rank, spread and mean cosine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spectrum;

impl Evaluator for Spectrum {
    fn figures(&self) -> &'static [Figure] {
        FIGURES
    }

    fn run(&self, splits: &Splits) -> Result<Vec<(&'static str, f64)>, EvalError> {
        let found = spectrum(&splits.validation)?;
        let values = [found.effective_rank, found.spread, found.mean_cosine];
        Ok(FIGURES.iter().map(|figure| figure.name).zip(values).collect())
    }
}
