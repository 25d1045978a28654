//! A logistic regression on the features, fitted to its minimum ([`crate::eval::linear`]).

use std::sync::Arc;

use super::{Entry, Evaluator, Figure, Judgement, Splits, Unit};
use crate::{
    eval::{
        EvalError,
        linear::{LinearConfig, linear_probe_watched},
    },
    run::task::Task,
};

pub(super) const ENTRY: Entry = Entry {
    name: "linear",
    figures: FIGURES,
    configure: |_| Arc::new(Linear(LinearConfig::default())),
};

const FIGURES: &[Figure] = &[Figure {
    name: "linear_top1",
    title: "linear",
    long_title: "Linear classifier",
    unit: Unit::Percent,
}];

/// The linear probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear(pub LinearConfig);

impl Evaluator for Linear {
    fn figures(&self) -> &'static [Figure] {
        FIGURES
    }

    fn run(&self, splits: &Splits) -> Result<Vec<(&'static str, f64)>, EvalError> {
        Ok(self.judge(splits)?.figures)
    }

    fn judge(&self, splits: &Splits) -> Result<Judgement, EvalError> {
        self.judge_watched(splits, &Task::default())
    }

    fn judge_watched(&self, splits: &Splits, task: &Task) -> Result<Judgement, EvalError> {
        let found = linear_probe_watched(&splits.train, &splits.validation, &self.0, task)?;
        let classifier = format!("linear classifier, L2 penalty {}", found.l2);
        let figures = vec![(FIGURES[0].name, found.accuracy.top1)];
        Ok(Judgement { figures, classes: Some((classifier, found.confusion)) })
    }
}
