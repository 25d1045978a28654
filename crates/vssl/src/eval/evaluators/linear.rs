//! A logistic regression on the features, fitted to its minimum ([`crate::eval::linear`]).

use std::sync::Arc;

use super::{Entry, Evaluator, Figure, Splits, Unit};
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
        self.run_watched(splits, &Task::default())
    }

    fn run_watched(
        &self,
        splits: &Splits,
        task: &Task,
    ) -> Result<Vec<(&'static str, f64)>, EvalError> {
        let found = linear_probe_watched(&splits.train, &splits.validation, &self.0, task)?;
        Ok(vec![(FIGURES[0].name, found.accuracy.top1)])
    }
}
