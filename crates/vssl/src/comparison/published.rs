//! Results that others published, from `published.toml`: facts with their source.
//!
//! Shown beside ours in the paper's layout, never ranked with them: they are of other hardware,
//! software and, where the note says so, other lengths.

use serde::{Deserialize, Serialize};

use super::{Note, NoteKind, Row};

/// Values on some methods and datasets, and where they are from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Where values are from.
    #[serde(rename = "source", default)]
    pub sources: Vec<Source>,
    /// What they say.
    #[serde(rename = "value", default)]
    pub values: Vec<Value>,
}

/// Where values are from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// As values call it.
    pub name: String,
    /// What to look for.
    pub title: String,
    /// When it said so.
    pub date: String,
}

/// Top-1 of a linear classifier, percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Name of a source.
    pub source: String,
    /// As recipes call it.
    pub method: String,
    /// As tables call it.
    pub dataset: String,
    /// Beside the encoder; `None` where the source does not say.
    #[serde(default)]
    pub online: Option<f64>,
    /// Afterwards; `None` where the source does not say.
    #[serde(default)]
    pub offline: Option<f64>,
}

impl Published {
    /// Everything that ships with the program.
    pub fn all() -> Self {
        toml::from_str(include_str!("published.toml")).expect("a test reads the same text")
    }

    /// What is known of the methods of `rows` on `datasets`.
    pub(super) fn on(rows: &[Row], datasets: &[String]) -> Self {
        let Self { mut sources, mut values } = Self::all();
        values.retain(|value| {
            datasets.contains(&value.dataset) && rows.iter().any(|row| row.method == value.method)
        });
        sources.retain(|source| values.iter().any(|value| value.source == source.name));
        Self { sources, values }
    }

    /// Methods with the source that speaks of them, each once, by name.
    pub(super) fn rows(&self) -> Vec<(&str, &str)> {
        let pairs = self.values.iter().map(|v| (v.method.as_str(), v.source.as_str()));
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// What `source` says of a method on a dataset.
    pub(super) fn value(&self, source: &str, method: &str, dataset: &str) -> Option<&Value> {
        self.values.iter().find(|value| {
            (value.source.as_str(), value.method.as_str(), value.dataset.as_str())
                == (source, method, dataset)
        })
    }

    /// Where they are from, in words.
    pub(super) fn notes(&self) -> Vec<Note> {
        let note = |source: &Source| Note {
            kind: NoteKind::Source,
            keys: Vec::new(),
            text: format!(
                "{}: published values, ResNet-18 after 1000 epochs (CIFAR) or 400 (ImageNet-100): \
                 {}, {}",
                source.name, source.title, source.date
            ),
        };
        self.sources.iter().map(note).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::METHODS;

    #[test]
    fn every_value_has_a_source_a_known_method_and_is_a_percentage() {
        let all = Published::all();
        assert!(!all.values.is_empty());
        for value in &all.values {
            assert!(all.sources.iter().any(|source| source.name == value.source), "{value:?}");
            assert!(METHODS.iter().any(|entry| entry.name == value.method), "{value:?}");
            assert!(["cifar10", "cifar100", "imagenet100"].contains(&value.dataset.as_str()));
            let known: Vec<f64> = [value.online, value.offline].into_iter().flatten().collect();
            assert!(!known.is_empty(), "{value:?}");
            assert!(known.iter().all(|x| (50.0..100.0).contains(x)), "{value:?}");
        }
    }

    #[test]
    fn nothing_is_said_twice() {
        let all = Published::all();
        let key = |v: &Value| (v.source.clone(), v.method.clone(), v.dataset.clone());
        let mut keys: Vec<_> = all.values.iter().map(key).collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
