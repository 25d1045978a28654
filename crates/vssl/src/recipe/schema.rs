//! What a recipe must know about the methods: their names and how their tables are read.

use serde::{Serialize, de::DeserializeOwned};

use super::{Checker, check::Complaint, read::Misread, tree::Node};

/// Settings of a method: a typed table of a recipe.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// Complains about values out of bounds; the keys are relative to the table.
    fn check(&self, checker: &mut Checker);
}

/// All settings of a table, and what is out of bounds in it.
type Resolved = Result<(toml::Table, Vec<Complaint>), Misread>;

/// One method, as far as a recipe is concerned.
#[derive(Clone, Copy)]
pub struct MethodSchema {
    /// What `method = "…"` says, and the name of the table with the settings.
    pub name: &'static str,
    resolve: fn(&Node) -> Resolved,
}

impl MethodSchema {
    /// The method `name` with the settings `S`.
    pub const fn of<S: Settings>(name: &'static str) -> Self {
        Self { name, resolve: resolve::<S> }
    }

    /// The table with its defaults filled in, and what is out of bounds in it.
    pub(super) fn resolve(&self, table: &Node) -> Result<(toml::Table, Vec<Complaint>), Misread> {
        let (resolved, complaints) =
            (self.resolve)(table).map_err(|error| error.below(self.name))?;
        Ok((resolved, complaints.into_iter().map(|c| c.below(self.name)).collect()))
    }
}

fn resolve<S: Settings>(table: &Node) -> Resolved {
    let plain = |settings: &S| toml::Table::try_from(settings).map_err(serde::de::Error::custom);
    let mut table = table.clone();
    table.complete_tables(&plain(&S::default())?);
    let settings = S::deserialize(&table)?;
    let mut checker = Checker::default();
    settings.check(&mut checker);
    Ok((plain(&settings)?, checker.into_complaints()))
}
