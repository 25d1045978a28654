//! Writes a comparison as an HTML page that needs no other file.

use std::fmt::Write;

use super::sheet::{Cell, Line, Sheet, told};
use crate::{
    comparison::{Comparison, Emphasis, Layout},
    formats::html::escaped,
};

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>vssl table</title>
<style>
body { font-family: sans-serif; margin: 2em }
table { border-collapse: collapse }
th, td { padding: .3em .8em; text-align: right; white-space: nowrap }
th:first-child { text-align: left }
thead tr:last-child { border-bottom: 1px solid }
tr.reference { font-style: italic }
</style>
";

pub(super) fn write(comparison: &Comparison, layout: Layout) -> String {
    let sheet = Sheet::of(comparison, layout);
    let mut text = format!("{HEAD}<table>\n<thead>\n");
    if sheet.groups.len() > 1 {
        text.push_str("<tr><th></th>");
        for (dataset, titles) in &sheet.groups {
            let _ = write!(text, "<th colspan=\"{}\">{}</th>", titles.len(), escaped(dataset));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("<tr><th>method</th>");
    for title in sheet.groups.iter().flat_map(|(_, titles)| titles) {
        let _ = write!(text, "<th>{}</th>", escaped(title));
    }
    text.push_str("</tr>\n</thead>\n<tbody>\n");
    sheet.rows.iter().for_each(|line| row(line, &mut text));
    text.push_str("</tbody>\n</table>\n");
    for note in &comparison.told_notes(layout) {
        let _ = writeln!(text, "<p>Note: {}.</p>", escaped(&note.text));
    }
    if !comparison.left_out.is_empty() {
        text.push_str("<p>Not in the table:</p>\n<ul>\n");
        for run in &comparison.left_out {
            let _ = writeln!(text, "<li>{}</li>", escaped(&told(run)));
        }
        text.push_str("</ul>\n");
    }
    text.push_str("</html>\n");
    text
}

fn row(line: &Line, text: &mut String) {
    let class = if line.reference { " class=\"reference\"" } else { "" };
    let _ = write!(text, "<tr{class}><th>{}</th>", escaped(&line.name));
    for cell in &line.cells {
        let _ = write!(text, "<td>{}</td>", set_off(cell));
    }
    text.push_str("</tr>\n");
}

fn set_off(cell: &Cell) -> String {
    let text = escaped(&cell.text("±"));
    match cell.emphasis {
        Emphasis::Best => format!("<b>{text}</b>"),
        Emphasis::Next => format!("<u>{text}</u>"),
        Emphasis::None => text,
    }
}
