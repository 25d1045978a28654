//! Tables of a recipe of which one key, the tag, decides which other keys there are: `[optimizer]`
//! by its `name`, `[backbone]` by its `architecture`.
//!
//! The tagged enums of serde read a copy of the table that has lost its lines, and they have no keys
//! in common. So such a table is read with every key optional, and a key that the tag's value has no
//! use for is refused by [`TaggedTable::refuse_foreign`]. The messages of [`crate::recipe`] and the
//! reading of files of earlier versions use the same lists.

use serde::de;
use toml::Table;

/// Which keys a table may have.
pub(crate) struct TaggedTable {
    /// The key that decides.
    pub(crate) tag: &'static str,
    /// Value of the tag in a table without it.
    pub(crate) default: &'static str,
    /// The values of the tag, each with all keys that the table may then have, the tag among them.
    pub(crate) choices: &'static [(&'static str, &'static [&'static str])],
}

impl TaggedTable {
    /// The keys of a table whose tag is `choice`; `None` for a value that does not exist.
    pub(crate) fn keys(&self, choice: &str) -> Option<&'static [&'static str]> {
        self.choices.iter().find(|(name, _)| *name == choice).map(|(_, keys)| *keys)
    }

    /// The values of the tag that have the key `key`.
    pub(crate) fn choices_with(&self, key: &str) -> Vec<&'static str> {
        let with = self.choices.iter().filter(|(_, keys)| keys.contains(&key));
        with.map(|(name, _)| *name).collect()
    }

    /// The value of the tag in `table`; `None` where it is not a text.
    pub(crate) fn choice<'a>(&'a self, table: &'a Table) -> Option<&'a str> {
        table.get(self.tag).map_or(Some(self.default), toml::Value::as_str)
    }

    /// Keys of `table` that exist for other values of its tag only.
    pub(crate) fn foreign(&self, table: &Table) -> Vec<String> {
        let keys = self.choice(table).and_then(|choice| self.keys(choice));
        let Some(keys) = keys else { return Vec::new() };
        let foreign = table
            .keys()
            .filter(|key| !keys.contains(&key.as_str()) && !self.choices_with(key).is_empty());
        foreign.cloned().collect()
    }

    /// Refuses the first key of `written` that a table whose tag is `choice` does not have; `written`
    /// holds keys and whether the table has them.
    pub(crate) fn refuse_foreign<E: de::Error>(
        &self,
        choice: &str,
        written: &[(&str, bool)],
    ) -> Result<(), E> {
        let keys = self.keys(choice).expect("every value of the tag is in the list");
        match written.iter().find(|(key, is_written)| *is_written && !keys.contains(key)) {
            Some((key, _)) => Err(E::unknown_field(key, keys)),
            None => Ok(()),
        }
    }
}
