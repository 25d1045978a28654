//! What is checked of an encoder before a run starts from it or learns from it: that a file of another program has exactly
//! the tensors of a network, that all weights are numbers, and that only a run is asked for a checkpoint. Called by `start`.

use std::path::Path;

use super::{TrainError, kept::Role};
use crate::{
    encoder::foreign::{ImportReport, MatchStatus, Row},
    recipe::InitSection,
    tensors::state::Tensors,
};

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

/// Checks that all weights are numbers.
///
/// # Errors
/// A tensor has values that are infinite or not numbers; the error names the first such tensor.
pub(super) fn check_finite(path: &Path, weights: &Tensors) -> Result<(), TrainError> {
    for (tensor, data) in weights {
        let values = data.as_slice::<f32>().unwrap_or_default();
        let count = values.iter().filter(|value| !value.is_finite()).count();
        if count > 0 {
            let (path, tensor, values) = (path.to_owned(), tensor.clone(), values.len());
            return Err(TrainError::NotFinite { path, tensor, count, values });
        }
    }
    Ok(())
}

/// Checks that no checkpoint is asked of a file. Where the digest is given, it tells another encoder from the one that is
/// meant.
///
/// # Errors
/// A checkpoint is asked for.
pub(super) fn check_one_encoder(
    role: Role,
    path: &Path,
    init: &InitSection,
) -> Result<(), TrainError> {
    let (Some(checkpoint), None) = (&init.checkpoint, &init.digest) else { return Ok(()) };
    Err(TrainError::Setting(format!(
        "{}.checkpoint = {checkpoint:?}, and {} is a file, which holds one encoder; expected no such key, or a run folder",
        role.table(),
        path.display()
    )))
}
