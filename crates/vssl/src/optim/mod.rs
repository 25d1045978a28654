//! Optimisers: they take gradients by parameter path and return the updated module.
//!
//! The optimisers are our own instead of Burn's because LARS, per-group rules and clipping over all gradients
//! are needed, and because state stored by path (not by random parameter id) makes a checkpoint readable and
//! a resumed run exact. Called by the training loop, which collects, accumulates, averages and clips the
//! gradients, makes a step and then updates the teacher by [`ema`].

mod clip;
mod config;
mod ema;
mod gradients;
mod groups;
mod layers;
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
pub use layers::layer_factors;
pub use loss_scale::LossScale;
pub use optimizer::Optimizer;
pub(crate) use table::TABLE;

/// Why parameters cannot be grouped, updated, saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptimError {
    /// A number of the configuration is out of range.
    #[error("optimizer.{field} is {got}; expected {expected}")]
    Setting {
        /// The key.
        field: &'static str,
        /// The value of the key.
        got: f64,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// A group rule contradicts itself.
    #[error("optimizer.groups[{index}] ({rule}): {problem}")]
    Rule {
        /// The position of the rule, from 0.
        index: usize,
        /// The criterion of the rule.
        rule: String,
        /// The contradiction, and what to do.
        problem: String,
    },
    /// The learning rate should fall by blocks, and the model has no backbone of numbered blocks.
    #[error(
        "optimizer.layer_decay is {factor}: none of the model's parameters (the first is {first}) is in a numbered \
         block of a backbone; leave the key out"
    )]
    NoBlocks {
        /// The factor.
        factor: f64,
        /// The path of the first parameter.
        first: String,
    },
    /// A gradient, state or student parameter does not have the size of its parameter.
    #[error("{what} of {path} has {got} elements, the parameter has {expected}")]
    Length {
        /// The name of the tensor: gradient, state or student parameter.
        what: &'static str,
        /// The path of the parameter.
        path: String,
        /// The number of elements that was found.
        got: usize,
        /// The number of elements of the parameter.
        expected: usize,
    },
    /// There are gradients for parameters that the module does not have.
    #[error(
        "gradients for {} that the module does not have; it was built from another recipe or the gradients were collected from another module",
        names(paths)
    )]
    UnknownGradients {
        /// The paths of these parameters.
        paths: Vec<String>,
    },
    /// A teacher has parameters that its student lacks.
    #[error(
        "the student has no parameter {}; the teacher has to be a copy of the student or of a part of it",
        names(paths)
    )]
    NoStudent {
        /// The paths of the teacher's parameters that the student lacks.
        paths: Vec<String>,
    },
    /// A count of updates in a checkpoint is not a valid count.
    #[error("optimizer state: {key} is {got}; expected a count of updates, the file is damaged")]
    Count {
        /// The key.
        key: String,
        /// The value of the key.
        got: i64,
    },
    /// The state in a checkpoint is not that of this optimiser over this module.
    #[error(
        "optimizer state: missing {}, unexpected {}; the checkpoint was written by another optimizer or model, resume with the recipe beside it",
        names(missing),
        names(unexpected)
    )]
    StateKeys {
        /// The keys that are missing.
        missing: Vec<String>,
        /// The keys that belong to no parameter.
        unexpected: Vec<String>,
    },
}

/// Returns the first few names of a list, and how many there are.
fn names(paths: &[String]) -> String {
    const SHOWN: usize = 4;
    match paths.len() {
        0 => "nothing".into(),
        n if n <= SHOWN => paths.join(", "),
        n => format!("{} and {} more", paths[..SHOWN].join(", "), n - SHOWN),
    }
}
