//! Dynamic loss scaling for gradients in 16-bit floats (Micikevicius et al. 2018, arXiv:1710.03740,
//! section 3.2), with the constants that are in common use. Called by the second half of a step.
//!
//! Half-precision numbers below 6·10⁻⁸ are zero, and gradients are that small. So the loss is multiplied by a
//! factor before the backward pass, and the gradients are divided by it afterwards. When a gradient
//! overflows, the step is skipped and the factor halved; after many good steps the factor is doubled. All
//! factors are powers of two, so scaling changes no bit of a number that stays in range.

use serde::{Deserialize, Serialize};

/// The factor of the first step: 2¹⁶.
const FIRST: f64 = 65_536.0;
/// The smallest factor. A smaller factor would shrink the range that scaling is there to use.
const SMALLEST: f64 = 1.0;
/// The number of good steps in a row after which the factor is doubled.
const PATIENCE: u32 = 2000;

/// The state of loss scaling. It is part of the position that a checkpoint holds, so that a resumed run goes
/// on with the same factor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// The factor of the next step's loss.
    pub factor: f64,
    /// The number of good steps since the factor last changed.
    pub good: u32,
    /// The number of skipped steps so far.
    pub skipped: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { factor: FIRST, good: 0, skipped: 0 }
    }
}

impl LossScale {
    /// Updates the factor after a step; a step whose gradients were not all finite was skipped. Returns
    /// `false` when the factor cannot be halved again.
    #[must_use]
    pub fn after(&mut self, finite: bool) -> bool {
        if finite {
            self.good += 1;
            if self.good == PATIENCE {
                *self = Self { factor: self.factor * 2.0, good: 0, ..*self };
            }
            return true;
        }
        if self.factor <= SMALLEST {
            return false;
        }
        *self = Self { factor: self.factor / 2.0, good: 0, skipped: self.skipped + 1 };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::checkpoint::Position;

    #[test]
    fn an_overflow_halves_the_factor_and_is_counted() {
        let mut scale = LossScale::default();
        assert!(scale.after(true) && scale.after(false));
        assert_eq!(scale, LossScale { factor: 32_768.0, good: 0, skipped: 1 });
    }

    #[test]
    fn only_an_unbroken_row_of_good_steps_doubles_it() {
        let mut scale = LossScale::default();
        for _ in 0..PATIENCE - 1 {
            assert!(scale.after(true));
        }
        assert_eq!(scale.factor, FIRST);
        assert!(scale.after(false));
        for _ in 0..PATIENCE - 1 {
            assert!(scale.after(true));
        }
        assert_eq!(scale.factor, FIRST / 2.0);
        assert!(scale.after(true));
        assert_eq!(scale, LossScale { factor: FIRST, good: 0, skipped: 1 });
    }

    #[test]
    fn it_gives_up_at_the_floor_and_nowhere_above() {
        let mut scale = LossScale::default();
        for halvings in 1..=16 {
            assert!(scale.after(false), "after {halvings}");
        }
        assert_eq!((scale.factor, scale.skipped), (SMALLEST, 16));
        assert!(!scale.after(false));
    }

    #[test]
    fn a_checkpoint_from_before_loss_scaling_has_none() {
        let old = r#"{ "step": 7, "seconds": 1.5, "replaced": 0, "online": null, "best": null }"#;
        let position: Position = serde_json::from_str(old).unwrap();
        assert_eq!((position.step, position.loss_scale), (7, None));
        assert!(!serde_json::to_string(&position).unwrap().contains("loss_scale"));
    }

    #[test]
    fn what_is_written_to_a_checkpoint_is_read_back_and_goes_on_alike() {
        let mut scale = LossScale { factor: 2f64.powi(40), good: PATIENCE - 1, skipped: 3 };
        let text = serde_json::to_string(&scale).unwrap();
        let mut read: LossScale = serde_json::from_str(&text).unwrap();
        assert_eq!(read, scale);
        assert!(scale.after(true) && read.after(true));
        assert_eq!((read, read.factor), (scale, 2f64.powi(41)));
    }
}
