//! The second half of an optimiser step: what waits in the learner becomes new weights. Called by
//! the training loop and by the benchmark that times it.

use burn::tensor::Tensor;

use super::{TrainError, learner::Learner};
use crate::{
    collective::Group,
    optim::{Clip, Gradients, Optimizer},
    schedule::Step,
};

/// Takes the gradients that wait, adds those of the other ranks, clips them by each of `clips` in turn
/// and updates the learner. The norm before clipping is returned; in one process it is the one number
/// that is read from the device here.
///
/// # Errors
/// Gradients that are not finite, or not this student's; ranks that failed.
pub(super) fn update(
    learner: &mut dyn Learner,
    optimizer: &mut Optimizer,
    group: &Group,
    clips: &[Clip],
    rate: &dyn Fn(f64) -> f64,
    at: &Step,
) -> Result<f64, TrainError> {
    let gradients = group.sum_gradients(learner.take_gradients());
    group.check()?;
    let norm = gradients.global_norm().map(|norm| norm.into_scalar::<f32>()); // device read
    let norm = norm.map_or(0.0, f64::from);
    if !norm.is_finite() {
        let what = first_non_finite(&gradients);
        return Err(TrainError::NonFinite { step: at.index + 1, what });
    }
    let gradients = clips.iter().fold(gradients, |gradients, clip| clip.apply(gradients));
    learner.update(optimizer, gradients, rate, at)?;
    Ok(norm)
}

/// The first parameter whose gradient is not finite, for the message.
fn first_non_finite(gradients: &Gradients) -> String {
    let finite = |gradient: &Tensor<1>| {
        gradient.clone().abs().max().into_scalar::<f32>().is_finite() // device read
    };
    match gradients.0.iter().find(|(_, gradient)| !finite(gradient)) {
        Some((name, _)) => format!("the gradient of {name}"),
        None => "the gradient norm (each gradient is finite, their squares overflow)".to_owned(),
    }
}
