//! The second half of an optimiser step: the gradients that wait in the learner become new weights. Called by
//! the training loop and by the benchmark that times it.

use vssl_kernels::breakdown::{self, Part};

use super::{TrainError, step_report::StepReport};
use crate::{
    collective::Group,
    method::learner::Learner,
    optim::{Clip, Gradients, LossScale, Optimizer},
    schedule::Step,
    tensors::reading::Waiting,
};

/// The settings of an update.
pub(super) struct Update<'a> {
    /// The ranks that hold the other shares of the gradients.
    pub group: &'a Group,
    /// The rules of clipping, applied in turn.
    pub clips: &'a [Clip],
    /// Turns a base learning rate into that of this step.
    pub rate: &'a dyn Fn(f64) -> f64,
    /// The factor of the loss, in a precision that needs one.
    pub loss_scale: Option<&'a mut LossScale>,
}

impl Update<'_> {
    /// Takes the gradients that wait, adds those of the other ranks, clips them and updates the learner.
    /// `report` is read before the update, with the norm before clipping, so that the update runs while the
    /// host prepares the next batch.
    ///
    /// Where the loss is scaled, the norm also tells all ranks alike whether a gradient overflowed. In that
    /// case neither the learner nor the optimiser is changed.
    ///
    /// # Errors
    /// A loss or gradient is not finite, the gradients are not of this student, or another rank failed.
    pub(super) fn apply(
        self,
        learner: &mut dyn Learner,
        optimizer: &mut Optimizer,
        report: &mut StepReport,
        at: &Step,
    ) -> Result<(), TrainError> {
        breakdown::enter(Part::Optimizer);
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

/// Describes the first parameter whose gradient is not finite, for the message.
fn first_non_finite(gradients: &Gradients) -> String {
    let mut largest = Waiting::default();
    gradients.0.values().for_each(|gradient| largest.push(gradient.clone().abs().max()));
    match gradients.0.keys().zip(largest.read()).find(|(_, largest)| !largest.is_finite()) {
        Some((name, _)) => format!("the gradient of {name}"),
        None => "the gradient norm (each gradient is finite, their squares overflow)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::{
        backbone::{ResnetConfig, Stem},
        method::{Sizes, Views},
        tensors::state::Tensors,
        train::bench::method,
    };

    const BATCH: usize = 4;

    fn learner() -> Box<dyn Learner> {
        let backbone = ResnetConfig { width: 4, stem: Stem::Cifar, ..Default::default() }.into();
        let sizes = Sizes { images: 16, batch: BATCH, global_views: 2, local_views: 0 };
        let method = method("byol", BATCH, &[("hidden", 16), ("dim", 8)]).unwrap();
        method.learner(&backbone, &sizes, &Device::flex().autodiff(), 1)
    }

    fn optimizer() -> Optimizer {
        let json = r#"{ "name": "adamw", "lr": 0.01, "scale_lr": false }"#;
        Optimizer::new(serde_json::from_str(json).unwrap(), BATCH).unwrap()
    }

    fn views() -> Views {
        let device = Device::flex().autodiff();
        let pixel = |view: usize, i: usize| ((i * 31 + i * i % 97 + view * 17) % 101) as f32 / 50.0;
        let view = |view: usize| {
            let pixels: Vec<f32> = (0..BATCH * 3 * 64).map(|i| pixel(view, i)).collect();
            Tensor::<1>::from_floats(pixels.as_slice(), &device).reshape([BATCH, 3, 8, 8])
        };
        let group = Group::alone();
        let (images, global) = ((0..BATCH).collect(), vec![view(0), view(1)]);
        Views { images, labels: None, global, local: vec![], group, frozen_backbone: false }
    }

    /// Runs one step and returns its report.
    fn step(
        learner: &mut dyn Learner,
        optimizer: &mut Optimizer,
        loss_scale: Option<&mut LossScale>,
    ) -> Result<StepReport, TrainError> {
        let at = Step { total: 10, ..Step::default() };
        let factor = loss_scale.as_ref().map_or(1.0, |scale| scale.factor);
        let mut report = StepReport::default();
        report.add(&learner.forward_backward(&views(), factor, &at), 1.0);
        let group = Group::alone();
        let update = Update { group: &group, clips: &[], rate: &|base| base, loss_scale };
        update.apply(learner, optimizer, &mut report, &at)?;
        Ok(report)
    }

    /// Everything but the running statistics, which belong to the forward pass.
    fn trained(learner: &dyn Learner) -> [Tensors; 2] {
        [learner.student(), learner.memory()].map(|mut tensors| {
            tensors.retain(|path, _| !path.contains("running_"));
            tensors
        })
    }

    #[test]
    fn a_scaled_loss_changes_no_bit_of_a_step() {
        let mut results = [None, Some(LossScale::default())].map(|mut scale| {
            let (mut learner, mut optimizer) = (learner(), optimizer());
            let report = step(learner.as_mut(), &mut optimizer, scale.as_mut()).unwrap();
            (trained(learner.as_ref()), optimizer.state(), report.loss, report.gradient_norm)
        });
        let [plain, scaled] = &mut results;
        assert_eq!(plain, scaled);
    }

    #[test]
    fn gradients_that_overflow_leave_the_step_out() {
        let (mut learner, mut optimizer) = (learner(), optimizer());
        step(learner.as_mut(), &mut optimizer, None).unwrap();
        let before = (trained(learner.as_ref()), optimizer.state());
        // Beyond single precision, so that any gradient overflows.
        let mut scale = LossScale { factor: 2f64.powi(140), good: 5, skipped: 2 };
        let report = step(learner.as_mut(), &mut optimizer, Some(&mut scale)).unwrap();
        assert_eq!(scale, LossScale { factor: 2f64.powi(139), good: 0, skipped: 3 });
        assert_eq!(report.loss_scale, Some(scale));
        assert!(report.loss.is_finite() && !report.gradient_norm.is_finite());
        assert_eq!((trained(learner.as_ref()), optimizer.state()), before);
    }

    #[test]
    fn gradients_that_overflow_at_any_scale_end_the_run_with_a_name() {
        let (mut learner, mut optimizer) = (learner(), optimizer());
        let mut scale = LossScale { factor: 1.0, ..LossScale::default() };
        let at = Step::default();
        learner.forward_backward(&views(), f64::INFINITY, &at);
        let (group, mut report) = (Group::alone(), StepReport::default());
        let loss_scale = Some(&mut scale);
        let update = Update { group: &group, clips: &[], rate: &|base| base, loss_scale };
        let error = update.apply(learner.as_mut(), &mut optimizer, &mut report, &at).unwrap_err();
        let error = error.to_string();
        for part in ["step 1", "the gradient of ", "f16", "--precision bf16"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
