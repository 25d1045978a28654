//! Weighted nearest neighbours by cosine, with the settings of `[knn]` ([`crate::eval::knn`]).

use std::sync::Arc;

use super::{Entry, Evaluator, Figure, Judgement, Splits, Unit};
use crate::{
    eval::{EvalError, confusion::Confusion, knn, neighbours::Distance},
    recipe::KnnSection,
};

pub(super) const ENTRY: Entry =
    Entry { name: "knn", figures: FIGURES, configure: |settings| Arc::new(Knn::of(&settings.knn)) };

const FIGURES: &[Figure] = &[Figure {
    name: "knn_top1",
    title: "kNN",
    long_title: "Nearest neighbours",
    unit: Unit::Percent,
}];

/// One cell of the grid of `vssl knn`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knn {
    /// Number of neighbours that vote.
    pub k: usize,
    /// Temperature of their weights.
    pub temperature: f64,
}

impl Knn {
    /// Returns the evaluator with the settings of a recipe.
    pub fn of(section: &KnnSection) -> Self {
        Self { k: section.k, temperature: section.temperature }
    }

    /// Top-1 on the validation images, percent.
    ///
    /// # Errors
    /// Features or labels that cannot be judged.
    pub fn top1(&self, splits: &Splits) -> Result<f64, EvalError> {
        Ok(self.judged(splits)?.0)
    }

    /// Top-1 on the validation images, percent, and the classes that they were given.
    fn judged(&self, splits: &Splits) -> Result<(f64, Confusion), EvalError> {
        let Splits { train, validation } = splits;
        let (ks, temperatures) = ([self.k], [self.temperature]);
        let found = knn::judged(train, validation, &[Distance::Cosine], &ks, &temperatures)?;
        Ok((found.cells[0].accuracy.top1, found.confusion(0)))
    }
}

impl Evaluator for Knn {
    fn figures(&self) -> &'static [Figure] {
        FIGURES
    }

    fn run(&self, splits: &Splits) -> Result<Vec<(&'static str, f64)>, EvalError> {
        Ok(vec![(FIGURES[0].name, self.top1(splits)?)])
    }

    fn judge(&self, splits: &Splits) -> Result<Judgement, EvalError> {
        let (top1, confusion) = self.judged(splits)?;
        let classifier = format!("nearest neighbours, k = {}, T = {}", self.k, self.temperature);
        let figures = vec![(FIGURES[0].name, top1)];
        Ok(Judgement { figures, classes: Some((classifier, confusion)) })
    }

    fn judges_pixels(&self) -> bool {
        true
    }
}
