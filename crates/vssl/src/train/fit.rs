//! Whether a file of another program has exactly the tensors of a network. Called by `start`.

use std::path::Path;

use super::TrainError;
use crate::encoder::foreign::{ImportReport, MatchStatus, Row};

/// The largest number of tensors that an error names.
const NAMED: usize = 20;

/// Checks that the file has exactly the tensors of the network, apart from those that belong to no encoder.
///
/// # Errors
/// The tensors that do not fit, each with its shapes.
pub(super) fn check_whole(path: &Path, report: &ImportReport) -> Result<(), TrainError> {
    let faults: Vec<&Row> = report.rows.iter().filter(|row| row.status.is_fault()).collect();
    if faults.is_empty() {
        return Ok(());
    }
    let (count, mut tensors) = (faults.len(), Vec::new());
    tensors.extend(faults.into_iter().take(NAMED).map(fault));
    if count > NAMED {
        tensors.push(format!("and {} more", count - NAMED));
    }
    let architecture = report.config.architecture().name();
    Err(TrainError::StartDoesNotFit { path: path.to_owned(), architecture, count, tensors })
}

/// Returns a sentence on a tensor that does not fit.
fn fault(row: &Row) -> String {
    let shape = |shape: &Option<Vec<usize>>| shape.clone().unwrap_or_default();
    let (got, wanted) = (shape(&row.shape), shape(&row.expected));
    match row.status {
        MatchStatus::Missing => {
            format!("{}: the file lacks it, the network has {wanted:?}", row.label())
        }
        MatchStatus::Mismatched => {
            format!("{}: {got:?} in the file, the network has {wanted:?}", row.label())
        }
        _ => format!("{}: {got:?} in the file, the network has no such tensor", row.label()),
    }
}
