//! A resolved recipe as a flat list of settings: what provenance and comparison work on.

use toml::{Table, Value};

/// Calls `visit` with the path and the value of every setting. Tables and lists of tables are
/// walked through; a list of plain values is one setting.
pub(crate) fn leaves(table: &Table) -> Vec<(Vec<String>, &Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        walk(vec![key.clone()], value, &mut found);
    }
    found
}

fn walk<'a>(path: Vec<String>, value: &'a Value, found: &mut Vec<(Vec<String>, &'a Value)>) {
    let below = |key: String| path.iter().cloned().chain([key]).collect();
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                walk(below(key.clone()), value, found);
            }
        }
        Value::Array(items) if is_list_of_tables(items) => {
            for (index, value) in items.iter().enumerate() {
                walk(below(index.to_string()), value, found);
            }
        }
        _ => found.push((path, value)),
    }
}

pub(super) fn is_list_of_tables(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(Value::is_table)
}
