//! The methods, one file each, and the one list of them.

mod vssl;

use crate::train::learner::{self, AnyMethod};

pub use vssl::Vssl;

/// A line of the list.
pub struct Entry {
    /// As a recipe names it, and the name of its table of settings.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Where it is from.
    pub paper: &'static str,
    /// Reads the table of settings; missing keys take their defaults.
    pub configure: fn(&toml::Table) -> Result<Box<dyn AnyMethod>, toml::de::Error>,
}

/// All methods. A new one is one file, one line here and a recipe.
pub const METHODS: &[Entry] = &[Entry {
    name: "vssl",
    summary: "Gaussian student and momentum teacher, KL to a data-dependent prior, denoisers",
    paper: "Yavuz and Yanıkoğlu 2025, arXiv:2504.04318",
    configure: learner::configure::<Vssl>,
}];

/// The entry called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    METHODS.iter().find(|entry| entry.name == name)
}
