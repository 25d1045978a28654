//! `vssl export`: the encoder of a run as a file of its own.

use serde_json::json;
use vssl::export::export;

use super::say;
use crate::{
    arguments::{Common, Export, NetworkName},
    failure::Failure,
};

pub(super) fn run(arguments: &Export, common: &Common) -> Result<(), Failure> {
    let Export { run, to, network, checkpoint } = arguments;
    let name = match network {
        NetworkName::Student => "student",
        NetworkName::Teacher => "teacher",
    };
    let exported = export(run, checkpoint, (*network).into(), to)?;
    if common.json {
        let value = json!({
            "event": "exported",
            "path": to,
            "network": name,
            "step": exported.step,
            "tensors": exported.tensors,
        });
        return say(&value.to_string());
    }
    say(&format!(
        "{}: {} tensors of the {name}'s backbone after step {}",
        to.display(),
        exported.tensors,
        exported.step
    ))
}
