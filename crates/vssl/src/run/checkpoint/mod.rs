//! Checkpoints: the whole state that a run needs to go on, complete or absent.
//!
//! `checkpoints/step-00001200/` holds one safetensors file for each kind of state and a manifest with their
//! checksums and its own. A checkpoint is written to a hidden folder, synced and renamed; the file `latest`
//! changes after that. So `latest` names a complete checkpoint at any moment, also when the machine stops. A
//! checkpoint of a step that has one already replaces it, and the earlier one stays under a hidden name until then.
//! Where somebody removed or changed `latest`, the newest whole checkpoint is taken: see [`StandIn`].
//!
//! `manifest` is what a checkpoint says of itself, `store` finds and reads checkpoints, `saving` writes them and removes
//! the old ones, `error` says what was wrong.

mod error;
mod manifest;
mod saving;
mod store;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{error::CheckpointError, store::Store};
use super::images::Images;
pub use super::stand_in::StandIn;
use crate::{optim::LossScale, tensors::state::Tensors};

/// The name of the folder of all checkpoints in a run folder.
pub const FOLDER: &str = "checkpoints";
/// The name for the newest checkpoint, and the file that holds the newest checkpoint's own name.
pub const LATEST: &str = "latest";
/// The name for the checkpoint with the best nearest neighbours, and the file that holds its own name.
pub const BEST: &str = "best";

/// The format that is written. Format 1 had no fingerprint of the images.
const FORMAT: u32 = 2;
const OLDEST_FORMAT: u32 = 1;

/// The position of a run, apart from its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The number of optimiser steps done.
    pub step: u64,
    /// The seconds of training so far, over all starts.
    pub seconds: f64,
    /// The number of bad images that were replaced so far.
    pub replaced: u64,
    /// The probe's last accuracy on the validation split, percent.
    pub online: Option<f64>,
    /// The best kNN accuracy so far and its step.
    pub best: Option<(f64, u64)>,
    /// The state of loss scaling, in a precision that needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// Whether the evaluation that is due after this step was left out, because the run was asked to stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unevaluated: bool,
    /// The notes on how the run came here that its result has to repeat, such as that its images changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The remarks of the last evaluation of a training on labels, such as that all images got the same scores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// The number of validation images that this evaluation left out, because they could not be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// The training images of a training on labels that could not be read so far.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unreadable: BTreeSet<usize>,
    /// Further state of a training, in a form of its own; `null` for a pretraining.
    #[serde(default, alias = "heads", skip_serializing_if = "Value::is_null")]
    pub task: Value,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The content of a checkpoint.
pub struct Checkpoint {
    /// The position of the run.
    pub position: Position,
    /// The name of the method.
    pub method: String,
    /// The resolved recipe, as TOML.
    pub recipe: String,
    /// The fingerprints of the images of the run; `None` in checkpoints of format 1.
    pub images: Option<Images>,
    /// The tensors by kind: `student`, `memory`, `optimizer`, `probe`, and `uncertainty` with `uncertainty_optimizer`
    /// where the recipe has a table `[uncertainty]`.
    pub tensors: BTreeMap<String, Tensors>,
}

/// What a checkpoint says of itself, without its tensors.
pub struct Stated {
    /// The position of the run.
    pub position: Position,
    /// The resolved recipe, as TOML.
    pub recipe: String,
    /// The fingerprints of the images of the run; `None` in checkpoints of format 1.
    pub images: Option<Images>,
}
