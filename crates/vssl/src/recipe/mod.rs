//! Recipes: everything that makes a run what it is, as a TOML file.
//!
//! A file is parsed into a tree that remembers lines, overrides from the command line are applied
//! to the tree, and the tree is read into [`Recipe`], whose every value is typed and checked, the
//! method included. All that is wrong is reported with its line, the value found and what was
//! expected. Called by the command line; what runs is made of a recipe by [`crate::train`].

mod check;
mod error;
mod explain;
mod idle;
mod init;
mod normalisation;
mod read;
mod sections;
mod settings;
mod tables;
mod teacher;
mod tree;

use std::{fs, path::Path};

use serde::{Serialize, de::Error as _};
use vssl_data::ViewGroup;

pub use check::Checker;
pub use error::{Location, Problem, RecipeError};
pub use explain::{Difference, Origin, Provenance, difference, literal};
pub(crate) use explain::{leaves, of_tables};
pub use init::{InitSection, StemChannels};
pub use normalisation::normalisation_of;
pub use sections::{
    CheckpointSection, DataSection, EvaluationSection, HealthConfig, KnnSection, LogSection,
    LossObjective, ProbeConfig, TrainSection, UncertaintySection,
};
pub use settings::{Entry, Settings, settings, settings_and_origins};
pub(crate) use tables::upgraded;

use crate::{
    backbone::BackboneConfig, method::learner::AnyMethod, optim::OptimizerConfig,
    schedule::Schedule,
};
use error::Source;
use read::Misread;
use tree::Node;

/// A run, resolved: what the file does not say has its default. Two recipes are equal when they are
/// written alike.
#[derive(Clone, Debug, Serialize)]
pub struct Recipe {
    /// What learns, with its settings: in a file its name, and the table of that name.
    pub method: Box<dyn AnyMethod>,
    /// Seed of all randomness; 0.
    pub seed: u64,
    /// The images.
    pub data: DataSection,
    /// Groups of views, in the order in which a method sees them; two views of one group.
    pub views: Vec<ViewGroup>,
    /// The encoder.
    pub backbone: BackboneConfig,
    /// The encoder whose weights the run starts with; random weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<InitSection>,
    /// The frozen encoder that a method such as distillation learns from.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "teacher::serialize")]
    pub teacher: Option<InitSection>,
    /// Update rule and base rate.
    pub optimizer: OptimizerConfig,
    /// The rate over time.
    pub schedule: Schedule,
    /// Length and batch.
    pub train: TrainSection,
    /// Online linear probe.
    pub probe: ProbeConfig,
    /// A head that predicts the loss of an image; no head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncertainty: Option<UncertaintySection>,
    /// Nearest neighbours.
    pub knn: KnnSection,
    /// The table at the end.
    pub evaluation: EvaluationSection,
    /// Signs of collapse.
    pub health: HealthConfig,
    /// State on disk.
    pub checkpoint: CheckpointSection,
    /// Figures on disk and screen.
    pub log: LogSection,
}

/// The keys of a recipe. The table of the method is there as well.
const KEYS: &[&str] = &[
    "method",
    "seed",
    "data",
    "views",
    "backbone",
    "init",
    "teacher",
    "optimizer",
    "schedule",
    "train",
    "probe",
    "uncertainty",
    "knn",
    "evaluation",
    "health",
    "checkpoint",
    "log",
];

impl PartialEq for Recipe {
    fn eq(&self, other: &Self) -> bool {
        self.to_table() == other.to_table()
    }
}

impl Recipe {
    /// A recipe of one's own making: this method, and the defaults for everything else. `data.path`
    /// has to be set.
    pub fn new(method: Box<dyn AnyMethod>) -> Self {
        Self {
            method,
            seed: 0,
            data: DataSection::default(),
            views: vec![ViewGroup::default()],
            backbone: BackboneConfig::default(),
            init: None,
            teacher: None,
            optimizer: OptimizerConfig::default(),
            schedule: Schedule::default(),
            train: TrainSection::default(),
            probe: ProbeConfig::default(),
            uncertainty: None,
            knn: KnnSection::default(),
            evaluation: EvaluationSection::default(),
            health: HealthConfig::default(),
            checkpoint: CheckpointSection::default(),
            log: LogSection::default(),
        }
    }

    /// Refuses values out of bounds, as reading a recipe does; those of the method itself are not looked at.
    ///
    /// # Errors
    /// Every such value, with its key and what was expected.
    pub fn check(&self) -> Result<(), String> {
        let complaints = check::check(self).into_iter();
        let words: Vec<String> = complaints
            .map(|complaint| format!("{} {}", complaint.path.join("."), complaint.message))
            .collect();
        if words.is_empty() { Ok(()) } else { Err(words.join("\n")) }
    }

    /// Reads the recipe at `path`, changed by `overrides` of the form `a.b=c`; its method is one of
    /// `methods`, such as [`METHODS`](crate::methods::METHODS).
    ///
    /// # Errors
    /// A file that cannot be read, that is not TOML, or that says what makes no sense: with every
    /// such value, its line, and what was expected.
    pub fn load(
        path: &Path,
        overrides: &[String],
        methods: &[Entry],
    ) -> Result<(Self, Provenance), RecipeError> {
        if path.is_dir() {
            return Err(RecipeError::Folder { path: path.to_owned() });
        }
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
        methods: &[Entry],
    ) -> Result<(Self, Provenance), RecipeError> {
        let source = Source { name, text, overrides };
        let mut typed = source.tree()?;
        let invalid = |problems| RecipeError::Invalid { problems };
        let names: Vec<&str> = methods.iter().map(|entry| entry.name).collect();
        let named = source.method(&typed, &names).map_err(|problem| invalid(vec![*problem]))?;
        let entry = &methods[named];
        let undecided = undecided_backbone(&typed);
        if undecided.is_some() {
            typed.remove("backbone");
        }
        let mut notes = source.refuse_foreign(&mut typed)?;
        let misread = |error| invalid(vec![source.misread(error, &typed, entry.name)]);

        let mut rest = typed.clone();
        rest.remove(entry.name);
        let mut recipe = Self::new(entry.defaults());
        recipe.read(&rest).map_err(misread)?;
        let (method, complaints) = entry.read(typed.get(entry.name)).map_err(misread)?;
        recipe.method = method;
        if let Some(backbone) = undecided {
            typed.insert("backbone", backbone);
        }
        match &mut recipe.init {
            // The encoder may decide these.
            Some(init) => {
                init.backbone = Some(typed.get("backbone").map(Node::table).unwrap_or_default());
            }
            None => {
                let data = &mut recipe.data;
                data.normalisation = data.normalisation.or_else(|| data.usual_normalisation());
            }
        }

        notes.extend(recipe.adapt_warmup(&typed));
        let complaints = [check::check(&recipe), complaints].concat();
        if !complaints.is_empty() {
            return Err(invalid(source.complaints(complaints, &typed)));
        }
        let provenance = Provenance::of(&recipe.to_table(), &typed, &source).with(notes);
        let idle = recipe.idle(&provenance, entry.defaults());
        Ok((recipe, provenance.with(idle)))
    }

    /// Shortens a warm-up that nobody has asked for and that is longer than the run. Returns a note on it.
    fn adapt_warmup(&mut self, typed: &Node) -> Option<String> {
        let path = ["schedule", "warmup_epochs"].map(str::to_owned);
        let epochs = self.train.epochs;
        let Schedule::WarmupCosine(shape) = &mut self.schedule else { return None };
        let default = shape.warmup_epochs;
        if typed.find(&path).is_some() || default <= epochs as f64 || epochs == 0 {
            return None;
        }
        shape.warmup_epochs = epochs as f64 / 10.0;
        Some(format!(
            "train.epochs = {epochs} is shorter than the warm-up of {default} epochs that a run has unless \
             schedule.warmup_epochs is given: the warm-up takes {} epochs",
            shape.warmup_epochs
        ))
    }

    /// Takes over what `table` says; the method and its settings are read elsewhere.
    fn read(&mut self, table: &Node) -> Result<(), Misread> {
        for (key, node) in table.entries() {
            let read = match key {
                "method" => Ok(()),
                "seed" => node.read_into(&mut self.seed),
                "data" => node.read_into(&mut self.data),
                "views" => node.read_into(&mut self.views),
                "backbone" => node.read_into(&mut self.backbone),
                "init" => node.read_into(self.init.get_or_insert_default()),
                "teacher" => node.read_into(self.teacher.get_or_insert_default()),
                "optimizer" => node.read_into(&mut self.optimizer),
                "schedule" => node.read_into(&mut self.schedule),
                "train" => node.read_into(&mut self.train),
                "probe" => node.read_into(&mut self.probe),
                "uncertainty" => node.read_into(self.uncertainty.get_or_insert_default()),
                "knn" => node.read_into(&mut self.knn),
                "evaluation" => node.read_into(&mut self.evaluation),
                "health" => node.read_into(&mut self.health),
                "checkpoint" => node.read_into(&mut self.checkpoint),
                "log" => node.read_into(&mut self.log),
                _ => return Err(Misread::unknown_field(key, KEYS)),
            };
            read.map_err(|error| error.below(key))?;
        }
        Ok(())
    }

    /// Everything as one TOML table, the method's settings under its name.
    pub fn to_table(&self) -> toml::Table {
        let flat = toml::Table::try_from(self).expect("a recipe is a table of plain values");
        let mut table = toml::Table::new();
        for (key, value) in flat {
            let last = key == "backbone";
            table.insert(key, value);
            if last {
                table.insert(self.method.name().to_owned(), self.method.settings().into());
            }
        }
        table
    }

    /// The text that loads to this very recipe.
    pub fn to_toml(&self) -> String {
        explain::print(&self.to_table(), None)
    }

    /// The same text with a comment after each setting that says where it comes from.
    pub fn annotated(&self, provenance: &Provenance) -> String {
        explain::print(&self.to_table(), Some(provenance))
    }
}

/// Returns the table `[backbone]` of a run that starts from an encoder, if it does not say the architecture: the encoder
/// decides which keys it may have.
fn undecided_backbone(typed: &Node) -> Option<Node> {
    let starts = typed.get("init").is_some_and(|init| init.get("from").is_some());
    let own = typed.get("backbone").filter(|own| starts && own.get("architecture").is_none())?;
    own.entries().next().is_some().then(|| own.clone())
}
