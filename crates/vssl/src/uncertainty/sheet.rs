//! The figures as a table for programs: RFC 4180, one line for each figure, numbers not rounded.

use super::{Assessment, POINTS, Recall, Report, Retrieval};
use crate::formats::csv::{LineEnd, text};

/// The columns.
const HEADER: [&str; 7] =
    ["score", "of_posterior", "measure", "set", "strength", "value", "standard_error"];

impl Assessment {
    /// All figures in long form.
    pub fn csv(&self) -> String {
        let mut records = vec![HEADER.map(str::to_owned).to_vec()];
        for Recall { set, recall_at_1, .. } in &self.recall {
            let fields = ["", "", "recall-at-1", set, "", &recall_at_1.to_string(), ""];
            records.push(fields.map(str::to_owned).to_vec());
        }
        records.extend(self.scores.iter().flat_map(lines));
        text(&records, LineEnd::CrLf)
    }
}

fn lines(report: &Report) -> Vec<Vec<String>> {
    let line =
        |measure: &str, set: &str, strength: Option<usize>, value: f64, error: Option<f64>| {
            let strength = strength.map(|s| s.to_string()).unwrap_or_default();
            let error = error.map(|e| e.to_string()).unwrap_or_default();
            let (name, of_posterior) = (report.score.name(), report.of_posterior);
            let of_posterior = of_posterior.to_string();
            let start = [name.to_owned(), of_posterior, measure.to_owned(), set.to_owned()];
            [&start[..], &[strength, value.to_string(), error]].concat()
        };
    let mut lines = Vec::new();
    for Retrieval { set, area } in &report.retrieval {
        lines.push(line("r-auroc", set, None, area.r_auroc, area.standard_error));
        lines.push(line("r-auroc-reference", set, None, area.r_auroc_reference, None));
    }
    for set in &report.sets {
        let (area, error) = (set.area.auroc, Some(set.area.standard_error));
        lines.push(line("auroc", &set.set, set.strength, area, error));
    }
    if let Some(errors) = &report.errors {
        lines.push(line("auroc", "errors", None, errors.auroc, Some(errors.standard_error)));
    }
    if let Some(risk) = &report.risk {
        lines.push(line("aurc", "errors", None, risk.aurc, None));
        lines.push(line("excess-aurc", "errors", None, risk.excess_aurc, None));
        for (point, value) in risk.curve.iter().enumerate() {
            let share = (point + 1) as f64 / POINTS as f64;
            lines.push(line("risk", &format!("surest {share:.2}"), None, *value, None));
        }
    }
    lines
}
