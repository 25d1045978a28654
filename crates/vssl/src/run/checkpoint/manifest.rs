//! The manifest of a checkpoint: where the run was, and the digests of all files and of itself.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{CheckpointError, FORMAT, OLDEST_FORMAT, Position, error::io};
use crate::run::{digest::sha256, images::Images};

/// The name of the file in the folder of a checkpoint.
pub(super) const FILE: &str = "checkpoint.json";

/// What a checkpoint says of itself.
#[derive(Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    pub(super) vssl: String,
    pub(super) method: String,
    pub(super) position: Position,
    pub(super) recipe: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) images: Option<Images>,
    /// The SHA-256 of each file.
    pub(super) files: BTreeMap<String, String>,
    /// The SHA-256 of this manifest without white space and with an empty string in this field, which comes
    /// last.
    pub(super) digest: String,
}

impl Manifest {
    /// Returns the text of the manifest with its digest.
    pub(super) fn signed(mut self) -> Vec<u8> {
        self.digest = String::new();
        self.digest = sha256([serde_json::to_vec(&self).expect("a manifest is plain data")]);
        serde_json::to_vec_pretty(&self).expect("a manifest is plain data")
    }
}

/// Returns the digest of a manifest whose text is `text` and whose field `digest` is `digest`.
fn digest_of(text: &[u8], digest: &str) -> String {
    let text = without_white_space(text);
    let end = format!("\"digest\":\"{digest}\"}}");
    sha256([text.strip_suffix(end.as_bytes()).unwrap_or(&text), b"\"digest\":\"\"}"])
}

/// Returns JSON without the white space between its parts.
fn without_white_space(json: &[u8]) -> Vec<u8> {
    let (mut in_text, mut escaped) = (false, false);
    let is_kept = |&&byte: &&u8| {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            return true;
        }
        in_text = byte == b'"';
        !byte.is_ascii_whitespace()
    };
    json.iter().filter(is_kept).copied().collect()
}

/// Reads a manifest and verifies it.
///
/// # Errors
/// The file cannot be read, is damaged, or has a format that this version does not read.
pub(super) fn read(path: &Path) -> Result<Manifest, CheckpointError> {
    let text = fs::read(path).map_err(io(path))?;
    let damaged = |what: String| CheckpointError::Damaged { path: path.to_owned(), what };
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if !(OLDEST_FORMAT..=FORMAT).contains(&manifest.format) {
        return Err(CheckpointError::Format { path: path.to_owned(), got: manifest.format });
    }
    let (got, expected) = (digest_of(&text, &manifest.digest), &manifest.digest);
    if got != *expected {
        return Err(damaged(format!("its SHA-256 is {got}, it says {expected}")));
    }
    Ok(manifest)
}
