//! A resolved recipe for people: as text, where each setting comes from, and how two recipes differ.

use std::{collections::BTreeMap, fmt, fmt::Write, path::Path};

use serde::{Serialize, Serializer};
use toml::{Table, Value};
use vssl_data::dataset::text_of;

use super::{
    Recipe,
    error::Source,
    tree::{Node, Place, removed},
};

/// Where a setting comes from. Shown by `vssl config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The recipe does not say it.
    Default,
    /// A line of the recipe, counted from 1.
    File {
        /// Name of the file.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// `--set` on the command line.
    Override,
    /// The encoder that the run starts from.
    Encoder,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            // It stands in comments, which end with their line.
            Self::File { file, line } => write!(f, "{}:{line}", text_of(Path::new(file))),
            Self::Override => f.write_str("--set"),
            Self::Encoder => f.write_str("the encoder"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The origin of every setting, by its key as `--set` takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Provenance {
    origins: BTreeMap<String, Origin>,
    /// Notes on keys that were left out, and on defaults that were adapted.
    #[serde(skip)]
    pub notes: Vec<String>,
}

impl Provenance {
    pub(super) fn of(resolved: &Table, typed: &Node, source: &Source) -> Self {
        let origins = leaves(resolved).into_iter().map(|(path, _)| {
            let origin = match typed.find(&path) {
                None => Origin::Default,
                Some(node) => match (&node.place, node.overridden()) {
                    (_, Some(_)) | (Place::Override(_), None) => Origin::Override,
                    (Place::File { key, .. }, None) => {
                        Origin::File { file: source.name.to_owned(), line: source.line(key.start) }
                    }
                },
            };
            (path.join("."), origin)
        });
        Self { origins: origins.collect(), notes: removals(resolved, typed, source) }
    }

    /// The same with notes.
    pub(super) fn with(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// The same for `resolved`, the recipe with what it has taken over from the encoder that the run starts from.
    pub fn with_encoder(mut self, resolved: &Recipe) -> Self {
        let taken = ["backbone.", "data.normalisation.", "init.digest", "init.checkpoint"];
        for (path, _) in leaves(&resolved.to_table()) {
            let key = path.join(".");
            if taken.iter().any(|taken| key.starts_with(taken)) && !self.is_given(&key) {
                self.origins.insert(key, Origin::Encoder);
            }
        }
        self
    }

    /// Whether somebody has given the setting `key` a value.
    pub fn is_given(&self, key: &str) -> bool {
        matches!(self.origin(key), Origin::File { .. } | Origin::Override)
    }

    /// The origin of the setting `key`; [`Origin::Default`] for a key that does not exist.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }
}

/// Returns a note on every key that an override without a value removes and that no later override sets: such
/// an override may come from a variable of the shell that is not set.
fn removals(resolved: &Table, typed: &Node, source: &Source) -> Vec<String> {
    let note = |path: Vec<&str>| {
        let key = path.join(".");
        let owned: Vec<String> = path.iter().copied().map(str::to_owned).collect();
        let is_element = path.last().is_some_and(|last| last.parse::<usize>().is_ok());
        if is_element {
            return Some(format!("{key} is removed from its list by --set"));
        }
        if typed.find(&owned).is_some() {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let value = rest.iter().try_fold(resolved.get(*first)?, |value, key| value.get(key));
        Some(match value {
            Some(Value::Table(_)) => {
                format!("[{key}] is removed by --set: its settings have their defaults")
            }
            Some(value) => format!("{key} is removed by --set: it is {value}, the default"),
            None => format!("{key} is removed by --set: it is not set"),
        })
    };
    source.overrides.iter().filter_map(|text| removed(text)).filter_map(note).collect()
}

/// A setting that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As `--set` takes it.
    pub key: String,
    /// The value before, as TOML; `None` where there was none.
    pub was: Option<String>,
    /// The value now.
    pub now: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(f, "{}: {} -> {}", self.key, shown(&self.was), shown(&self.now))
    }
}

/// All settings that differ, in the order of `now`, then those that only `was` has.
pub fn difference(was: &Recipe, now: &Recipe) -> Vec<Difference> {
    of_tables(&was.to_table(), &now.to_table())
}

/// All settings that differ between two tables of any kind.
pub(crate) fn of_tables(was: &Table, now: &Table) -> Vec<Difference> {
    let flat = |table: &Table| -> Vec<(String, String)> {
        leaves(table).into_iter().map(|(path, value)| (path.join("."), literal(value))).collect()
    };
    let (was, now) = (flat(was), flat(now));
    let value = |of: &[(String, String)], key: &str| {
        of.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone())
    };
    let keys = now.iter().chain(was.iter().filter(|(key, _)| value(&now, key).is_none()));
    keys.map(|(key, _)| Difference {
        key: key.clone(),
        was: value(&was, key),
        now: value(&now, key),
    })
    .filter(|difference| difference.was != difference.now)
    .collect()
}

/// The path and the value of every setting in `table`. Tables and lists of tables are walked through;
/// a list of plain values is one setting.
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

fn is_list_of_tables(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(Value::is_table)
}

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
        .map(|(key, value)| (key, format!("{key} = {}", literal(value))))
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

/// The value as TOML in one line: a text with control characters, such as a path with an end of a line, has escapes.
pub fn literal(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains(char::is_control) => {
            let escaped = |letter: char| match letter {
                '"' | '\\' => format!("\\{letter}"),
                letter if letter.is_control() => format!("\\u{:04X}", u32::from(letter)),
                letter => letter.to_string(),
            };
            format!("\"{}\"", text.chars().map(escaped).collect::<String>())
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::METHODS;

    #[test]
    fn names_with_control_characters_stay_in_their_line() {
        let name = "a\nb\u{1b}[1m\u{7f}\t\"c\"\\d";
        let path = Value::from(name);
        let set = format!("method = \"simclr\"\ndata.path = {}\n", literal(&path));
        assert_eq!(set.lines().count(), 2, "{set}");
        let (recipe, origins) = Recipe::parse(&set, "x\ny\u{1b}.toml", &[], METHODS).unwrap();
        for text in [recipe.to_toml(), recipe.annotated(&origins)] {
            let again = Recipe::parse(&text, "again.toml", &[], METHODS).unwrap().0;
            assert_eq!(again.data.path.to_str(), Some(name));
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        }
        let line = recipe
            .annotated(&origins)
            .lines()
            .find(|line| line.starts_with("path"))
            .unwrap()
            .to_owned();
        assert!(line.ends_with("# x\\x0Ay\\x1B.toml:2"), "{line}");
        let list = Value::from(vec!["a\nb", "c"]);
        assert_eq!(literal(&list), "[\"a\\u000Ab\", \"c\"]");
    }
}
