//! Tables of a recipe in which the value of one key, the tag, decides which other keys exist: `[optimizer]`
//! and `[schedule]` by their `name`, `[backbone]` by its `architecture`.
//!
//! The tagged enums of serde read a copy of the table that has lost its line numbers, and they have no keys
//! in common. So such a table is read with every key optional, and [`TaggedTable::refuse_foreign`] refuses a
//! key that the tag's value does not have. The messages of [`crate::recipe`] and the reading of files of
//! earlier versions use the same lists.

use serde::de;
use toml::Table;

/// The keys that a table may have.
pub(crate) struct TaggedTable {
    /// The key whose value decides on the other keys.
    pub(crate) tag: &'static str,
    /// The value of the tag in a table without the tag.
    pub(crate) default: &'static str,
    /// The values of the tag, each with all keys that the table may then have, separated by blanks.
    pub(crate) choices: &'static [(&'static str, &'static str)],
}

impl TaggedTable {
    /// Returns the keys of a table whose tag is `choice`, the tag first; `None` for a value that does not
    /// exist.
    pub(crate) fn keys(&self, choice: &str) -> Option<Vec<&'static str>> {
        let (_, keys) = self.choices.iter().find(|(name, _)| *name == choice)?;
        Some([self.tag].into_iter().chain(keys.split_whitespace()).collect())
    }

    /// Returns the values of the tag that have the key `key`.
    pub(crate) fn choices_with(&self, key: &str) -> Vec<&'static str> {
        let with =
            self.choices.iter().filter(|(_, keys)| keys.split_whitespace().any(|own| own == key));
        with.map(|(name, _)| *name).collect()
    }

    /// Returns the value of the tag in `table`; `None` where it is not a string.
    pub(crate) fn choice<'a>(&'a self, table: &'a Table) -> Option<&'a str> {
        table.get(self.tag).map_or(Some(self.default), toml::Value::as_str)
    }

    /// Returns the keys of `table` that exist for other values of its tag only.
    pub(crate) fn foreign(&self, table: &Table) -> Vec<String> {
        let keys = self.choice(table).and_then(|choice| self.keys(choice));
        let Some(own) = keys else { return Vec::new() };
        let mut keys: Vec<String> = table.keys().cloned().collect();
        keys.retain(|key| !own.contains(&key.as_str()) && !self.choices_with(key).is_empty());
        keys
    }

    /// Refuses the first key of `written` that a table whose tag is `choice` does not have. `written` holds
    /// keys and whether the table has them.
    pub(crate) fn refuse_foreign<E: de::Error>(
        &self,
        choice: &str,
        written: &[(&str, bool)],
    ) -> Result<(), E> {
        let keys = self.keys(choice).unwrap_or_default();
        match written.iter().find(|(key, is_written)| *is_written && !keys.contains(key)) {
            Some((key, _)) => Err(E::custom(self.refusal(key, choice))),
            None => Ok(()),
        }
    }

    /// Returns the message on why a table whose tag is `choice` cannot have the key `key`.
    pub(crate) fn refusal(&self, key: &str, choice: &str) -> String {
        let with = self.choices_with(key).join(", ");
        let keys = self.keys(choice).unwrap_or_default().join(", ");
        format!("{key} is a key of {with}; with {} = {choice:?} expected one of {keys}", self.tag)
    }
}
