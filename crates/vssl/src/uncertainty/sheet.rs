//! The figures as a table for programs: RFC 4180, one line for each figure, numbers not rounded.

use super::{Assessment, POINTS, Report};

/// The columns.
const HEADER: [&str; 7] =
    ["score", "of_posterior", "measure", "set", "strength", "value", "standard_error"];

impl Assessment {
    /// All figures in long form.
    pub fn csv(&self) -> String {
        let mut text = format!("{}\r\n", HEADER.join(","));
        for report in &self.scores {
            for line in lines(report) {
                text.push_str(&line);
                text.push_str("\r\n");
            }
        }
        text
    }
}

fn lines(report: &Report) -> Vec<String> {
    let line =
        |measure: &str, set: &str, strength: Option<usize>, value: f64, error: Option<f64>| {
            let strength = strength.map(|s| s.to_string()).unwrap_or_default();
            let error = error.map(|e| e.to_string()).unwrap_or_default();
            let (name, of_posterior) = (report.score.name(), report.of_posterior);
            format!("{name},{of_posterior},{measure},{},{strength},{value},{error}", quoted(set))
        };
    let mut lines = Vec::new();
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

/// A field that may hold anything.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_comma_or_a_quote_stays_one_field() {
        assert_eq!(quoted("a,b\"c"), "\"a,b\"\"c\"");
        assert_eq!(quoted("plain name"), "plain name");
    }
}
