//! SHA-256 as text, by which a run recognises files, images and weights.

use sha2::{Digest, Sha256};

use crate::formats::hex;

/// Returns the SHA-256 of all `parts`, one after the other, in hexadecimal digits.
pub(crate) fn sha256<Part: AsRef<[u8]>>(parts: impl IntoIterator<Item = Part>) -> String {
    let mut hash = Sha256::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hex(&hash.finalize())
}
