//! The page that a new recipe is written on: its lines, with their comments in one column. Called by [`super::text`].

use std::fmt::Write;

use toml::Value;
use vssl::recipe::literal;
use vssl_data::{Normalisation, PerChannel};

/// Column of the comments.
const COLUMN: usize = 33;

/// A recipe as far as it is written.
#[derive(Default)]
pub(super) struct Page {
    /// What is written.
    pub(super) text: String,
}

impl Page {
    /// Comments over the whole width, a line each.
    pub(super) fn prose(&mut self, lines: &str) {
        for line in lines.split('\n') {
            self.text.push_str(format!("# {line}").trim_end());
            self.text.push('\n');
        }
    }

    /// The header of a table.
    pub(super) fn table(&mut self, header: &str) {
        let _ = write!(self.text, "\n{header}\n");
    }

    /// Above the table that follows.
    pub(super) fn note(&mut self, line: &str) {
        let _ = write!(self.text, "\n# {line}");
    }

    /// A key and its value, with a comment.
    pub(super) fn key(&mut self, key: &str, value: impl Into<Value>, comment: &str) {
        let value = match value.into() {
            Value::Float(small) if small > 0.0 && small < 1e-3 => format!("{small:e}"),
            other => literal(&other),
        };
        let line = format!("{key} = {value}");
        let _ = writeln!(self.text, "{line:<COLUMN$} # {comment}");
    }

    /// The normalisation of the images.
    pub(super) fn normalisation(&mut self, of: Normalisation) {
        let shown = |numbers: PerChannel| format!("{numbers:?}");
        let (mean, std) = (shown(of.mean), shown(of.std));
        let _ = writeln!(self.text, "normalisation = {{ mean = {mean}, std = {std} }}");
    }

    /// A key that has no value unless one is given.
    pub(super) fn absent(&mut self, key: &str, example: impl Into<Value>, comment: &str) {
        let line = format!("# {key} = {}", example.into());
        let _ = writeln!(self.text, "{line:<COLUMN$} # {comment}");
    }
}
