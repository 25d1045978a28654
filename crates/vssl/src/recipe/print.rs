//! Recipes as text that reads well and loads again.

use std::fmt::Write;

use toml::{Table, Value};

use super::{leaves::is_list_of_tables, provenance::Provenance};

/// Comments start here at the latest, so that one long list does not push all of them out of
/// sight.
const WIDEST: usize = 48;

/// `table` as TOML; with `provenance`, each setting is followed by where it comes from.
pub(super) fn print(table: &Table, provenance: Option<&Provenance>) -> String {
    let mut text = String::new();
    section(&mut text, "", "", table, provenance);
    text
}

/// The settings of one table, then the tables in it. `header` is the key in TOML's words, `path`
/// that of `--set`, which counts the elements of lists.
fn section(
    text: &mut String,
    header: &str,
    path: &str,
    table: &Table,
    provenance: Option<&Provenance>,
) {
    let plain: Vec<(&String, String)> = table
        .iter()
        .filter(|(_, value)| !has_header(value))
        .map(|(key, value)| (key, format!("{key} = {value}")))
        .collect();
    let width = plain.iter().map(|(_, line)| line.chars().count()).max().unwrap_or(0).min(WIDEST);
    for (key, line) in plain {
        match provenance {
            Some(provenance) => {
                let origin = provenance.origin(&join(path, key));
                writeln!(text, "{line:<width$}  # {origin}")
            }
            None => writeln!(text, "{line}"),
        }
        .expect("writing to a string does not fail");
    }
    for (key, value) in table.iter().filter(|(_, value)| has_header(value)) {
        let (header, path) = (join(header, key), join(path, key));
        match value {
            Value::Table(table) => {
                write!(text, "\n[{header}]\n").expect("writing to a string does not fail");
                section(text, &header, &path, table, provenance);
            }
            Value::Array(items) => {
                for (index, table) in items.iter().filter_map(Value::as_table).enumerate() {
                    write!(text, "\n[[{header}]]\n").expect("writing to a string does not fail");
                    section(text, &header, &join(&path, &index.to_string()), table, provenance);
                }
            }
            _ => {}
        }
    }
}

fn has_header(value: &Value) -> bool {
    match value {
        Value::Table(_) => true,
        Value::Array(items) => is_list_of_tables(items),
        _ => false,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
