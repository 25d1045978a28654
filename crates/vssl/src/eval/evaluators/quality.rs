//! How good features are, judged without labels ([`crate::eval::quality`]).

use std::sync::Arc;

use super::{Entry, Evaluator, Figure, Splits, Unit};
use crate::eval::{
    EvalError,
    quality::{PUBLISHED_RANGE, alpha_req, covariance_spectrum, rank_me},
};

pub(super) const ENTRY: Entry =
    Entry { name: "quality", figures: FIGURES, configure: |_| Arc::new(Quality) };

const FIGURES: &[Figure] = &[
    figure("rankme", "RankMe", "RankMe, all validation images"),
    figure("alpha_req", "alpha-ReQ", "alpha-ReQ, all validation images"),
];

const fn figure(name: &'static str, title: &'static str, long_title: &'static str) -> Figure {
    Figure { name, title, long_title, unit: Unit::Number }
}

/// RankMe and α-ReQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality;

impl Evaluator for Quality {
    fn figures(&self) -> &'static [Figure] {
        FIGURES
    }

    fn run(&self, splits: &Splits) -> Result<Vec<(&'static str, f64)>, EvalError> {
        let features = &splits.validation;
        let alpha = alpha_req(&covariance_spectrum(features)?, PUBLISHED_RANGE);
        let values = [rank_me(features)?, alpha.weighted];
        Ok(FIGURES.iter().map(|figure| figure.name).zip(values).collect())
    }
}
