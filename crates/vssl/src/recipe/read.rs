//! Reads typed values out of a [`Node`] tree, with errors that keep their parts.
//!
//! serde tells a deserialiser what exactly was wrong (an unknown key and the known ones, what was
//! found and what was expected), but common error types flatten that to text and lose the place
//! inside tagged enums. [`Misread`] keeps it.

use std::{
    fmt::{self, Display},
    iter::Peekable,
};

use serde::{
    Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, Error as _, Expected, MapAccess, SeqAccess,
        Unexpected,
        value::{StrDeserializer, StringDeserializer},
    },
    forward_to_deserialize_any,
};
use toml::Value;

use super::tree::{Content, Node};

/// What could not be read, and the way there.
#[derive(Debug)]
pub(super) struct Misread {
    /// Keys from the root.
    pub(super) path: Vec<String>,
    pub(super) kind: Kind,
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    UnknownKey { key: String, known: Vec<&'static str> },
    UnknownVariant { got: String, known: Vec<&'static str> },
    Type { got: String, expected: String },
    Missing { key: &'static str },
    Other(String),
}

impl Misread {
    fn new(kind: Kind) -> Self {
        Self { path: Vec::new(), kind }
    }

    /// Says that the error came from below `key`.
    pub(super) fn below(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }

    /// serde reads the settings of a tagged enum from a copy without keys. Where the value that
    /// was found stands only once among them, that is the place.
    pub(super) fn pinpoint(mut self, root: &Node) -> Self {
        let Kind::Type { got, .. } = &self.kind else { return self };
        let node = root.find(&self.path);
        if let Some(Node { content: Content::Table(entries), .. }) = node {
            let mut same = entries.iter().filter(|(_, entry)| {
                matches!(&entry.content, Content::Leaf(value) if shown(unexpected(value)) == *got)
            });
            if let (Some((key, _)), None) = (same.next(), same.next()) {
                self.path.push(key.clone());
            }
        }
        self
    }
}

impl Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::UnknownKey { key, .. } => write!(f, "unknown key `{key}`"),
            Kind::UnknownVariant { got, known } => {
                write!(f, "got {got:?}, expected {}", alternatives(known))
            }
            Kind::Type { got, expected } => write!(f, "got {got}, expected {expected}"),
            Kind::Missing { key } => write!(f, "`{key}` is missing"),
            Kind::Other(message) => f.write_str(message),
        }
    }
}

/// `"a", "b" or "c"`.
pub(super) fn alternatives(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

impl std::error::Error for Misread {}

impl de::Error for Misread {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Kind::Other(message.to_string()))
    }

    fn invalid_type(got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Kind::Type { got: shown(got), expected: plain(&expected.to_string()) })
    }

    fn invalid_value(got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(got, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let got = format!("a list of {length}");
        Self::new(Kind::Type { got, expected: plain(&expected.to_string()) })
    }

    fn unknown_variant(got: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownVariant { got: got.to_owned(), known: known.to_vec() })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey { key: key.to_owned(), known: known.to_vec() })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Kind::Missing { key })
    }
}

/// What was found, in the words of a recipe.
fn shown(got: Unexpected<'_>) -> String {
    match got {
        Unexpected::Str(text) => format!("the text {text:?}"),
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Float(value) => format!("{value:?}"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// What was expected, in the words of a recipe: serde speaks of Rust's types.
fn plain(expected: &str) -> String {
    match expected {
        "f64" | "f32" => "a number".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "a text in quotes".to_owned(),
        "a sequence" => "a list".to_owned(),
        other => match other.split_once(" of length ") {
            Some((_, length)) => format!("a list of {length}"),
            None if other.starts_with("struct ") || other == "a map" => "a table".to_owned(),
            None if other.contains("enum ") => "one of its names, in quotes".to_owned(),
            None => other.to_owned(),
        },
    }
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::String(text) => Unexpected::Str(text),
        Value::Integer(number) => Unexpected::Signed(*number),
        Value::Float(number) => Unexpected::Float(*number),
        Value::Boolean(value) => Unexpected::Bool(*value),
        Value::Datetime(_) => Unexpected::Other("a date"),
        Value::Array(_) => Unexpected::Seq,
        Value::Table(_) => Unexpected::Map,
    }
}

/// The entries of a table, or the elements of a list, that are still to be read.
///
/// Keys are added to errors here and not where a value is read: a tagged enum copies its value
/// first and finds out what is wrong afterwards.
struct Entries<I>(I);

impl<'de, I: Iterator<Item = (&'de str, &'de Node)>> MapAccess<'de> for Entries<Peekable<I>> {
    type Error = Misread;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misread> {
        let key = self.0.peek().map(|(key, _)| seed.deserialize(StrDeserializer::new(key)));
        key.transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misread> {
        let (key, node) = self.0.next().expect("serde asks for a key first");
        seed.deserialize(node).map_err(|error| error.below(key))
    }
}

impl<'de, I: Iterator<Item = (usize, &'de Node)>> SeqAccess<'de> for Entries<I> {
    type Error = Misread;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misread> {
        let Some((index, node)) = self.0.next() else { return Ok(None) };
        seed.deserialize(node).map(Some).map_err(|error| error.below(&index.to_string()))
    }
}

impl Node {
    /// Replaces `value` by what stands here.
    pub(super) fn read_into<T: DeserializeOwned>(&self, value: &mut T) -> Result<(), Misread> {
        *value = T::deserialize(self)?;
        Ok(())
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Misread;

    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        match &self.content {
            Content::Leaf(Value::String(text)) => visitor.visit_borrowed_str(text),
            Content::Leaf(Value::Integer(number)) => visitor.visit_i64(*number),
            Content::Leaf(Value::Float(number)) => visitor.visit_f64(*number),
            Content::Leaf(Value::Boolean(value)) => visitor.visit_bool(*value),
            Content::Leaf(other) => Err(Misread::invalid_type(unexpected(other), &visitor)),
            Content::Array(items) => {
                let mut entries = Entries(items.iter().enumerate());
                let value = visitor.visit_seq(&mut entries)?;
                match entries.0.len() {
                    0 => Ok(value),
                    _ => Err(Misread::invalid_length(items.len(), &"a shorter list")),
                }
            }
            Content::Table(entries) => {
                let entries = entries.iter().map(|(key, node)| (key.as_str(), node));
                visitor.visit_map(Entries(entries.peekable()))
            }
        }
    }

    fn deserialize_option<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: de::Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misread> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: de::Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misread> {
        match &self.content {
            Content::Leaf(Value::String(name)) => {
                visitor.visit_enum(StringDeserializer::new(name.clone()))
            }
            Content::Table(entries) if entries.len() == 1 => visitor.visit_enum(Variant(entries)),
            Content::Leaf(other) => {
                let (got, expected) = (shown(unexpected(other)), alternatives(variants));
                Err(Misread::new(Kind::Type { got, expected }))
            }
            Content::Table(_) | Content::Array(_) => {
                let got = "a table or list".to_owned();
                Err(Misread::new(Kind::Type { got, expected: alternatives(variants) }))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// An enum value with settings: a table of one entry, its name.
struct Variant<'a>(&'a [(String, Node)]);

impl<'de> de::EnumAccess<'de> for Variant<'de> {
    type Error = Misread;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Misread> {
        Ok((seed.deserialize(StringDeserializer::new(self.0[0].0.clone()))?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'de> {
    type Error = Misread;

    fn unit_variant(self) -> Result<(), Misread> {
        let Content::Table(entries) = &self.0[0].1.content else {
            return Err(Misread::custom(format!("`{}` has no settings", self.0[0].0)));
        };
        match entries.is_empty() {
            true => Ok(()),
            false => Err(Misread::custom(format!("`{}` has no settings", self.0[0].0))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Misread> {
        let (key, node) = &self.0[0];
        seed.deserialize(node).map_err(|error| error.below(key))
    }

    fn tuple_variant<V: de::Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Misread> {
        let (key, node) = &self.0[0];
        node.deserialize_any(visitor).map_err(|error| error.below(key))
    }

    fn struct_variant<V: de::Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misread> {
        self.tuple_variant(0, visitor)
    }
}
