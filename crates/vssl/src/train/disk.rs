//! Whether the disk can hold the checkpoints that a run will write.

use burn::module::Module;

use super::{Plan, TrainError, loss_head::LossHeadTraining, probe::Probe, teacher::Teacher};
use crate::{
    method::learner::{Learner, Network},
    optim::Optimizer,
    run::{checkpoint, space},
};

/// The bytes of a number in a checkpoint, which is in single precision.
const BYTES_A_NUMBER: u64 = 4;

impl Plan {
    /// Returns how many numbers a checkpoint holds: the student, the memory, the optimiser's state of the
    /// student, the online probe, and the head that predicts losses.
    pub fn numbers_saved(
        &self,
        learner: &dyn Learner,
        optimizer: &Optimizer,
        probe: Option<&Probe>,
        loss_head: Option<&LossHeadTraining>,
    ) -> u64 {
        let [student, memory] = learner.numbers();
        let trained = learner.parameters();
        let trained: usize = trained.iter().map(|p| p.shape.iter().product::<usize>()).sum();
        let beside =
            probe.map_or(0, Probe::numbers) + loss_head.map_or(0, LossHeadTraining::numbers);
        student + memory + trained as u64 * optimizer.moments() + beside
    }

    /// Returns how many numbers the copies hold that the run folder will keep of encoders, beside the checkpoints: of the
    /// one that the run starts from, and of the frozen teacher.
    pub fn numbers_kept(&self, learner: &dyn Learner) -> u64 {
        let teacher = self.teacher.as_ref().map_or(0, Teacher::numbers_to_keep);
        let starts = self.recipe.init.is_some() && self.resume_from.is_none();
        let encoder = learner.encoder(Network::Student).filter(|_| starts);
        teacher + encoder.map_or(0, |encoder| encoder.num_params() as u64)
    }

    /// Checks that the disk can hold the checkpoints of a run, each of `numbers` numbers, besides the
    /// checkpoints that the run has already, and `kept` numbers once.
    ///
    /// # Errors
    /// The room does not suffice; the error says how much is free and how much the checkpoints take.
    pub fn check_space(&self, numbers: u64, kept: u64) -> Result<(), TrainError> {
        let config = &self.recipe.checkpoint;
        let by_epoch = config.every_epochs.saturating_mul(self.steps_per_epoch);
        let periods = [by_epoch, config.every_steps.unwrap_or(0)];
        let shortest = periods.into_iter().filter(|&steps| steps > 0).min();
        // There is a checkpoint at the end in any case.
        let saves = shortest.map_or(1, |steps| self.total_steps.div_ceil(steps)).max(1);
        let latest = saves.min(config.keep as u64);
        // The best checkpoint is kept as well, and one more exists while the next is written.
        let checkpoints = latest.saturating_add(2);
        let needed = numbers.saturating_mul(checkpoints).saturating_add(kept);
        let needed = needed.saturating_mul(BYTES_A_NUMBER);
        // The folder of the checkpoints may be a link to another disk.
        let folder = self.run.join(checkpoint::FOLDER);
        let needed = needed.saturating_sub(space::used_bytes(&folder));
        match space::free_bytes(&folder).filter(|free| *free < needed) {
            None => Ok(()),
            Some(free) => {
                let (free_mib, needed_mib) = (free >> 20, needed >> 20);
                Err(TrainError::NoSpace { path: self.run.clone(), free_mib, needed_mib })
            }
        }
    }
}
