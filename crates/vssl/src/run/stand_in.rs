//! The checkpoint that is taken where `latest` leads to none.

/// The newest whole checkpoint of a run whose file `latest` is missing, empty or names a checkpoint that is
/// not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// The name of the checkpoint: `step-…`.
    pub name: String,
    /// The reason why `latest` leads to no checkpoint, as a clause.
    pub reason: String,
    /// The newer checkpoints that are damaged, newest first, each with the damage.
    pub left_out: Vec<(String, String)>,
}

impl StandIn {
    /// Returns a note for people; `verb` says what happens with the checkpoint, as in "goes on from".
    pub fn note(&self, verb: &str) -> String {
        let Self { name, reason, left_out } = self;
        let left_out: String = left_out
            .iter()
            .map(|(name, damage)| format!("; {name} is left out: {damage}"))
            .collect();
        format!("{reason}: {verb} {name}, the newest whole checkpoint{left_out}")
    }
}
