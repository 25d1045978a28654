//! Reads the folder of a run.

use std::{collections::BTreeMap, path::PathBuf};

use numpy::PyArray1;
use pyo3::{prelude::*, types::PyDict};
use vssl::run::{folder, metrics};

use crate::errors::failed;

/// The resolved recipe and the result (or `None` before the end) as JSON, the figures of steps and of evaluations by
/// name, and the messages of damaged lines.
type Read<'py> = (String, Option<String>, Bound<'py, PyDict>, Bound<'py, PyDict>, Vec<String>);

/// Reads the run in the folder `path`.
#[pyfunction]
pub fn read_run(py: Python<'_>, path: PathBuf) -> PyResult<Read<'_>> {
    let text = folder::recipe_of(&path).map_err(failed)?;
    let recipe: toml::Table = toml::from_str(&text).map_err(|error| {
        failed(anyhow::anyhow!("{}: {error}", path.join(folder::RECIPE).display()))
    })?;
    let recipe = serde_json::to_string(&recipe).expect("a recipe is plain data");
    let summary = folder::summary_of::<serde_json::Value>(&path).map_err(failed)?;
    let (lines, damaged) = metrics::readable(&path).map_err(failed)?;
    let of = |evaluation: bool| {
        let lines: Vec<&metrics::Line> =
            lines.iter().filter(|line| line.evaluation == evaluation).collect();
        figures(py, &lines)
    };
    let damaged = damaged.iter().map(ToString::to_string).collect();
    Ok((recipe, summary.map(|summary| summary.to_string()), of(false)?, of(true)?, damaged))
}

/// An array for each name, with one entry a line; NaN where a line has no such figure.
fn figures<'py>(py: Python<'py>, lines: &[&metrics::Line]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let whole = |numbers: Vec<i64>| PyArray1::from_vec(py, numbers);
    dict.set_item("step", whole(lines.iter().map(|line| line.step as i64).collect()))?;
    dict.set_item("epoch", whole(lines.iter().map(|line| line.epoch as i64).collect()))?;
    let mut columns: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (row, line) in lines.iter().enumerate() {
        for (name, value) in &line.figures {
            let column = columns.entry(name.strip_prefix("evaluation/").unwrap_or(name));
            column.or_insert_with(|| vec![f64::NAN; lines.len()])[row] = *value;
        }
    }
    for (name, values) in columns {
        dict.set_item(name, PyArray1::from_vec(py, values))?;
    }
    Ok(dict)
}
