//! Schedules: pure functions of the step, nothing is counted and nothing is stored.
//!
//! Learning rate: linear warm-up, then a half cosine (Loshchilov and Hutter, arXiv:1608.03983;
//! Goyal et al., arXiv:1706.02677). Teacher momentum: a half cosine (Grill et al. 2020,
//! arXiv:2006.07733). Called by the training loop and by the methods.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Where a run is. All that changes over a run and is not learned is a function of this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Optimiser steps done before this one.
    pub index: u64,
    /// Passes over the data done before this one.
    pub epoch: u64,
    /// Optimiser steps in one pass.
    pub steps_per_epoch: u64,
    /// Optimiser steps of the whole run.
    pub total: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Which micro-batch of the step, where gradients are accumulated.
    pub micro: u64,
    /// Micro-batches of a step; 0 counts as 1.
    pub accumulate: u64,
    /// Whether figures beyond the loss are worth computing: somebody reads them at this step.
    pub watch: bool,
}

impl Step {
    /// Whether this is the first step of its epoch.
    pub fn starts_epoch(&self) -> bool {
        self.index.is_multiple_of(self.steps_per_epoch)
    }

    /// Forward passes done before this one: where a queue that each of them fills has got to.
    pub fn passes(&self) -> u64 {
        self.index * self.accumulate.max(1) + self.micro
    }

    /// Passes of the whole run, the last one perhaps not complete.
    fn epochs(&self) -> u64 {
        self.total.div_ceil(self.steps_per_epoch.max(1))
    }
}

/// What a schedule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interval {
    /// The rate changes with every optimiser step.
    #[default]
    Step,
    /// The rate changes with every epoch.
    Epoch,
}

/// Learning rate over a run, as a function of the base rate and the step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// The base rate throughout.
    Constant {},
    /// From `start` in a straight line to the base rate, then half a cosine down to `min`.
    WarmupCosine(WarmupCosine),
    /// The base rate times `gamma` for each milestone that lies behind.
    Steps {
        /// Epochs at whose beginning the rate is multiplied; one that is listed twice counts twice.
        milestones: Vec<u64>,
        /// The factor; 0.1 unless said otherwise.
        #[serde(default = "tenth")]
        gamma: f64,
    },
}

/// Numbers of [`Schedule::WarmupCosine`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WarmupCosine {
    /// Length of the warm-up in epochs; 10, as in solo-learn's recipes.
    pub warmup_epochs: f64,
    /// Rate of the first step, the same for every group and batch size; 3e-5 as in solo-learn.
    /// Without a warm-up the first step has the base rate.
    pub start: f64,
    /// Rate that the cosine runs to, the same for every group and batch size; 0.
    pub min: f64,
    /// What is counted; optimiser steps.
    pub interval: Interval,
}

fn tenth() -> f64 {
    0.1
}

impl Default for WarmupCosine {
    fn default() -> Self {
        Self { warmup_epochs: 10.0, start: 3e-5, min: 0.0, interval: Interval::Step }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule::WarmupCosine(WarmupCosine::default())
    }
}

/// A schedule with numbers that make no sense.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("schedule {schedule}: {field} is {got}; expected {expected}")]
pub struct ScheduleError {
    /// Name of the schedule as in a recipe.
    pub schedule: &'static str,
    /// The key.
    pub field: &'static str,
    /// The value found.
    pub got: f64,
    /// What it has to be.
    pub expected: &'static str,
}

impl Schedule {
    /// The rate in force during the step.
    pub fn at(&self, base: f64, step: &Step) -> f64 {
        match self {
            Schedule::Constant {} => base,
            Schedule::WarmupCosine(shape) => shape.at(base, step),
            Schedule::Steps { milestones, gamma } => {
                let passed = milestones.iter().filter(|&&epoch| epoch <= step.epoch).count();
                // A run has few milestones: the count fits.
                base * gamma.powi(passed as i32)
            }
        }
    }

    /// Refuses negative or non-finite numbers.
    ///
    /// # Errors
    /// The first key out of range, with its value.
    pub fn validate(&self) -> Result<(), ScheduleError> {
        let check = |schedule, field, got: f64| {
            if got.is_finite() && got >= 0.0 {
                return Ok(());
            }
            Err(ScheduleError { schedule, field, got, expected: "a finite number, not negative" })
        };
        match self {
            Schedule::Constant {} => Ok(()),
            Schedule::WarmupCosine(shape) => {
                check("warmup-cosine", "warmup_epochs", shape.warmup_epochs)?;
                check("warmup-cosine", "start", shape.start)?;
                check("warmup-cosine", "min", shape.min)
            }
            Schedule::Steps { gamma, .. } => check("steps", "gamma", *gamma),
        }
    }
}

impl WarmupCosine {
    /// With `t` steps done, `W` steps of warm-up and `M` in all: `start + t·(base − start)/(W − 1)`
    /// for `t < W`, then `min + ½·(base − min)·(1 + cos(π·(t − W)/(M − W)))`, so that the base rate
    /// holds for two steps, `W − 1` and `W`. From `M` on the rate is `min`.
    ///
    /// A warm-up that is not a whole number of steps is rounded to the nearest one. (solo-learn
    /// goes on by a recursion there, which overshoots the base rate by up to a step's increment
    /// and carries the excess through the cosine.)
    fn at(&self, base: f64, step: &Step) -> f64 {
        let (t, length, end) = match self.interval {
            Interval::Step => {
                (step.index, self.warmup_epochs * step.steps_per_epoch as f64, step.total)
            }
            Interval::Epoch => (step.epoch, self.warmup_epochs, step.epochs()),
        };
        let (t, warmup, end) = (t as f64, length.round(), end as f64);
        if t < warmup {
            // A warm-up of one step has no slope.
            return if t == 0.0 {
                self.start
            } else {
                self.start + t * (base - self.start) / (warmup - 1.0)
            };
        }
        if t == warmup {
            return base; // also when the run ends here and the cosine has no length
        }
        if t >= end {
            return self.min;
        }
        let progress = (t - warmup) / (end - warmup);
        self.min + 0.5 * (base - self.min) * (1.0 + (PI * progress).cos())
    }
}

/// Momentum of a teacher: half a cosine from `base` to `last`,
/// `τ = last − (last − base)·(cos(π·t/M) + 1)/2` with `t` optimiser steps done before this one and
/// `M` in all: the first update uses `base`, and `last` would only be reached after the end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Momentum {
    /// Value of the first update.
    pub base: f64,
    /// Value that the cosine runs to.
    pub last: f64,
}

impl Momentum {
    /// The momentum of the update after this step.
    pub fn at(&self, step: &Step) -> f64 {
        let progress = step.index.min(step.total) as f64 / step.total.max(1) as f64;
        self.last - (self.last - self.base) * ((PI * progress).cos() + 1.0) / 2.0
    }
}

/// A straight line from the first of `ends` to the second: one value for each of `epochs`, both ends
/// included; after that the second. A line of a single epoch has the first.
pub fn straight_line((start, end): (f64, f64), epochs: u64, epoch: u64) -> f64 {
    if epoch >= epochs {
        return end;
    }
    let last = (epochs - 1).max(1) as f64;
    start + (end - start) * epoch as f64 / last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(index: u64) -> Step {
        Step { index, epoch: index / 10, steps_per_epoch: 10, total: 100, ..Step::default() }
    }

    fn cosine(warmup_epochs: f64) -> Schedule {
        Schedule::WarmupCosine(WarmupCosine { warmup_epochs, ..WarmupCosine::default() })
    }

    #[test]
    fn a_fractional_warmup_never_exceeds_the_base_rate() {
        for length in [0.04, 0.05, 0.11, 0.45, 0.449, 1.26] {
            for index in 0..=100 {
                let rate = cosine(length).at(0.3, &step(index));
                assert!(rate.is_finite() && rate <= 0.3 + 1e-12, "{length} {index}: {rate}");
            }
        }
    }

    #[test]
    fn a_warmup_as_long_as_the_run_or_longer_stays_finite() {
        for length in [10.0, 12.0] {
            for index in 0..=110 {
                let rate = cosine(length).at(0.3, &step(index));
                assert!(rate.is_finite() && rate <= 0.3 + 1e-12, "{length} {index}: {rate}");
            }
        }
    }

    #[test]
    fn without_a_warmup_the_first_step_has_the_base_rate() {
        assert_eq!(cosine(0.0).at(0.3, &step(0)), 0.3);
    }

    #[test]
    fn after_the_end_the_rate_stays_at_the_minimum() {
        assert_eq!(cosine(1.0).at(0.3, &step(100)), 0.0);
        assert_eq!(cosine(1.0).at(0.3, &step(1000)), 0.0);
    }

    #[test]
    fn an_epoch_schedule_is_constant_within_an_epoch() {
        let shape = WarmupCosine { interval: Interval::Epoch, ..WarmupCosine::default() };
        let schedule = Schedule::WarmupCosine(WarmupCosine { warmup_epochs: 3.0, ..shape });
        assert_eq!(schedule.at(0.3, &step(40)), schedule.at(0.3, &step(49)));
        assert_ne!(schedule.at(0.3, &step(49)), schedule.at(0.3, &step(50)));
    }

    #[test]
    fn a_straight_line_reaches_both_ends() {
        let at = |epochs, epoch| straight_line((0.04, 0.07), epochs, epoch);
        assert_eq!([at(0, 0), at(1, 0), at(1, 1)], [0.07, 0.04, 0.07]);
        assert_eq!([at(3, 0), at(3, 2), at(3, 9)], [0.04, 0.07, 0.07]);
        assert!((at(3, 1) - 0.055).abs() < 1e-12);
    }

    #[test]
    fn schedules_survive_a_round_trip_through_toml() {
        for schedule in [
            Schedule::Constant {},
            cosine(2.5),
            Schedule::Steps { milestones: vec![60, 80], gamma: 0.2 },
        ] {
            let text = toml::to_string(&schedule).unwrap();
            assert_eq!(toml::from_str::<Schedule>(&text).unwrap(), schedule, "{text}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let got = toml::from_str::<Schedule>("name = \"warmup-cosine\"\nwarmup = 3");
        assert!(got.unwrap_err().to_string().contains("warmup"));
        assert!(toml::from_str::<Schedule>("name = \"constant\"\nmin = 3").is_err());
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let error = cosine(f64::NAN).validate().unwrap_err();
        assert_eq!(error.field, "warmup_epochs");
    }
}
