//! What is told of a training that goes on by `--resume` or `--continue` and was finished before. Called by
//! `vssl pretrain`, `vssl linear` and `vssl finetune`.

use std::path::Path;

use vssl::{
    run::{folder::RunFolderError, losses, outcome::Outcome, past},
    train::TrainError,
};

use crate::{failure::Failure, notes::note};

/// A training that was planned, or the result of one for which nothing is left to do.
pub(super) enum Planned<Plan, Summary> {
    Ready(Plan),
    Finished(Summary),
}

/// Returns the plan of a training that goes on in the folder `folder`. Where there is no plan because the
/// images or the teacher's features are gone or are others now, a training that came to its end is told with what became of
/// them: its result needs none. `asks_for_more` says whether the command asks for more than the result.
///
/// # Errors
/// The error of the plan, where there is no result.
pub(super) fn or_result<Plan, Summary: Outcome>(
    plan: Result<Plan, TrainError>,
    folder: &Path,
    asks_for_more: bool,
) -> Result<Planned<Plan, Summary>, TrainError> {
    let error = match plan {
        Ok(plan) => return Ok(Planned::Ready(plan)),
        Err(error) if asks_for_more => return Err(error),
        Err(error) => error,
    };
    let cause = match &error {
        TrainError::OtherImages { changes, .. } => {
            format!("its images have changed since: {}", changes.join("; "))
        }
        TrainError::Data(problem) => format!("its images cannot be opened any more: {problem}"),
        TrainError::TeacherFeatures(_) => {
            format!("the features that it learned from cannot be read any more: {error}")
        }
        TrainError::NoData { .. } => format!("its images are not there any more: {error}"),
        _ => return Err(error),
    };
    match result(folder)? {
        Some(summary) => {
            note(&format!("{}: {cause}", folder.display()));
            Ok(Planned::Finished(summary))
        }
        None => Err(error),
    }
}

/// Returns the result of the training in `folder` if it came to its end. A damaged result is none: it is written
/// anew when the training goes on.
///
/// # Errors
/// The result is there and cannot be read.
pub(super) fn result<Summary: Outcome>(folder: &Path) -> Result<Option<Summary>, RunFolderError> {
    match past::finished(folder) {
        Err(RunFolderError::Summary { .. }) => Ok(None),
        found => found,
    }
}

/// Tells that nothing is left to do for the training in `folder`, and what is missing or damaged among its files.
/// Programs see the former by the result.
///
/// # Errors
/// A file of the training cannot be read.
pub(super) fn tell<Summary: Outcome>(folder: &Path, json: bool) -> Result<(), Failure> {
    for problem in losses::notes::<Summary>(folder, false)? {
        note(&format!("{}: {problem}", folder.display()));
    }
    if !json {
        note(&format!("{}: finished before; nothing is left to do", folder.display()));
    }
    Ok(())
}
