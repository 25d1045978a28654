//! Recipes: everything that makes a run what it is, as a TOML file.
//!
//! A file is parsed into a tree that remembers lines, overrides from the command line are applied
//! to the tree, and the tree is read into [`Recipe`], whose every value is typed and checked. All
//! that is wrong is reported with its line, the value found and what was expected. Called by the
//! command line; what runs is made of a recipe by [`crate::train`].

mod alone;
mod check;
mod difference;
mod error;
mod explain;
pub(crate) mod leaves;
mod overrides;
mod print;
mod provenance;
mod read;
mod schema;
mod sections;
mod short;
mod suggest;
mod tree;

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use vssl_data::ViewGroup;

pub use alone::settings;
pub use check::Checker;
pub(crate) use difference::of_tables;
pub use difference::{Difference, difference};
pub use error::{Location, Problem, RecipeError};
pub use provenance::{Origin, Provenance};
pub use schema::{MethodSchema, Settings};
pub use sections::{
    CheckpointSection, DataSection, EvaluationSection, HealthConfig, KnnSection, LogSection,
    ProbeConfig, TrainSection,
};

use crate::{backbone::BackboneConfig, optim::OptimizerConfig, schedule::Schedule};
use error::Source;
use tree::{Content, Node};

/// A run, resolved: what the file does not say has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the method.
    pub method: String,
    /// Seed of all randomness; 0.
    #[serde(default)]
    pub seed: u64,
    /// The images.
    #[serde(default)]
    pub data: DataSection,
    /// Groups of views, in the order in which a method sees them; two views of one group.
    #[serde(default = "two_views")]
    pub views: Vec<ViewGroup>,
    /// The encoder.
    #[serde(default)]
    pub backbone: BackboneConfig,
    /// Settings of the method: the table that is named like it, with its defaults.
    #[serde(skip)]
    pub method_table: toml::Table,
    /// Update rule and base rate.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// The rate over time.
    #[serde(default)]
    pub schedule: Schedule,
    /// Length and batch.
    #[serde(default)]
    pub train: TrainSection,
    /// Online linear probe.
    #[serde(default)]
    pub probe: ProbeConfig,
    /// Nearest neighbours.
    #[serde(default)]
    pub knn: KnnSection,
    /// The table at the end.
    #[serde(default)]
    pub evaluation: EvaluationSection,
    /// Signs of collapse.
    #[serde(default)]
    pub health: HealthConfig,
    /// State on disk.
    #[serde(default)]
    pub checkpoint: CheckpointSection,
    /// Figures on disk and screen.
    #[serde(default)]
    pub log: LogSection,
}

fn two_views() -> Vec<ViewGroup> {
    vec![ViewGroup::default()]
}

impl Recipe {
    /// Reads the recipe at `path`, changed by `overrides` of the form `a.b=c`.
    ///
    /// # Errors
    /// A file that cannot be read, is no TOML, or says what makes no sense: with every such value,
    /// its line, and what was expected.
    pub fn load(
        path: &Path,
        overrides: &[String],
        methods: &[MethodSchema],
    ) -> Result<(Self, Provenance), RecipeError> {
        let text = fs::read_to_string(path)
            .map_err(|source| RecipeError::Io { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string(), overrides, methods)
    }

    /// Reads the recipe `text`, which messages call `name`.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn parse(
        text: &str,
        name: &str,
        overrides: &[String],
        methods: &[MethodSchema],
    ) -> Result<(Self, Provenance), RecipeError> {
        let source = Source { name, text, overrides };
        let mut typed = Node::parse(text).map_err(|syntax| source.syntax(syntax))?;
        for (position, text) in overrides.iter().enumerate() {
            typed
                .apply(text, position)
                .map_err(|problem| RecipeError::Override { text: text.clone(), problem })?;
        }
        let invalid = |problems| RecipeError::Invalid { problems };
        let method = source.method(&typed, methods).map_err(|problem| invalid(vec![*problem]))?;
        let misread = |error| invalid(vec![source.misread(error, &typed, method.name)]);

        let mut rest = typed.clone();
        let empty = Node { place: typed.place.clone(), content: Content::Table(Vec::new()) };
        let table = rest.remove(method.name).unwrap_or(empty);
        let mut recipe = Self::deserialize(&rest).map_err(misread)?;
        let (settings, complaints) = method.resolve(&table).map_err(misread)?;
        recipe.method_table = settings;
        recipe.data.normalisation = Some(recipe.data.normalisation());

        let complaints = check::check(&recipe).into_iter().chain(complaints);
        let problems: Vec<_> = complaints.map(|c| source.complaint(c, &typed)).collect();
        if !problems.is_empty() {
            return Err(invalid(problems));
        }
        let provenance = Provenance::of(&recipe.to_table(), &typed, &source);
        Ok((recipe, provenance))
    }

    /// Everything as one TOML table, the method's settings under its name.
    pub fn to_table(&self) -> toml::Table {
        let flat = toml::Table::try_from(self).expect("a recipe is a table of plain values");
        let mut table = toml::Table::new();
        for (key, value) in flat {
            let last = key == "backbone";
            table.insert(key, value);
            if last {
                table.insert(self.method.clone(), self.method_table.clone().into());
            }
        }
        table
    }

    /// The text that loads to this very recipe.
    pub fn to_toml(&self) -> String {
        print::print(&self.to_table(), None)
    }

    /// The same text with a comment after each setting that says where it comes from.
    pub fn annotated(&self, provenance: &Provenance) -> String {
        print::print(&self.to_table(), Some(provenance))
    }
}
