//! The figures of the end of a run, as the page shows them: each with the same figure of the untrained
//! encoder and of the pixels.

use serde::Serialize;

use crate::{
    eval::evaluators::{Judged, Shown, Unit, shown},
    run::events::Summary,
};

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct FigureView {
    /// Its key in `summary.json`.
    name: String,
    title: String,
    long_title: String,
    /// Whether it is an accuracy in percent.
    percent: bool,
    trained: Option<f64>,
    untrained: Option<f64>,
    pixels: Option<f64>,
}

/// All figures of a summary. Before there is one, the usual figures without values.
pub(super) fn figures(summary: Option<&Summary>) -> Vec<FigureView> {
    let value = |judged: Judged, name: &str| summary?.figure(&judged.key(name));
    let view = |figure: Shown| FigureView {
        percent: figure.unit == Unit::Percent,
        trained: value(Judged::Trained, &figure.name),
        untrained: value(Judged::Untrained, &figure.name),
        pixels: value(Judged::Pixels, &figure.name),
        name: figure.name,
        title: figure.title,
        long_title: figure.long_title,
    };
    shown(summary.into_iter()).into_iter().map(view).collect()
}
