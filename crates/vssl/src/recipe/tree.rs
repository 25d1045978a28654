//! A recipe as it was typed: values that know where they stand.
//!
//! Made by [`Node::parse`], changed by [`super::overrides`], read by [`super::read`].

use std::ops::Range;

use toml::{
    Value,
    de::{DeTable, DeValue},
};

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

/// What stands there.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Leaf(Value),
    Array(Vec<Node>),
    /// In the order of the file.
    Table(Vec<(String, Node)>),
}

/// Where something was said: byte ranges of the file, or the position of a `--set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File { key: Range<usize>, value: Range<usize> },
    Override(usize),
}

/// What the parser did not like, and where.
pub(super) struct Syntax {
    pub(super) message: String,
    pub(super) at: Range<usize>,
}

impl Node {
    /// Reads a whole file.
    pub(super) fn parse(text: &str) -> Result<Self, Syntax> {
        let syntax = |error: toml::de::Error| Syntax {
            message: error.message().to_owned(),
            at: error.span().unwrap_or(0..0),
        };
        // Twice: once for the values with their ranges checked, once for where they are.
        let values: toml::Table = toml::from_str(text).map_err(syntax)?;
        let spans = DeTable::parse(text).map_err(syntax)?;
        let place = Place::File { key: 0..0, value: spans.span() };
        Ok(Self { place, content: table(&values, spans.get_ref()) })
    }

    /// A value that stands as a whole at `place`.
    pub(super) fn at(place: &Place, value: &Value) -> Self {
        let node = |value| Self::at(place, value);
        let content = match value {
            Value::Table(entries) => {
                Content::Table(entries.iter().map(|(k, v)| (k.clone(), node(v))).collect())
            }
            Value::Array(items) => Content::Array(items.iter().map(node).collect()),
            leaf => Content::Leaf(leaf.clone()),
        };
        Self { place: place.clone(), content }
    }

    /// Adds to each table inside this one what it does not say and `defaults` does: whoever sets
    /// one key of a table keeps the others as they were.
    pub(super) fn complete_tables(&mut self, defaults: &toml::Table) {
        let Content::Table(entries) = &mut self.content else { return };
        for (key, node) in entries {
            let (Some(Value::Table(defaults)), Content::Table(own)) =
                (defaults.get(key), &mut node.content)
            else {
                continue;
            };
            for (key, value) in defaults {
                if !own.iter().any(|(k, _)| k == key) {
                    own.push((key.clone(), Self::at(&node.place, value)));
                }
            }
        }
    }

    /// The entry or element called `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Table(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            Content::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
            Content::Leaf(_) => None,
        }
    }

    /// The node at `path`, or the last one on the way to it.
    pub(super) fn nearest(&self, path: &[String]) -> &Node {
        match path.split_first().and_then(|(key, rest)| Some((self.get(key)?, rest))) {
            Some((node, rest)) => node.nearest(rest),
            None => self,
        }
    }

    /// The node at `path`.
    pub(super) fn find(&self, path: &[String]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Takes the entry `key` out of a table.
    pub(super) fn remove(&mut self, key: &str) -> Option<Node> {
        let Content::Table(entries) = &mut self.content else { return None };
        let index = entries.iter().position(|(k, _)| k == key)?;
        Some(entries.remove(index).1)
    }

    /// The override that anything in here comes from, the last one if there are several.
    pub(super) fn overridden(&self) -> Option<usize> {
        let here = match self.place {
            Place::Override(position) => Some(position),
            Place::File { .. } => None,
        };
        let below = match &self.content {
            Content::Leaf(_) => None,
            Content::Array(items) => items.iter().filter_map(Node::overridden).max(),
            Content::Table(entries) => entries.iter().filter_map(|(_, v)| v.overridden()).max(),
        };
        here.max(below)
    }
}

fn table(values: &toml::Table, spans: &DeTable) -> Content {
    let node = |(key, value): (&String, &Value)| {
        let (k, v) = spans.get_key_value(key.as_str()).expect("both were read from one text");
        let place = Place::File { key: k.span(), value: v.span() };
        (key.clone(), Node { place, content: content(value, v.get_ref()) })
    };
    Content::Table(values.iter().map(node).collect())
}

fn content(value: &Value, span: &DeValue) -> Content {
    match (value, span) {
        (Value::Table(values), DeValue::Table(spans)) => table(values, spans),
        (Value::Array(values), DeValue::Array(spans)) => {
            let node = |(value, span): (&Value, &toml::Spanned<DeValue>)| {
                let place = Place::File { key: span.span(), value: span.span() };
                Node { place, content: content(value, span.get_ref()) }
            };
            Content::Array(values.iter().zip(spans.iter()).map(node).collect())
        }
        (leaf, _) => Content::Leaf(leaf.clone()),
    }
}
