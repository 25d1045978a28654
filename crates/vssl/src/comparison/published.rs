//! Results that others published, from `published.toml`, with their sources.
//!
//! The paper's layout shows them beside the runs and never ranks them together: they come from other
//! hardware, other software and, where the note says so, from trainings of another length.

use serde::{Deserialize, Serialize};

use super::{Note, NoteKind, Row};

/// Published values for some methods and datasets, and their sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The sources of the values.
    #[serde(rename = "source", default)]
    pub sources: Vec<Source>,
    /// The values.
    #[serde(rename = "value", default)]
    pub values: Vec<Value>,
}

/// A source of published values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name by which values refer to the source.
    pub name: String,
    /// Title of the publication.
    pub title: String,
    /// Date of the publication.
    pub date: String,
}

/// Published top-1 accuracies of linear classifiers, percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Name of the source.
    pub source: String,
    /// Name of the method in recipes.
    pub method: String,
    /// Name of the dataset in tables.
    pub dataset: String,
    /// Accuracy of a classifier trained beside the encoder; `None` where the source does not state it.
    #[serde(default)]
    pub online: Option<f64>,
    /// Accuracy of a classifier trained after the encoder; `None` where the source does not state it.
    #[serde(default)]
    pub offline: Option<f64>,
}

impl Published {
    /// All published values that ship with the program.
    pub fn all() -> Self {
        toml::from_str(include_str!("published.toml")).expect("a test reads the same text")
    }

    /// The published values for the methods of `rows` on `datasets`.
    pub(super) fn on(rows: &[Row], datasets: &[String]) -> Self {
        let Self { mut sources, mut values } = Self::all();
        values.retain(|value| {
            datasets.contains(&value.dataset) && rows.iter().any(|row| row.method == value.method)
        });
        sources.retain(|source| values.iter().any(|value| value.source == source.name));
        Self { sources, values }
    }

    /// The methods with the sources of their values, each pair once, by name.
    pub(super) fn rows(&self) -> Vec<(&str, &str)> {
        let pairs = self.values.iter().map(|v| (v.method.as_str(), v.source.as_str()));
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// The value that `source` has for a method on a dataset.
    pub(super) fn value(&self, source: &str, method: &str, dataset: &str) -> Option<&Value> {
        self.values.iter().find(|value| {
            (value.source.as_str(), value.method.as_str(), value.dataset.as_str())
                == (source, method, dataset)
        })
    }

    /// The sources as notes.
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
