//! Writes a comparison as one JSON object in one line.

use crate::comparison::Comparison;

pub(super) fn write(comparison: &Comparison) -> String {
    let mut text = serde_json::to_string(comparison).expect("a comparison is plain data");
    text.push('\n');
    text
}
