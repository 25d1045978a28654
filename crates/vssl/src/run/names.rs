//! The names of the files in a run folder that several modules use. The modules `metrics`, `history` and
//! `checkpoint` name their own files.

/// The resolved recipe of a run.
pub const RECIPE: &str = "recipe.toml";
/// The result of a run or of a training on labels.
pub const SUMMARY: &str = "summary.json";
/// The resolved settings of a training on labels, which does not have a recipe.
pub const SETTINGS: &str = "settings.toml";
/// The folder of `vssl linear`'s results inside the folder of the run that it evaluates.
pub const LINEAR: &str = "linear";
/// The accuracy by class of the last evaluation: see [`crate::eval::confusion`].
pub const CLASSES: &str = "classes.json";
/// The number of images of each class by the class that they were given.
pub const CONFUSION: &str = "confusion.csv";
/// The images that keep their labels in a fine-tuning on a share of them.
pub const LABELS: &str = "labels.json";
/// The architecture and the input of a fine-tuned network, which its checkpoints do not tell.
pub const ENCODER: &str = "encoder.json";
/// The encoder that a run started from, where it did not start from random weights.
pub const START: &str = "start.safetensors";
/// The frozen teacher of a run whose method learns from one.
pub const TEACHER: &str = "teacher.safetensors";
/// The messages to people.
pub(super) const LOG: &str = "log.txt";
