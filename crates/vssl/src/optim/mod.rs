//! Optimisers: gradients by parameter path in, the updated module out.
//!
//! Own code instead of Burn's because LARS, per-group rules and clipping over all gradients are
//! needed, and because state filed by path (not by random parameter id) is what makes a checkpoint
//! readable and a resumed run exact. Called by the training loop: collect, (accumulate, average,)
//! clip, step, then the teacher's [`ema`].

mod clip;
mod config;
mod ema;
mod gradients;
mod groups;
mod leaf;
mod loss_scale;
mod optimizer;
mod settings;
mod table;

pub use clip::Clip;
pub use config::{Adam, Algorithm, Lars, OptimizerConfig, Sgd};
pub use ema::ema;
pub use gradients::Gradients;
pub use groups::GroupRule;
pub use loss_scale::LossScale;
pub use optimizer::Optimizer;
pub(crate) use table::TABLE;

/// What can go wrong when parameters are grouped, updated, saved and loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptimError {
    /// A number of the configuration is out of range.
    #[error("optimizer.{field} is {got}; expected {expected}")]
    Setting {
        /// The key.
        field: &'static str,
        /// Its value.
        got: f64,
        /// What it has to be.
        expected: &'static str,
    },
    /// A group rule contradicts itself.
    #[error("optimizer.groups[{index}] ({rule}): {problem}")]
    Rule {
        /// Position of the rule, from 0.
        index: usize,
        /// The rule's criterion.
        rule: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Parameter and gradient, state or student do not have the same number of elements.
    #[error("{what} of {path} has {got} elements, the parameter has {expected}")]
    Length {
        /// Gradient, state or student parameter.
        what: &'static str,
        /// Path of the parameter.
        path: String,
        /// Elements found.
        got: usize,
        /// Elements of the parameter.
        expected: usize,
    },
    /// Gradients for parameters that the module does not have.
    #[error(
        "gradients for {} that the module does not have; it was built from another recipe or the gradients were collected from another module",
        names(paths)
    )]
    UnknownGradients {
        /// Their paths.
        paths: Vec<String>,
    },
    /// A teacher has parameters that its student lacks.
    #[error(
        "the student has no parameter {}; the teacher has to be a copy of the student or of a part of it",
        names(paths)
    )]
    NoStudent {
        /// Paths of the teacher's parameters.
        paths: Vec<String>,
    },
    /// A count of updates in a checkpoint is not one.
    #[error("optimizer state: {key} is {got}; expected a count of updates, the file is damaged")]
    Count {
        /// The key.
        key: String,
        /// Its value.
        got: i64,
    },
    /// State in a checkpoint is not that of this optimiser over this module.
    #[error(
        "optimizer state: missing {}, unexpected {}; the checkpoint was written by another optimizer or model, resume with the recipe beside it",
        names(missing),
        names(unexpected)
    )]
    StateKeys {
        /// Keys that have to be there and are not.
        missing: Vec<String>,
        /// Keys that are there and mean nothing.
        unexpected: Vec<String>,
    },
}

/// The first few names of a list, and how many there are.
fn names(paths: &[String]) -> String {
    const SHOWN: usize = 4;
    match paths.len() {
        0 => "nothing".into(),
        n if n <= SHOWN => paths.join(", "),
        n => format!("{} and {} more", paths[..SHOWN].join(", "), n - SHOWN),
    }
}
