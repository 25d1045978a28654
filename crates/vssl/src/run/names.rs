//! The names of the files in a run folder that no other module writes and reads alone: see `metrics`, `history`
//! and `checkpoint` for theirs.

/// The resolved recipe of a run.
pub const RECIPE: &str = "recipe.toml";
/// The result of a run, and that of a training on labels.
pub const SUMMARY: &str = "summary.json";
/// The resolved settings of a training on labels, which has no recipe.
pub const SETTINGS: &str = "settings.toml";
/// Where `vssl linear` leaves its results in the folder of the run that it judges.
pub const LINEAR: &str = "linear";
/// What was said to people.
pub(super) const LOG: &str = "log.txt";
