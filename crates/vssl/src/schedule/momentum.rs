//! What changes over a run beside the learning rate: the momentum of a teacher, a half cosine (Grill et al. 2020,
//! arXiv:2006.07733) or a straight line, and temperatures. Called by the methods.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::Step;

/// The momentum of a teacher: half a cosine from `base` to `last`,
/// `τ = last − (last − base)·(cos(π·t/M) + 1)/2` with `t` optimiser steps done before this step and `M` steps
/// in all. The first update uses `base`; `last` would only be reached after the end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Momentum {
    /// The momentum of the first update.
    pub base: f64,
    /// The momentum at the end of the cosine.
    pub last: f64,
}

impl Momentum {
    /// Returns the momentum of the update after this step.
    pub fn at(&self, step: &Step) -> f64 {
        self.last - (self.last - self.base) * ((PI * progress(step)).cos() + 1.0) / 2.0
    }

    /// Returns the momentum of the update after this step where it follows a straight line from `base` to `last`.
    pub fn along_a_line(&self, step: &Step) -> f64 {
        self.base + (self.last - self.base) * progress(step)
    }
}

/// Returns the share of the run's optimiser steps that are done before this step.
fn progress(step: &Step) -> f64 {
    step.index.min(step.total) as f64 / step.total.max(1) as f64
}

/// Returns the value of epoch `epoch` on a straight line from `start` to `end` over `epochs` epochs, both
/// ends included; later epochs have `end`. A line of a single epoch has `start`.
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

    #[test]
    fn a_straight_line_reaches_both_ends() {
        let at = |epochs, epoch| straight_line((0.04, 0.07), epochs, epoch);
        assert_eq!([at(0, 0), at(1, 0), at(1, 1)], [0.07, 0.04, 0.07]);
        assert_eq!([at(3, 0), at(3, 2), at(3, 9)], [0.04, 0.07, 0.07]);
        assert!((at(3, 1) - 0.055).abs() < 1e-12);
    }

    #[test]
    fn a_momentum_along_a_line_starts_at_its_base_and_ends_at_its_last() {
        let momentum = Momentum { base: 0.5, last: 1.0 };
        assert_eq!(
            [0, 50, 100, 101].map(|t| momentum.along_a_line(&Step {
                index: t,
                total: 100,
                ..Step::default()
            })),
            [0.5, 0.75, 1.0, 1.0]
        );
    }
}
