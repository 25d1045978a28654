//! The columns of a table: figures of the evaluators, and figures that every run has.

use std::collections::BTreeMap;

use crate::{
    eval::evaluators::{Unit, shown},
    run::events::Summary,
};

/// A column: one figure of every row on a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Key of the figure in `summary.json` or `metrics.jsonl`.
    pub key: String,
    /// Title of the column.
    pub title: String,
    /// Number of digits behind the point.
    pub(super) digits: usize,
    /// Whether the largest figure is the best.
    pub(super) is_ranked: bool,
    /// Whether a table that people read has the column even if no row has a figure in it.
    pub(super) is_usual: bool,
}

/// The figures of one run, by the keys of the columns.
pub(super) type Values = BTreeMap<String, f64>;

/// Accuracy of the probe that was trained beside the encoder.
pub(super) const ONLINE: &str = "online_top1";
/// Accuracy of the linear evaluation after the run, which is in `linear/` of the run folder.
pub(super) const OFFLINE: &str = "offline_top1";
/// Effective rank of the features, as it was measured last.
pub(super) const EFFECTIVE_RANK: &str = "effective_rank";
/// Duration of the training in seconds.
pub(super) const SECONDS: &str = "seconds";
/// Images (not views) per second.
pub(super) const IMAGES_PER_SECOND: &str = "images_per_s";

/// The columns of a table of runs.
pub(super) fn columns<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Vec<Column> {
    let mut columns: Vec<Column> = shown(summaries)
        .into_iter()
        .map(|figure| match figure.unit {
            Unit::Percent => accuracy(figure.name, &figure.title, true),
            Unit::Number => Column { digits: 2, ..plain(&figure.name, &figure.title) },
        })
        .collect();
    columns.extend([
        accuracy(ONLINE.to_owned(), "online", true),
        accuracy(OFFLINE.to_owned(), "offline", false),
        plain(EFFECTIVE_RANK, "eff. rank"),
        plain(SECONDS, "seconds"),
        plain(IMAGES_PER_SECOND, "images/s"),
    ]);
    columns
}

fn accuracy(key: String, title: &str, is_usual: bool) -> Column {
    Column { key, title: format!("{title} %"), digits: 2, is_ranked: true, is_usual }
}

fn plain(key: &str, title: &str) -> Column {
    let (key, title) = (key.to_owned(), title.to_owned());
    Column { key, title, digits: 1, is_ranked: false, is_usual: true }
}
