//! Writes a comparison as text, with one file for each format.

mod csv;
mod html;
mod json;
mod latex;
mod markdown;
mod sheet;

use super::{Comparison, Note};

/// Formats of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Markdown with padded columns, for terminals, README files and issues; notes follow.
    #[default]
    Markdown,
    /// CSV for spreadsheets: a line for each row and dataset, with columns for means and deviations.
    Csv,
    /// LaTeX for papers: a `tabular` of the package `booktabs`, with notes as comments.
    Latex,
    /// An HTML page.
    Html,
    /// JSON for programs: one object in one line.
    Json,
}

/// The figures that a table shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// All figures.
    #[default]
    Full,
    /// The figures of Table I of VSSL's paper (arXiv:2504.04318): a row for each method, online and offline
    /// accuracy for each dataset, and published values below.
    Paper,
}

impl Comparison {
    /// Writes all figures; the text ends with a line break.
    pub fn write(&self, format: Format) -> String {
        self.write_as(format, Layout::Full)
    }

    /// Writes the table in a layout. JSON has all figures in both layouts.
    pub fn write_as(&self, format: Format, layout: Layout) -> String {
        match format {
            Format::Markdown => markdown::write(self, layout),
            Format::Csv => csv::write(self, layout),
            Format::Latex => latex::write(self, layout),
            Format::Html => html::write(self, layout),
            Format::Json => json::write(self),
        }
    }

    /// The notes of a layout; in the paper's layout also the sources of the published values.
    fn told_notes(&self, layout: Layout) -> Vec<Note> {
        let mut notes = self.notes.clone();
        if layout == Layout::Paper {
            notes.extend(self.published.notes());
        }
        notes
    }
}
