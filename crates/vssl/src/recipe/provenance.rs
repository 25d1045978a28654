//! Where each setting of a resolved recipe comes from. Shown by `vssl config`.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use super::{
    error::Source,
    leaves::leaves,
    tree::{Node, Place},
};

/// Who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
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
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Override => f.write_str("--set"),
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
pub struct Provenance(BTreeMap<String, Origin>);

impl Provenance {
    pub(super) fn of(resolved: &toml::Table, typed: &Node, source: &Source) -> Self {
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
        Self(origins.collect())
    }

    /// Of one setting; [`Origin::Default`] for a key that there is not.
    pub fn origin(&self, key: &str) -> &Origin {
        self.0.get(key).unwrap_or(&Origin::Default)
    }
}
