//! The copies of encoders that a run folder keeps: of the one that the run started from, and of the frozen teacher.
//! Called by `start` and `teacher`.

use std::{fs, io, path::Path};

use burn::tensor::Device;

use super::TrainError;
use crate::{
    backbone::{Backbone, BackboneConfig},
    encoder::{
        Input, export,
        file::{self, Imported},
    },
    formats::safetensors,
    recipe::InitSection,
    run::{digest::sha256, folder},
    tensors::state::{self, Tensors},
};

/// The keys of the copy's metadata: the digest of the file that it is a copy of, and that of its own tensors.
const COPY_OF: &str = "copy_of";
const WEIGHTS: &str = "weights";

/// What an encoder is for: the table of the recipe that names it, and the file of the run folder that keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A run starts from it: `[init]`.
    Start,
    /// A method learns from it: `[teacher]`.
    Teacher,
}

impl Role {
    /// Returns the name of the table.
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Start => "init",
            Self::Teacher => "teacher",
        }
    }

    /// Returns the name of the copy in the run folder.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Start => folder::START,
            Self::Teacher => folder::TEACHER,
        }
    }

    /// Returns what a run does with the encoder, in words.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Start => "starts from",
            Self::Teacher => "learns from",
        }
    }
}

/// Writes the copy of the encoder `from` into the run folder, as the file `to`.
///
/// # Errors
/// The file cannot be written.
pub(super) fn keep(
    to: &Path,
    from: &InitSection,
    config: &BackboneConfig,
    input: &Input,
    encoder: &Backbone,
) -> Result<(), TrainError> {
    let weights = state::collect(encoder);
    let digest = from.digest.clone().unwrap_or_default();
    let origin = [(COPY_OF, digest), (WEIGHTS, digest_of_weights(&weights))];
    export::write_tensors(to, &weights, config, input, &origin)
        .map_err(|error| TrainError::Encoder(error.into()))
}

/// Returns what the copy `file` of an encoder holds, and its weights, if it is the one that a run made of the file with
/// this `digest`.
///
/// # Errors
/// It is damaged or another file, in words.
pub(super) fn copy(file: &Path, digest: &str) -> Result<(Imported, Tensors), &'static str> {
    let bytes = fs::read(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "this copy of the encoder is missing",
        _ => "this copy cannot be read",
    })?;
    let metadata = safetensors::metadata(&bytes).unwrap_or_default();
    let imported = file::imported(file, bytes, &Device::flex());
    let imported = imported.map_err(|_| "this copy is damaged")?;
    let weights = state::collect(&imported.backbone);
    let says = |key: &str, value: &str| metadata.get(key).is_some_and(|found| found == value);
    match says(COPY_OF, digest) && says(WEIGHTS, &digest_of_weights(&weights)) {
        true => Ok((imported, weights)),
        false => Err("this is not the copy that the run made when it was begun"),
    }
}

/// Returns the SHA-256 of all tensors and their names.
fn digest_of_weights(weights: &Tensors) -> String {
    sha256(weights.iter().flat_map(|(name, data)| [name.as_bytes(), data.as_bytes()]))
}
