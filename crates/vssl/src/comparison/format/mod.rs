//! A comparison as text: one file a format.

mod csv;
mod html;
mod json;
mod latex;
mod markdown;
mod sheet;

use super::Comparison;

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

impl Comparison {
    /// The table as text that ends with a line break.
    pub fn write(&self, format: Format) -> String {
        match format {
            Format::Markdown => markdown::write(self),
            Format::Csv => csv::write(self),
            Format::Latex => latex::write(self),
            Format::Html => html::write(self),
            Format::Json => json::write(self),
        }
    }
}
