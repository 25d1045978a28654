//! The second half of an optimiser step: what waits in the learner becomes new weights. Called by
//! the training loop and by the benchmark that times it.

use super::{TrainError, learner::Learner, reading::Waiting, report::StepReport};
use crate::{
    collective::Group,
    optim::{Clip, Gradients, Optimizer},
    schedule::Step,
};

/// Takes the gradients that wait, adds those of the other ranks, clips them by each of `clips` in turn
/// and updates the learner. Before that, `report` is read, with the norm before clipping: the update
/// then runs while the host makes the next batch ready.
///
/// # Errors
/// Losses or gradients that are not finite, gradients that are not this student's; ranks that failed.
pub(super) fn update(
    learner: &mut dyn Learner,
    optimizer: &mut Optimizer,
    report: &mut StepReport,
    group: &Group,
    clips: &[Clip],
    rate: &dyn Fn(f64) -> f64,
    at: &Step,
) -> Result<(), TrainError> {
    let gradients = group.sum_gradients(learner.take_gradients());
    group.check()?;
    report.read(gradients.global_norm());
    report.check_finite(at.index + 1)?;
    if !report.gradient_norm.is_finite() {
        let what = first_non_finite(&gradients);
        return Err(TrainError::NonFinite { step: at.index + 1, what });
    }
    let gradients = clips.iter().fold(gradients, |gradients, clip| clip.apply(gradients));
    Ok(learner.update(optimizer, gradients, rate, at)?)
}

/// The first parameter whose gradient is not finite, for the message.
fn first_non_finite(gradients: &Gradients) -> String {
    let mut largest = Waiting::default();
    gradients.0.values().for_each(|gradient| largest.push(gradient.clone().abs().max()));
    match gradients.0.keys().zip(largest.read()).find(|(_, largest)| !largest.is_finite()) {
        Some((name, _)) => format!("the gradient of {name}"),
        None => "the gradient norm (each gradient is finite, their squares overflow)".to_owned(),
    }
}
