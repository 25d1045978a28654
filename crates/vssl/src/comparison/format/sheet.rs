//! The table as cells, for the formats that people read.

use crate::comparison::{Column, Comparison, Emphasis, Entry, LeftOut};

/// What stands where there is no figure.
const NOTHING: &str = "-";

/// Cells in the order in which they are written.
pub(super) struct Sheet {
    /// Name of each dataset, and the titles of its columns.
    pub(super) groups: Vec<(String, Vec<&'static str>)>,
    pub(super) rows: Vec<Line>,
}

/// A row.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) reference: bool,
    pub(super) cells: Vec<Cell>,
}

/// A figure.
pub(super) struct Cell {
    pub(super) mean: String,
    /// Its deviation over seeds.
    pub(super) deviation: Option<String>,
    pub(super) emphasis: Emphasis,
}

impl Cell {
    fn plain(text: String) -> Self {
        Self { mean: text, deviation: None, emphasis: Emphasis::None }
    }

    /// Mean and deviation with `sign` between them.
    pub(super) fn text(&self, sign: &str) -> String {
        match &self.deviation {
            Some(deviation) => format!("{} {sign} {deviation}", self.mean),
            None => self.mean.clone(),
        }
    }
}

impl Sheet {
    pub(super) fn of(comparison: &Comparison) -> Self {
        let titles: Vec<&str> =
            Column::ALL.iter().map(|column| column.title()).chain(["seeds"]).collect();
        let groups = comparison.datasets.iter().map(|name| (name.clone(), titles.clone()));
        let rows = comparison.rows.iter().map(|row| Line {
            name: row.name.clone(),
            reference: row.reference,
            cells: comparison.datasets.iter().flat_map(|dataset| cells(row.on(dataset))).collect(),
        });
        Self { groups: groups.collect(), rows: rows.collect() }
    }
}

fn cells(entry: Option<&Entry>) -> Vec<Cell> {
    let figures = Column::ALL.into_iter().map(|column| {
        let Some(placed) = entry.and_then(|entry| entry.figures.get(&column)) else {
            return Cell::plain(NOTHING.to_owned());
        };
        let shown = |number: f64| format!("{number:.*}", column.digits());
        Cell {
            mean: shown(placed.figure.mean),
            deviation: placed.figure.std.map(shown),
            emphasis: placed.emphasis(),
        }
    });
    let seeds = entry.filter(|entry| !entry.seeds.is_empty());
    let seeds = seeds.map_or(NOTHING.to_owned(), |entry| entry.seeds.len().to_string());
    figures.chain([Cell::plain(seeds)]).collect()
}

/// A run that is not in the table, in one line.
pub(super) fn told(run: &LeftOut) -> String {
    let what = match (&run.method, run.seed) {
        (Some(method), Some(seed)) => format!(" ({method}, seed {seed})"),
        (None, Some(seed)) => format!(" (seed {seed})"),
        _ => String::new(),
    };
    format!("{}{what}: {}: {}", run.run.display(), run.state.name(), run.reason)
}
