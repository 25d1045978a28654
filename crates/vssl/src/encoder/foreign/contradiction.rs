//! Arguments that contradict the tensors of a file. Called by [`super::infer`].

use serde::Serialize;

use super::ForeignError;
use crate::backbone::BackboneConfig;

/// Checks that an argument is not given for a network that has no such setting; `kind` is who has it.
pub(super) fn unfit(
    argument: &str,
    given: bool,
    kind: &str,
    config: &BackboneConfig,
) -> Result<(), ForeignError> {
    match given {
        false => Ok(()),
        true => Err(ForeignError::Contradiction(format!(
            "{argument} is for {kind}; the tensors are those of {}",
            config.architecture().name()
        ))),
    }
}

/// Checks that an argument says what the tensors tell.
pub(super) fn contradiction<T: PartialEq + Serialize>(
    argument: &str,
    said: Option<T>,
    told: T,
) -> Result<(), ForeignError> {
    match said {
        Some(said) if said != told => Err(ForeignError::Contradiction(format!(
            "{argument} says {}, the tensors are those of {}; leave the argument out or take another file",
            spelt(&said),
            spelt(&told)
        ))),
        _ => Ok(()),
    }
}

/// Returns a value as recipes and arguments spell it.
fn spelt(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("settings are plain values");
    text.trim_matches('"').to_owned()
}
