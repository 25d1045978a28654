//! Figures over seeds, and the places of rows.
//!
//! A figure has a mean and a sample standard deviation `√(Σ(x − mean)² / (n − 1))`, which needs two
//! seeds.

use std::{cmp::Ordering, collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use super::{Column, Row, group::Group};

/// A figure over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Mean over the seeds that have the figure.
    pub mean: f64,
    /// Sample standard deviation; `None` with one seed.
    pub std: Option<f64>,
    /// Number of seeds that have the figure.
    pub count: usize,
}

impl Figure {
    /// The figure of one value for each seed; `None` without values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        Some(Self { mean, std, count })
    }

    /// The mean as the table shows it, so that rows with the same text have the same place.
    fn shown(&self, column: &Column) -> f64 {
        let text = format!("{:.*}", column.digits, self.mean);
        text.parse().expect("a number in decimal form is a number")
    }
}

/// A figure and its place among the rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Placed {
    /// The figure.
    #[serde(flatten)]
    pub figure: Figure,
    /// Place of the row, 1 for the best. Rows with the same text share a place, and the places after it
    /// stay empty. `None` in columns where more is not better, and in reference rows.
    pub place: Option<usize>,
}

impl Placed {
    /// How the figure is emphasised.
    pub fn emphasis(&self) -> Emphasis {
        match self.place {
            Some(1) => Emphasis::Best,
            Some(2 | 3) => Emphasis::Next,
            _ => Emphasis::None,
        }
    }
}

/// How a figure is emphasised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emphasis {
    /// Bold, for the best.
    Best,
    /// Underlined, for the second and the third.
    Next,
    /// Not emphasised.
    None,
}

/// The results of a row on one dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Name of the dataset.
    pub dataset: String,
    /// Seeds of the runs, in order; empty where the seed has no effect.
    pub seeds: Vec<u64>,
    /// Folders of the runs.
    #[serde(serialize_with = "crate::run::path_text::all")]
    pub runs: Vec<PathBuf>,
    /// Every column of the comparison by its key; `None` where the row has no figure.
    #[serde(flatten)]
    pub figures: BTreeMap<String, Option<Placed>>,
}

impl Entry {
    /// The figure in a column, if there is one.
    pub fn figure(&self, column: &Column) -> Option<&Placed> {
        self.figures.get(&column.key)?.as_ref()
    }
}

/// The rows of the table: groups of the same name on several datasets are one row.
pub(super) fn rows(groups: &[Group], datasets: &[String], columns: &[Column]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for group in groups {
        let entry = entry(group, columns);
        match rows.iter_mut().find(|row| row.name == group.name) {
            Some(row) => row.results.push(entry),
            None => rows.push(Row {
                name: group.name.clone(),
                method: group.method.clone(),
                reference: group.reference,
                results: vec![entry],
            }),
        }
    }
    for row in &mut rows {
        row.results.sort_by(|a, b| a.dataset.cmp(&b.dataset));
    }
    for dataset in datasets {
        for column in columns.iter().filter(|column| column.is_ranked) {
            place(&mut rows, dataset, column);
        }
    }
    rows
}

fn entry(group: &Group, columns: &[Column]) -> Entry {
    let figure = |column: &Column| {
        // In reference rows several folders may have the same seed, which counts once.
        let mut by_seed: BTreeMap<Option<u64>, Vec<f64>> = BTreeMap::new();
        for member in &group.members {
            if let Some(value) = member.values.get(&column.key) {
                by_seed.entry(member.seed).or_default().push(*value);
            }
        }
        let means: Vec<f64> =
            by_seed.values().filter_map(|values| Some(Figure::of(values)?.mean)).collect();
        let placed = Figure::of(&means).map(|figure| Placed { figure, place: None });
        (column.key.clone(), placed)
    };
    Entry {
        dataset: group.dataset.clone(),
        seeds: group.seeds(),
        runs: group.members.iter().map(|member| member.folder.clone()).collect(),
        figures: columns.iter().map(figure).collect(),
    }
}

fn place(rows: &mut [Row], dataset: &str, column: &Column) {
    let mut figures: Vec<&mut Placed> = rows
        .iter_mut()
        .filter(|row| !row.reference)
        .flat_map(|row| &mut row.results)
        .filter(|entry| entry.dataset == dataset)
        .filter_map(|entry| entry.figures.get_mut(&column.key)?.as_mut())
        .collect();
    let shown: Vec<f64> = figures.iter().map(|placed| placed.figure.shown(column)).collect();
    for (placed, own) in figures.iter_mut().zip(&shown) {
        let better = shown.iter().filter(|other| other.total_cmp(own) == Ordering::Greater);
        placed.place = Some(1 + better.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample_and_needs_two() {
        let two = Figure::of(&[1.0, 3.0]).unwrap();
        assert_eq!((two.mean, two.std, two.count), (2.0, Some(2.0_f64.sqrt()), 2));
        assert_eq!(Figure::of(&[5.0]), Some(Figure { mean: 5.0, std: None, count: 1 }));
        assert_eq!(Figure::of(&[]), None);
    }
}
