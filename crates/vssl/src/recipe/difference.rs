//! What differs between two recipes: a run that is resumed goes on with the recipe it began with.

use std::fmt;

use toml::Table;

use super::{Recipe, leaves::leaves};

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

/// The same of settings that are no recipe.
pub(crate) fn of_tables(was: &Table, now: &Table) -> Vec<Difference> {
    let flat = |table: &Table| -> Vec<(String, String)> {
        leaves(table).into_iter().map(|(path, value)| (path.join("."), value.to_string())).collect()
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
