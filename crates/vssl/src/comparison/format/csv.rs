//! Writes a comparison as CSV (RFC 4180): a line for each row and dataset, then a line for each run that
//! is not in a row. Numbers are not rounded.

use super::sheet::{NOTHING, Sheet};
use crate::{
    comparison::{Column, Comparison, Entry, Layout},
    formats::csv::{LineEnd, text},
};

pub(super) fn write(comparison: &Comparison, layout: Layout) -> String {
    match layout {
        Layout::Full => full(comparison),
        Layout::Paper => paper(&Sheet::of(comparison, layout)),
    }
}

/// The paper's layout: a line for each method, with columns of their own for the deviations.
fn paper(sheet: &Sheet) -> String {
    let mut header = vec!["method".to_owned(), "state".to_owned()];
    for (dataset, titles) in &sheet.groups {
        for title in titles {
            let name = format!("{dataset} {title}");
            header.extend([name.clone(), format!("{name} std")]);
        }
    }
    let mut lines = vec![header];
    for row in &sheet.rows {
        let state = if row.reference { "published" } else { "finished" };
        let mut line = vec![row.name.clone(), state.to_owned()];
        for cell in &row.cells {
            let mean = if cell.mean == NOTHING { String::new() } else { cell.mean.clone() };
            line.extend([mean, cell.deviation.clone().unwrap_or_default()]);
        }
        lines.push(line);
    }
    text(&lines, LineEnd::Lf)
}

fn full(comparison: &Comparison) -> String {
    let columns = &comparison.columns;
    let mut header = vec!["dataset".to_owned(), "method".to_owned(), "state".to_owned()];
    header.push("seeds".to_owned());
    for Column { key, .. } in columns {
        header.extend([key.clone(), format!("{key}_std")]);
    }
    header.push("reason".to_owned());
    let mut lines = vec![header];
    for dataset in &comparison.datasets {
        for row in &comparison.rows {
            let Some(entry) = row.on(dataset) else { continue };
            let state = if row.reference { "reference" } else { "finished" };
            let mut line = vec![dataset.clone(), row.name.clone(), state.to_owned()];
            line.extend(figures(entry, columns));
            line.push(String::new());
            lines.push(line);
        }
    }
    for run in &comparison.left_out {
        let method = run.method.clone().unwrap_or_default();
        let mut line = vec![String::new(), method, run.state.name().to_owned()];
        line.extend(vec![String::new(); 1 + 2 * columns.len()]);
        line.push(format!("{}: {}", run.run.display(), run.reason));
        lines.push(line);
    }
    text(&lines, LineEnd::Lf)
}

fn figures(entry: &Entry, columns: &[Column]) -> Vec<String> {
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let seeds = if entry.seeds.is_empty() { String::new() } else { entry.seeds.len().to_string() };
    let mut fields = vec![seeds];
    for column in columns {
        let figure = entry.figure(column).map(|placed| placed.figure);
        fields.push(number(figure.map(|figure| figure.mean)));
        fields.push(number(figure.and_then(|figure| figure.std)));
    }
    fields
}
