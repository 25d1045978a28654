//! The columns of a table: the figures of the evaluators, and what every run has.

use std::collections::BTreeMap;

use crate::{
    eval::evaluators::{Unit, shown},
    run::events::Summary,
};

/// One figure of a row on a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// For programs, as `summary.json` and `metrics.jsonl` call it.
    pub key: String,
    /// For people.
    pub title: String,
    /// Digits behind the point.
    pub(super) digits: usize,
    /// Whether the largest figure is the best.
    pub(super) is_ranked: bool,
    /// Whether a table that people read has the column even if no row has a figure in it.
    pub(super) is_usual: bool,
}

/// The figures of one run, by the keys of the columns.
pub(super) type Values = BTreeMap<String, f64>;

/// The probe that learnt beside the encoder.
pub(super) const ONLINE: &str = "online_top1";
/// Linear evaluation afterwards, with augmented images: `linear/` in the run folder.
pub(super) const OFFLINE: &str = "offline_top1";
/// Effective rank of the features of the last batch that it was measured on.
pub(super) const EFFECTIVE_RANK: &str = "effective_rank";
/// Seconds of training.
pub(super) const SECONDS: &str = "seconds";
/// Images (not views) a second.
pub(super) const IMAGES_PER_SECOND: &str = "images_per_s";

/// The columns of a table of runs with these summaries.
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
