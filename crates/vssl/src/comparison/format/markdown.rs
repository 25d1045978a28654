//! Writes a comparison as GitHub's Markdown, padded so that a terminal shows it well. Underlining is
//! HTML, because Markdown has no sign for it.

use super::sheet::{Cell, Sheet, told};
use crate::comparison::{Comparison, Emphasis, Layout};

pub(super) fn write(comparison: &Comparison, layout: Layout) -> String {
    let mut text = table(&Sheet::of(comparison, layout));
    let notes = comparison.told_notes(layout);
    if !notes.is_empty() {
        text.push('\n');
        for note in &notes {
            text.push_str(&format!("Note: {}.\n", escaped(&note.text)));
        }
    }
    if !comparison.left_out.is_empty() {
        text.push_str("\nNot in the table:\n\n");
        for run in &comparison.left_out {
            text.push_str(&format!("- {}\n", escaped(&told(run))));
        }
    }
    text
}

fn table(sheet: &Sheet) -> String {
    let several = sheet.groups.len() > 1;
    let titles = sheet.groups.iter().flat_map(|(dataset, titles)| {
        titles.iter().map(move |title| match several {
            true => format!("{}: {title}", escaped(dataset)),
            false => title.clone(),
        })
    });
    let header: Vec<String> = ["method".to_owned()].into_iter().chain(titles).collect();
    let body = sheet.rows.iter().map(|row| {
        let name = match row.reference {
            true => format!("*{}*", escaped(&row.name)),
            false => escaped(&row.name),
        };
        [name].into_iter().chain(row.cells.iter().map(set_off)).collect()
    });
    let lines: Vec<Vec<String>> = [header].into_iter().chain(body).collect();
    let width = |column: usize| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let padded =
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            text.push_str(&format!("| {padded} "));
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let end = if column == 0 { '-' } else { ':' };
                text.push_str(&format!("| {}{end} ", "-".repeat(width - 1)));
            }
            text.push_str("|\n");
        }
    }
    text
}

fn set_off(cell: &Cell) -> String {
    let text = cell.text("±");
    match cell.emphasis {
        Emphasis::Best => format!("**{text}**"),
        Emphasis::Next => format!("<u>{text}</u>"),
        Emphasis::None => text,
    }
}

/// Escapes `text` so that no cell ends early and no text becomes markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '<' | '`' | '\\' => safe.extend(['\\', c]),
            '\n' | '\r' => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
