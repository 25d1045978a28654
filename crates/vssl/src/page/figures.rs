//! The figures of a run's result as the page shows them, each beside the same figure of the encoder before its first
//! step and of the pixels.

use serde::Serialize;

use crate::{
    eval::evaluators::{Judged, Shown, Unit, shown},
    run::events::Summary,
};

/// A figure of the result.
#[derive(Clone, Debug, Serialize)]
pub struct FigureView {
    /// Key of the figure in `summary.json`.
    name: String,
    title: String,
    long_title: String,
    /// Whether the figure is an accuracy in percent.
    percent: bool,
    trained: Option<f64>,
    /// Of the encoder before its first step, untrained or as the run took it over.
    before: Option<f64>,
    pixels: Option<f64>,
}

/// All figures of `summary`. Without a summary, the usual figures without values.
pub(super) fn figures(summary: Option<&Summary>) -> Vec<FigureView> {
    let value = |judged: Judged, name: &str| summary?.figure(&judged.key(name));
    let view = |figure: Shown| FigureView {
        percent: figure.unit == Unit::Percent,
        trained: value(Judged::Trained, &figure.name),
        before: value(Judged::Untrained, &figure.name)
            .or_else(|| value(Judged::Before, &figure.name)),
        pixels: value(Judged::Pixels, &figure.name),
        name: figure.name,
        title: figure.title,
        long_title: figure.long_title,
    };
    shown(summary.into_iter()).into_iter().map(view).collect()
}
