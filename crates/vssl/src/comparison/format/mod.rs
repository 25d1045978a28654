//! A comparison as text: one file a format.

mod csv;
mod html;
mod json;
mod latex;
mod markdown;
mod sheet;

use super::{Comparison, Note};

/// How a table is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people, in a terminal and on a forge: padded columns, notes below.
    #[default]
    Markdown,
    /// For spreadsheets: a line for each row and dataset, means and deviations in their own columns.
    Csv,
    /// For papers: a `tabular` of the package `booktabs`, notes as comments.
    Latex,
    /// A page.
    Html,
    /// For programs: one object in one line.
    Json,
}

/// Which figures a table shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// All of them.
    #[default]
    Full,
    /// The layout of Table I of VSSL's paper (arXiv:2504.04318): a row for each method, online and offline for
    /// each dataset, and published values below.
    Paper,
}

impl Comparison {
    /// All figures as text that ends with a line break.
    pub fn write(&self, format: Format) -> String {
        self.write_as(format, Layout::Full)
    }

    /// The table in a layout. JSON has all figures in either.
    pub fn write_as(&self, format: Format, layout: Layout) -> String {
        match format {
            Format::Markdown => markdown::write(self, layout),
            Format::Csv => csv::write(self, layout),
            Format::Latex => latex::write(self, layout),
            Format::Html => html::write(self, layout),
            Format::Json => json::write(self),
        }
    }

    /// The notes of a layout: in the paper's, also where the published values are from.
    fn told_notes(&self, layout: Layout) -> Vec<Note> {
        let mut notes = self.notes.clone();
        if layout == Layout::Paper {
            notes.extend(self.published.notes());
        }
        notes
    }
}
