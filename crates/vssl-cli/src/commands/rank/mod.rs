//! `vssl rank`: orders checkpoints or runs by figures that need no labels.
//!
//! `subjects` finds the encoders, `judging` opens their images and judges them, `shown` prints.

mod judging;
mod shown;
mod subjects;

use anyhow::anyhow;
use vssl::ranking::Criterion;

use crate::{
    arguments::{Common, CriterionName, Rank},
    failure::Failure,
    output::counted,
};
use judging::{Judge, Judged};
use subjects::Unread;

pub(super) fn run(arguments: &Rank, common: &Common) -> Result<(), Failure> {
    let by = criterion(arguments)?;
    let (subjects, mut unread) = subjects::of(arguments)?;
    let mut judge = Judge::new(arguments, common)?;
    let mut judged: Vec<Judged> = Vec::new();
    for subject in subjects {
        match judge.judge(&subject) {
            Ok(found) => judged.push(found),
            Err(failure) => {
                unread.push(Unread { encoder: subject.name(), reason: failure.message() });
            }
        }
    }
    let tell = judge.finish();
    if let ([], Some(first)) = (judged.as_slice(), unread.first()) {
        return Err(anyhow!(
            "no encoder could be judged: {} failed; the first is {}: {}",
            counted(unread.len(), "encoder"),
            first.encoder,
            first.reason
        )
        .into());
    }
    tell.iter().for_each(|text| crate::notes::note(text));
    shown::show(&judging::by_images(judged, by), &unread, by, common)
}

/// The figure that decides the order.
fn criterion(arguments: &Rank) -> Result<Criterion, Failure> {
    match (arguments.by, arguments.lidar_images) {
        (Some(CriterionName::Lidar), 0) => Err(Failure::usage(anyhow!(
            "--by lidar and --lidar-images 0 contradict each other: give one of them"
        ))),
        (None, 0) => Ok(Criterion::RankMe),
        (by, _) => Ok(by.map_or(Criterion::Lidar, Into::into)),
    }
}
