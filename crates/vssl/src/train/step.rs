//! The second half of an optimiser step: what waits in the learner becomes new weights. Called by
//! the training loop and by the benchmark that times it.

use super::{
    TrainError, learner::Learner, loss_scale::LossScale, reading::Waiting, report::StepReport,
};
use crate::{
    collective::Group,
    optim::{Clip, Gradients, Optimizer},
    schedule::Step,
};

/// What an update goes by.
pub(super) struct Update<'a> {
    /// Who has the other shares of the gradients.
    pub group: &'a Group,
    /// Applied in turn.
    pub clips: &'a [Clip],
    /// Turns a base rate into that of this step.
    pub rate: &'a dyn Fn(f64) -> f64,
    /// What the loss was multiplied by, where it was.
    pub loss_scale: Option<&'a mut LossScale>,
}

impl Update<'_> {
    /// Takes the gradients that wait, adds those of the other ranks, clips them and updates the
    /// learner. Before that, `report` is read, with the norm before clipping: the update then runs
    /// while the host makes the next batch ready.
    ///
    /// Where the loss is scaled, the norm also says whether a gradient overflowed, and to all ranks
    /// alike: then neither learner nor optimiser is changed.
    ///
    /// # Errors
    /// Losses or gradients that are not finite, gradients that are not this student's; ranks that
    /// failed.
    pub(super) fn apply(
        self,
        learner: &mut dyn Learner,
        optimizer: &mut Optimizer,
        report: &mut StepReport,
        at: &Step,
    ) -> Result<(), TrainError> {
        let step = at.index + 1;
        let mut gradients = self.group.sum_gradients(learner.take_gradients());
        self.group.check()?;
        if let Some(scale) = &self.loss_scale {
            gradients = gradients.scale(1.0 / scale.factor);
        }
        report.read(gradients.global_norm());
        report.check_finite(step)?;
        let finite = report.gradient_norm.is_finite();
        match self.loss_scale {
            None if !finite => {
                return Err(TrainError::NonFinite { step, what: first_non_finite(&gradients) });
            }
            None => {}
            Some(scale) => {
                let goes_on = scale.after(finite);
                report.loss_scale = Some(*scale);
                if !goes_on {
                    return Err(TrainError::Overflow { step, what: first_non_finite(&gradients) });
                }
                if !finite {
                    return Ok(());
                }
            }
        }
        let gradients = self.clips.iter().fold(gradients, |gradients, clip| clip.apply(gradients));
        Ok(learner.update(optimizer, gradients, self.rate, at)?)
    }
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
