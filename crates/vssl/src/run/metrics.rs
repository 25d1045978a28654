//! Reads `metrics.jsonl`: every figure of a run by name and step.
//!
//! The names are the keys of the file. Nested keys are joined by `/` (`parts/kl_cross`, `health/spread`), and
//! the keys of an evaluation are below `evaluation/`. The report of runs reads the figures; TensorBoard's
//! event files use the same names.

use std::path::Path;

use serde_json::Value;

use super::json_lines::{self, JsonLinesError};

/// The name of the file in a run folder.
pub const FILE: &str = "metrics.jsonl";

/// A line of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Whether the line is of an evaluation between epochs, not of a step.
    pub evaluation: bool,
    /// The number of optimiser steps done.
    pub step: u64,
    /// The number of passes over the data.
    pub epoch: u64,
    /// All numbers of the line, in the order of the file.
    pub figures: Vec<(String, f64)>,
}

impl Line {
    /// Returns the figure of this name.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

/// Returns all lines of the run in the folder `run`, in order.
///
/// # Errors
/// The file cannot be read, or a line of it is damaged; the error names the first such line.
pub fn read(run: &Path) -> Result<Vec<Line>, JsonLinesError> {
    json_lines::all(readable(run)?)
}

/// Returns the lines as [`read`] does, without damaged lines, and the error of each damaged line.
///
/// # Errors
/// The file cannot be read.
pub fn readable(run: &Path) -> Result<(Vec<Line>, Vec<JsonLinesError>), JsonLinesError> {
    json_lines::read(&run.join(FILE), |line| {
        let expected = "expected a JSON object with \"kind\", \"step\" and \"epoch\"";
        parse(line).map_err(|what| format!("{what}; {expected}"))
    })
}

/// Returns whether the run in the folder `run` has noted an evaluation after `step` steps.
pub(crate) fn has_evaluation(run: &Path, step: u64) -> bool {
    let lines = readable(run).map_or(Vec::new(), |(lines, _)| lines);
    lines.iter().any(|line| line.evaluation && line.step == step)
}

fn parse(line: &[u8]) -> Result<Line, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let number = |key: &str| {
        let number = value.get(key).and_then(Value::as_u64);
        number.ok_or_else(|| format!("{key:?} is not a whole number"))
    };
    let evaluation = match value.get("kind").and_then(Value::as_str) {
        Some("step") => false,
        Some("evaluation") => true,
        _ => return Err("\"kind\" is neither \"step\" nor \"evaluation\"".to_owned()),
    };
    let (step, epoch) = (number("step")?, number("epoch")?);
    Ok(Line { evaluation, step, epoch, figures: figures(&value) })
}

/// Returns the numbers of a line by name, without `step` and `epoch`, which say where the numbers belong.
pub fn figures(line: &Value) -> Vec<(String, f64)> {
    let prefix = match line.get("kind").and_then(Value::as_str) {
        Some("evaluation") => "evaluation/",
        _ => "",
    };
    let mut found = Vec::new();
    if let Value::Object(entries) = line {
        for (key, value) in
            entries.iter().filter(|(key, _)| !["step", "epoch"].contains(&key.as_str()))
        {
            collect(&format!("{prefix}{key}"), value, &mut found);
        }
    }
    found
}

fn collect(name: &str, value: &Value, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => found.extend(number.as_f64().map(|x| (name.to_owned(), x))),
        Value::Object(entries) => {
            entries.iter().for_each(|(key, value)| collect(&format!("{name}/{key}"), value, found));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const STEP: &str =
        r#"{"kind":"step","step":10,"epoch":0,"loss":1.5,"parts":{"kl":0.25},"lr":0.1}"#;
    const EVALUATION: &str =
        r#"{"kind":"evaluation","step":10,"epoch":1,"knn_top1":31.5,"probe_top1":null}"#;

    fn read_text(text: &str) -> Result<Vec<Line>, JsonLinesError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), text).unwrap();
        read(folder.path())
    }

    #[test]
    fn figures_are_named_by_their_place() {
        let lines = read_text(&format!("{STEP}\n{EVALUATION}\n")).unwrap();
        let names =
            |line: &Line| line.figures.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let mut first = names(&lines[0]);
        first.sort();
        assert_eq!(first, ["loss", "lr", "parts/kl"]);
        assert_eq!(names(&lines[1]), ["evaluation/knn_top1"]);
        assert!(lines[1].evaluation && lines[1].step == 10 && lines[1].epoch == 1);
    }

    #[test]
    fn a_line_that_is_being_written_is_left_out() {
        assert_eq!(read_text(&format!("{STEP}\n{}", &STEP[..20])).unwrap().len(), 1);
        assert!(read_text("").unwrap().is_empty());
        assert!(read(Path::new("no/such/run")).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_line_is_named() {
        for bad in
            ["{\"kind\":\"step\"", "[]", "{\"kind\":\"step\",\"step\":-1,\"epoch\":0}", "\u{0}"]
        {
            let error = read_text(&format!("{STEP}\n{bad}\n{STEP}\n")).unwrap_err().to_string();
            assert!(error.contains("metrics.jsonl: line 2"), "{error}");
        }
    }
}
