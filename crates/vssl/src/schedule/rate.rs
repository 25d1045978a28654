//! The learning rate: linear warm-up, then a half cosine (Loshchilov and Hutter, arXiv:1608.03983; Goyal et al.,
//! arXiv:1706.02677), or steps at milestones. Called by the training loop.

use std::f64::consts::PI;

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::Step;
use crate::tagged::TaggedTable;

/// The unit in which a schedule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interval {
    /// The rate changes with every optimiser step.
    #[default]
    Step,
    /// The rate changes with every epoch.
    Epoch,
}

/// The learning rate over a run, as a function of the base rate and the step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Schedule {
    /// The rate is the base rate throughout.
    Constant {},
    /// The rate rises in a straight line from `start` to the base rate, then falls by half a cosine to `min`.
    WarmupCosine(WarmupCosine),
    /// The rate is the base rate times `gamma` for each milestone that has passed.
    Steps {
        /// The epochs at whose beginning the rate is multiplied; an epoch that is listed twice counts twice.
        milestones: Vec<u64>,
        /// The factor; 0.1 unless given.
        gamma: f64,
    },
}

/// The parameters of [`Schedule::WarmupCosine`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WarmupCosine {
    /// The length of the warm-up in epochs; 10, as in solo-learn's recipes.
    pub warmup_epochs: f64,
    /// The rate of the first step, the same for every group and batch size; 3e-5 as in solo-learn. Without a
    /// warm-up the first step has the base rate.
    pub start: f64,
    /// The rate at the end of the cosine, the same for every group and batch size; 0.
    pub min: f64,
    /// The unit of counting; optimiser steps.
    pub interval: Interval,
}

/// The keys of `[schedule]` by its `name`.
pub(crate) const TABLE: TaggedTable = TaggedTable {
    tag: "name",
    default: "warmup-cosine",
    choices: &[
        ("warmup-cosine", "warmup_epochs start min interval"),
        ("steps", "milestones gamma"),
        ("constant", ""),
    ],
};

/// The names of the schedules.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Name {
    #[default]
    WarmupCosine,
    Steps,
    Constant,
}

/// A table as it is read: any key may be absent, and [`TABLE`] says which keys are allowed.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    name: Name,
    warmup_epochs: Option<f64>,
    start: Option<f64>,
    min: Option<f64>,
    interval: Option<Interval>,
    milestones: Option<Vec<u64>>,
    gamma: Option<f64>,
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Keys::deserialize(deserializer)?;
        let present = [
            ("warmup_epochs", read.warmup_epochs.is_some()),
            ("start", read.start.is_some()),
            ("min", read.min.is_some()),
            ("interval", read.interval.is_some()),
            ("milestones", read.milestones.is_some()),
            ("gamma", read.gamma.is_some()),
        ];
        TABLE.refuse_foreign(TABLE.choices[read.name as usize].0, &present)?;
        Ok(match read.name {
            Name::Constant => Self::Constant {},
            Name::Steps => Self::Steps {
                milestones: read.milestones.ok_or_else(|| D::Error::missing_field("milestones"))?,
                gamma: read.gamma.unwrap_or(0.1),
            },
            Name::WarmupCosine => {
                let default = WarmupCosine::default();
                Self::WarmupCosine(WarmupCosine {
                    warmup_epochs: read.warmup_epochs.unwrap_or(default.warmup_epochs),
                    start: read.start.unwrap_or(default.start),
                    min: read.min.unwrap_or(default.min),
                    interval: read.interval.unwrap_or(default.interval),
                })
            }
        })
    }
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

/// A schedule has a parameter that is out of range.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("schedule {schedule}: {field} is {got}; expected {expected}")]
pub struct ScheduleError {
    /// The name of the schedule as in a recipe.
    pub schedule: &'static str,
    /// The key of the parameter.
    pub field: &'static str,
    /// The value that was found.
    pub got: f64,
    /// The values that are allowed.
    pub expected: &'static str,
}

impl Schedule {
    /// Returns the learning rate of the step for the base rate `base`.
    pub fn at(&self, base: f64, step: &Step) -> f64 {
        match self {
            Schedule::Constant {} => base,
            Schedule::WarmupCosine(shape) => shape.at(base, step),
            Schedule::Steps { milestones, gamma } => {
                let passed = milestones.iter().filter(|&&epoch| epoch <= step.epoch).count();
                // The cast fits, because a run has few milestones.
                base * gamma.powi(passed as i32)
            }
        }
    }

    /// Returns a note on milestones, set by `key`, that a training of `epochs` epochs does not reach.
    pub fn remark(&self, key: &str, epochs: u64) -> Option<String> {
        let Schedule::Steps { milestones, .. } = self else { return None };
        let late = milestones.iter().filter(|&&milestone| milestone >= epochs);
        let late: Vec<String> = late.map(u64::to_string).collect();
        (!late.is_empty()).then(|| {
            format!(
                "{key}: the rate would change after epoch {}, and the training ends after {epochs} \
                 (train.epochs): that has no effect",
                late.join(", ")
            )
        })
    }

    /// Checks that no parameter is negative or not finite.
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
    /// Returns the learning rate of a step. With `t` steps done, `W` steps of warm-up and `M` steps in all,
    /// it is `start + t·(base − start)/(W − 1)` for `t < W`, then
    /// `min + ½·(base − min)·(1 + cos(π·(t − W)/(M − W)))`, so that the base rate holds for two steps,
    /// `W − 1` and `W`. From `M` on the rate is `min`.
    /// A warm-up that is not a whole number of steps is rounded to the nearest whole number. (In this case
    /// solo-learn goes on by a recursion, which overshoots the base rate by up to a step's increment and
    /// carries the excess through the cosine.)
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
    fn keys_of_another_schedule_are_refused_and_those_that_are_left_out_have_defaults() {
        let error = toml::from_str::<Schedule>("name = \"steps\"\nmin = 3").unwrap_err();
        assert!(error.to_string().contains("min is a key of warmup-cosine"), "{error}");
        let error = toml::from_str::<Schedule>("name = \"steps\"").unwrap_err();
        assert!(error.to_string().contains("milestones"), "{error}");
        assert_eq!(toml::from_str::<Schedule>("").unwrap(), Schedule::default());
        for (name, _) in TABLE.choices {
            assert_eq!(TABLE.keys(name).unwrap()[0], "name");
        }
        assert_eq!(TABLE.keys("constant").unwrap(), ["name"]);
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let error = cosine(f64::NAN).validate().unwrap_err();
        assert_eq!(error.field, "warmup_epochs");
    }
}
