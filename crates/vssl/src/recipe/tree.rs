//! A recipe as it was typed: values that know where they stand.
//!
//! Made by [`Node::parse`], changed by [`Node::apply`] for each `--set a.b=c`, read by
//! [`super::read`].

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

    /// A table that does not stand in a file.
    pub(super) fn nowhere(table: toml::Table) -> Self {
        Self::at(&Place::File { key: 0..0, value: 0..0 }, &Value::Table(table))
    }

    /// Adds what this table does not say and `defaults` does.
    pub(super) fn complete(&mut self, defaults: &toml::Table) {
        for (key, value) in defaults {
            if self.get(key).is_none() {
                let node = Self::at(&self.place, value);
                self.insert(key, node);
            }
        }
    }

    /// Puts a new entry into a table.
    pub(super) fn insert(&mut self, key: &str, node: Node) {
        if let Content::Table(entries) = &mut self.content {
            entries.push((key.to_owned(), node));
        }
    }

    /// The entries of a table, in the order of the file.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let entries = match &self.content {
            Content::Table(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    /// The table without its places.
    pub(super) fn table(&self) -> toml::Table {
        self.entries().map(|(key, node)| (key.to_owned(), node.value())).collect()
    }

    fn value(&self) -> Value {
        match &self.content {
            Content::Leaf(value) => value.clone(),
            Content::Array(items) => Value::Array(items.iter().map(Self::value).collect()),
            Content::Table(_) => self.table().into(),
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

    /// The entry of a table called `key`.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Content::Table(entries) = &mut self.content else { return None };
        entries.iter_mut().find(|(k, _)| k == key).map(|(_, node)| node)
    }

    /// Takes the entry `key` out of a table.
    pub(super) fn remove(&mut self, key: &str) {
        if let Content::Table(entries) = &mut self.content {
            entries.retain(|(k, _)| k != key);
        }
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

    /// Applies the override `text`, number `position` on the command line.
    ///
    /// # Errors
    /// What is wrong with it and what to do, for a person.
    pub(super) fn apply(&mut self, text: &str, position: usize) -> Result<(), String> {
        let (path, value) = split(text)
            .ok_or("there is no `=`; write it as key=value, for example train.epochs=10")?;
        if path.iter().any(|part| part.is_empty()) {
            return Err("a part of the key is empty; write it as table.key=value".into());
        }
        if value.is_empty() {
            return self.take(&path);
        }
        let value = parse_value(value)?;
        self.put(&path, 0, Node::at(&Place::Override(position), &value))
    }

    /// Takes out what is at `path`: the setting then has its default, or none.
    fn take(&mut self, path: &[&str]) -> Result<(), String> {
        let key = path.join(".");
        if key == "method" {
            return Err("`method` is required: it can be changed, not removed".into());
        }
        let (last, above) = path.split_last().expect("a key has at least one part");
        let above = above.iter().try_fold(&mut *self, |node, key| node.inside(key));
        let removed = match above.map(|node| &mut node.content) {
            Some(Content::Table(entries)) => {
                let at = entries.iter().position(|(known, _)| known == last);
                at.map(|at| entries.remove(at)).is_some()
            }
            Some(Content::Array(items)) if items.len() == 1 && *last == "0" => {
                return Err(format!("`{key}` is all that its list has: a list cannot be emptied"));
            }
            Some(Content::Array(items)) => {
                let at = last.parse().ok().filter(|&at: &usize| at < items.len());
                at.map(|at| items.remove(at)).is_some()
            }
            _ => false,
        };
        match removed {
            true => Ok(()),
            false => Err(format!(
                "`{key}` is not set, so there is nothing to remove; an empty string is written \"\""
            )),
        }
    }

    /// The entry of a table or the element of a list.
    fn inside(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.content {
            Content::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
            Content::Table(entries) => {
                entries.iter_mut().find(|(known, _)| known == key).map(|(_, node)| node)
            }
            Content::Leaf(_) => None,
        }
    }

    /// Puts `new` at `path`, of which `depth` parts lead here.
    fn put(&mut self, path: &[&str], depth: usize, new: Node) -> Result<(), String> {
        let Some(&key) = path.get(depth) else {
            *self = new;
            return Ok(());
        };
        let here = path[..depth].join(".");
        match &mut self.content {
            Content::Leaf(_) => {
                Err(format!("`{here}` is a single value, there is no `{key}` in it"))
            }
            Content::Array(items) => {
                let count = items.len();
                let index = key.parse().ok().filter(|&index: &usize| index < count);
                let index = index.ok_or_else(|| {
                    format!("`{here}` is a list of {count}: expected an index below {count}")
                })?;
                items[index].put(path, depth + 1, new)
            }
            Content::Table(entries) => {
                if let Some((_, entry)) = entries.iter_mut().find(|(k, _)| k == key) {
                    return entry.put(path, depth + 1, new);
                }
                if path.get(depth + 1).is_some_and(|next| next.parse::<usize>().is_ok()) {
                    let list = path[..=depth].join(".");
                    return Err(format!(
                        "the recipe file has no list `{list}`; write it there before changing an \
                         element"
                    ));
                }
                // Tables on the way that the file does not have.
                let mut node = new;
                for part in path[depth + 1..].iter().rev() {
                    let place = node.place.clone();
                    node = Node { place, content: Content::Table(vec![(part.to_string(), node)]) };
                }
                entries.push((key.to_owned(), node));
                Ok(())
            }
        }
    }
}

/// The path of the key that the override `text` removes; `None` where it sets a value.
pub(super) fn removed(text: &str) -> Option<Vec<&str>> {
    split(text).filter(|(_, value)| value.is_empty()).map(|(path, _)| path)
}

/// The path of the key and the value of an override; `None` without `=`.
fn split(text: &str) -> Option<(Vec<&str>, &str)> {
    let (key, value) = text.split_once('=')?;
    Some((key.trim().split('.').map(str::trim).collect(), value.trim()))
}

/// A TOML value. Text that is not TOML is a string, unless it begins like a value that needs an end.
fn parse_value(text: &str) -> Result<Value, String> {
    match toml::from_str::<toml::Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 => {
            Ok(table.remove("value").expect("the text says `value =`"))
        }
        Ok(_) => Err("one value was expected".into()),
        Err(error) if text.starts_with(['"', '\'', '[', '{']) => {
            Err(format!("{text} is no TOML value: {}", error.message()))
        }
        Err(_) => Ok(Value::String(text.to_owned())),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(recipe: &str, text: &str) -> Result<Node, String> {
        let mut node = Node::parse(recipe).map_err(|e| e.message)?;
        node.apply(text, 0).map(|()| node)
    }

    fn leaf(node: &Node, path: &str) -> Value {
        let path: Vec<String> = path.split('.').map(String::from).collect();
        match &node.find(&path).unwrap().content {
            Content::Leaf(value) => value.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_are_toml_and_bare_words_are_strings() {
        let cases = [
            ("a.b=3", Value::Integer(3)),
            ("a.b=1e-3", Value::Float(1e-3)),
            ("a.b=true", Value::Boolean(true)),
            ("a.b=byol", Value::String("byol".into())),
            ("a.b=\"3\"", Value::String("3".into())),
            ("a.b=/data/my images", Value::String("/data/my images".into())),
            ("a.b=2=3", Value::String("2=3".into())),
            ("a.b = 4", Value::Integer(4)),
        ];
        for (text, expected) in cases {
            assert_eq!(leaf(&applied("[a]\nc = 1", text).unwrap(), "a.b"), expected, "{text}");
        }
    }

    #[test]
    fn an_index_reaches_into_a_list() {
        let recipe = "[[views]]\nsize = 32\n[[views]]\nsize = 32";
        let node = applied(recipe, "views.1.size=24").unwrap();
        assert_eq!(leaf(&node, "views.1.size"), Value::Integer(24));
        assert_eq!(leaf(&node, "views.0.size"), Value::Integer(32));
        assert!(applied(recipe, "views.2.size=24").unwrap_err().contains("below 2"));
        assert!(applied("", "views.0.size=24").unwrap_err().contains("no list `views`"));
    }

    #[test]
    fn without_a_value_the_key_is_removed() {
        let recipe = "seed = 3\n[a]\nb = 1\nc = 2\n[[views]]\nsize = 32\n[[views]]\nsize = 24";
        let keys = |node: &Node| node.entries().map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
        let without = applied(recipe, "seed=").unwrap();
        assert_eq!(keys(&without), ["a", "views"]);
        assert_eq!(keys(applied(recipe, "a.b = ").unwrap().get("a").unwrap()), ["c"]);
        assert_eq!(keys(&applied(recipe, "a=").unwrap()), ["seed", "views"]);
        let views = applied(recipe, "views.0=").unwrap();
        assert_eq!(leaf(&views, "views.0.size"), Value::Integer(24));
        assert!(applied("[[views]]\nsize = 1", "views.0=").unwrap_err().contains("emptied"));
        for text in ["d=", "a.d=", "d.b=", "seed.b=", "views.2=", "views.x="] {
            let error = applied(recipe, text).unwrap_err();
            assert!(error.contains("is not set, so there is nothing to remove"), "{text}: {error}");
        }
        assert!(applied(recipe, "method=").unwrap_err().contains("is required"));
    }

    #[test]
    fn text_that_is_not_an_override_is_refused() {
        for text in ["a", "a.=1", ".a=1", "a=", "a=[1", "a=\"x", "a=1\nb=2"] {
            assert!(applied("", text).is_err(), "{text}");
        }
        assert!(applied("a = 1", "a.b=2").unwrap_err().contains("single value"));
    }
}
