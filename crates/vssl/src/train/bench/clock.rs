//! The clock of a benchmark, and the steps of a recipe under it.

use std::time::Instant;

use burn::tensor::Device;
use vssl_kernels::breakdown::{self, Breakdown, Part};

use crate::{
    run::space,
    train::{Plan, TrainError, pretrain::Run},
};

/// The steps of a benchmark.
#[derive(Clone, Copy, Debug)]
pub struct StepClock {
    /// The number of steps before the clock runs.
    pub warmup: usize,
    /// The number of steps that are timed, at least 1.
    pub steps: usize,
    /// Whether to find out which part of a step takes how long. The device has to be the CPU, on which an operation
    /// is done when it returns.
    pub breakdown: bool,
}

/// The results of a benchmark.
#[derive(Clone, Debug)]
pub struct StepTimes {
    /// The seconds of each timed step, ascending.
    pub seconds: Vec<f64>,
    /// The seconds of the very first step, in which a GPU's back end compiles kernels and chooses among them.
    pub first: f64,
    /// The loss of the last step.
    pub loss: f64,
    /// The largest resident memory of the process so far, where the system tells it.
    pub peak_rss_mib: Option<u64>,
    /// The device memory that the back end holds after the last step, in use or kept for the next step, where
    /// the back end tells it. The back end frees nothing between steps, so this is the peak.
    pub device_mib: Option<u64>,
    /// The seconds of each part of a step, the mean of the timed steps: see [`StepClock::breakdown`].
    pub parts: Option<Breakdown>,
}

/// Times the first steps of `plan` as [`crate::train::pretrain()`] makes them, with its loader and its probe, and without a
/// file of the run.
///
/// # Errors
/// As [`crate::train::pretrain()`]; also, the run has fewer steps than are asked for.
pub fn plan(plan: &Plan, clock: StepClock) -> Result<StepTimes, TrainError> {
    if plan.total_steps < clock.total() as u64 {
        let epochs = plan.steps_per_epoch.saturating_mul(plan.recipe.train.epochs);
        let limit = if plan.total_steps < epochs { "train.max_steps" } else { "train.epochs" };
        let steps = if plan.total_steps == 1 { "step" } else { "steps" };
        return Err(TrainError::Setting(format!(
            "the recipe makes {} {steps}, fewer than the {} before and under the clock: lower --warmup or --steps, or \
             raise {limit}",
            plan.total_steps,
            clock.total()
        )));
    }
    let mut run = Run::prepared(plan)?;
    let mut loader = plan.loader(0)?;
    let mut index = 0;
    clock.run(&plan.device, || {
        breakdown::enter(Part::Loader);
        let mut batch = loader.next().expect("the loader has all steps of the run")?;
        let at = plan.step(index);
        index += 1;
        Ok(run.step(&mut batch, &at)?.loss)
    })
}

impl StepClock {
    pub(super) fn total(&self) -> usize {
        self.warmup + self.steps
    }

    /// Runs `step`, which returns its loss, and times it.
    pub(super) fn run(
        &self,
        device: &Device,
        mut step: impl FnMut() -> Result<f64, TrainError>,
    ) -> Result<StepTimes, TrainError> {
        let mut seconds = Vec::new();
        let mut timed = |count: usize| -> Result<f64, TrainError> {
            let mut loss = 0.0;
            for _ in 0..count {
                let start = Instant::now();
                loss = step()?;
                seconds.push(start.elapsed().as_secs_f64());
            }
            Ok(loss)
        };
        timed(self.warmup)?;
        let (loss, parts) = match self.breakdown {
            true => {
                let (loss, spent) = breakdown::measure(Part::Loss, || timed(self.steps));
                let mean = |seconds: [f64; 2]| seconds.map(|sum| sum / self.steps as f64);
                (loss?, Some(spent.into_iter().map(|(part, sum)| (part, mean(sum))).collect()))
            }
            false => (timed(self.steps)?, None),
        };
        let first = seconds[0];
        let mut seconds = seconds.split_off(self.warmup);
        seconds.sort_by(f64::total_cmp);
        let memory = device.clone().inner().memory_pool_usage();
        Ok(StepTimes {
            seconds,
            first,
            loss,
            peak_rss_mib: space::peak_rss_mib(),
            device_mib: memory.map(|memory| memory.bytes_reserved >> 20),
            parts,
        })
    }
}
