//! Arranges a comparison as cells, for the formats that people read.

use crate::comparison::{
    Column, Comparison, Emphasis, Entry, Layout, LeftOut,
    column::{OFFLINE, ONLINE},
};

/// Text of a cell without a figure.
pub(super) const NOTHING: &str = "-";

/// The cells of a table, in the order in which they are written.
pub(super) struct Sheet {
    /// Name of each dataset, and the titles of its columns.
    pub(super) groups: Vec<(String, Vec<String>)>,
    pub(super) rows: Vec<Line>,
}

/// A row of the table.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) reference: bool,
    pub(super) cells: Vec<Cell>,
}

/// A cell: a figure over seeds.
pub(super) struct Cell {
    pub(super) mean: String,
    /// Deviation of the figure over seeds.
    pub(super) deviation: Option<String>,
    pub(super) emphasis: Emphasis,
}

impl Cell {
    fn plain(text: String) -> Self {
        Self { mean: text, deviation: None, emphasis: Emphasis::None }
    }

    /// The mean, and the deviation behind `sign`.
    pub(super) fn text(&self, sign: &str) -> String {
        match &self.deviation {
            Some(deviation) => format!("{} {sign} {deviation}", self.mean),
            None => self.mean.clone(),
        }
    }
}

impl Sheet {
    pub(super) fn of(comparison: &Comparison, layout: Layout) -> Self {
        match layout {
            Layout::Full => Self::full(comparison),
            Layout::Paper => Self::paper(comparison),
        }
    }

    /// The full layout: the usual columns, and other columns with a figure in some row.
    fn full(comparison: &Comparison) -> Self {
        let entries = comparison.rows.iter().flat_map(|row| &row.results);
        let is_shown = |column: &&Column| {
            column.is_usual || entries.clone().any(|entry| entry.figure(column).is_some())
        };
        let columns: Vec<&Column> = comparison.columns.iter().filter(|c| is_shown(c)).collect();
        let mut titles: Vec<String> = columns.iter().map(|column| column.title.clone()).collect();
        titles.push("seeds".to_owned());
        let groups = comparison.datasets.iter().map(|name| (name.clone(), titles.clone()));
        let on = |entry: Option<&Entry>| {
            let seeds = entry.filter(|entry| !entry.seeds.is_empty());
            let seeds = seeds.map_or(NOTHING.to_owned(), |entry| entry.seeds.len().to_string());
            cells(entry, &columns).chain([Cell::plain(seeds)]).collect::<Vec<_>>()
        };
        let rows = comparison.rows.iter().map(|row| Line {
            name: row.name.clone(),
            reference: row.reference,
            cells: comparison.datasets.iter().flat_map(|dataset| on(row.on(dataset))).collect(),
        });
        Self { groups: groups.collect(), rows: rows.collect() }
    }

    /// Table I of VSSL's paper: methods by datasets, online and offline; then what others published
    /// on the same methods.
    fn paper(comparison: &Comparison) -> Self {
        let is_of_paper = |column: &&Column| PAPER.contains(&column.key.as_str());
        let columns: Vec<&Column> = comparison.columns.iter().filter(is_of_paper).collect();
        let titles: Vec<String> = columns.iter().map(|column| column.title.clone()).collect();
        let groups = comparison.datasets.iter().map(|name| (name.clone(), titles.clone()));
        let datasets = || comparison.datasets.iter();
        let mut rows: Vec<Line> = Vec::new();
        for row in comparison.rows.iter().filter(|row| !row.reference) {
            rows.push(Line {
                name: row.name.clone(),
                reference: false,
                cells: datasets()
                    .flat_map(|dataset| cells(row.on(dataset), &columns).collect::<Vec<_>>())
                    .collect(),
            });
        }
        for (method, source) in comparison.published.rows() {
            let shown = |value: Option<f64>| match value {
                Some(value) => Cell::plain(format!("{value:.2}")),
                None => Cell::plain(NOTHING.to_owned()),
            };
            let known = datasets().flat_map(|dataset| {
                let value = comparison.published.value(source, method, dataset);
                [value.and_then(|value| value.online), value.and_then(|value| value.offline)]
            });
            let cells = known.map(shown).collect();
            rows.push(Line { name: format!("{method}, {source}"), reference: true, cells });
        }
        Self { groups: groups.collect(), rows }
    }
}

/// The columns of the paper's table.
const PAPER: [&str; 2] = [ONLINE, OFFLINE];

fn cells<'a>(entry: Option<&'a Entry>, columns: &'a [&Column]) -> impl Iterator<Item = Cell> + 'a {
    columns.iter().map(move |column| {
        let Some(placed) = entry.and_then(|entry| entry.figure(column)) else {
            return Cell::plain(NOTHING.to_owned());
        };
        let shown = |number: f64| format!("{number:.*}", column.digits);
        Cell {
            mean: shown(placed.figure.mean),
            deviation: placed.figure.std.map(shown),
            emphasis: placed.emphasis(),
        }
    })
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
