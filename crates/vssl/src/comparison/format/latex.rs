//! Writes a comparison as a `tabular` for the package `booktabs`. Notes and runs that are not in the
//! table follow as comments.

use std::fmt::Write;

use super::sheet::{Cell, Sheet, told};
use crate::comparison::{Comparison, Emphasis, Layout};

pub(super) fn write(comparison: &Comparison, layout: Layout) -> String {
    let sheet = Sheet::of(comparison, layout);
    let columns: usize = sheet.groups.iter().map(|(_, titles)| titles.len()).sum();
    let mut text = format!("\\begin{{tabular}}{{l{}}}\n\\toprule\n", "r".repeat(columns));
    if sheet.groups.len() > 1 {
        let (mut names, mut rules, mut first) = (String::new(), String::new(), 2);
        for (dataset, titles) in &sheet.groups {
            let count = titles.len();
            let _ = write!(names, " & \\multicolumn{{{count}}}{{c}}{{{}}}", escaped(dataset));
            let _ = write!(rules, "\\cmidrule(lr){{{first}-{}}}", first + count - 1);
            first += count;
        }
        let _ = write!(text, "{names} \\\\\n{rules}\n");
    }
    let titles: Vec<String> =
        sheet.groups.iter().flat_map(|(_, titles)| titles.iter().map(|t| escaped(t))).collect();
    let _ = writeln!(
        text,
        "{} \\\\",
        ["method".to_owned()].into_iter().chain(titles).collect::<Vec<_>>().join(" & ")
    );
    let mut was_reference = None;
    for row in &sheet.rows {
        if was_reference != Some(row.reference) {
            text.push_str("\\midrule\n");
        }
        was_reference = Some(row.reference);
        let mut cells = vec![escaped(&row.name)];
        cells.extend(row.cells.iter().map(set_off));
        let _ = writeln!(text, "{} \\\\", cells.join(" & "));
    }
    text.push_str("\\bottomrule\n\\end{tabular}\n");
    for note in &comparison.told_notes(layout) {
        let _ = writeln!(text, "% note: {}", comment(&note.text));
    }
    for run in &comparison.left_out {
        let _ = writeln!(text, "% not in the table: {}", comment(&told(run)));
    }
    text
}

fn set_off(cell: &Cell) -> String {
    let text = cell.text("$\\pm$");
    match cell.emphasis {
        Emphasis::Best => format!("\\textbf{{{text}}}"),
        Emphasis::Next => format!("\\underline{{{text}}}"),
        Emphasis::None => text,
    }
}

fn comment(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => safe.extend(['\\', c]),
            '~' => safe.push_str("\\textasciitilde{}"),
            '^' => safe.push_str("\\textasciicircum{}"),
            '\\' => safe.push_str("\\textbackslash{}"),
            '<' => safe.push_str("\\textless{}"),
            '>' => safe.push_str("\\textgreater{}"),
            '|' => safe.push_str("\\textbar{}"),
            '"' => safe.push_str("\\textquotedbl{}"),
            '\n' | '\r' => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
