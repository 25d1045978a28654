//! The length of a training, and a change of it while the training goes on.
//!
//! A training may go on with more or fewer epochs than it began with. All of its state is kept, but every
//! schedule follows the new length from there on, so the result is not that of one training of either length.
//! That is told at the start and in the result. Called where a training that goes on is planned.

use toml::Table;

use crate::schedule::Step;

/// The keys of recipes and settings that say how long a training is.
pub const LENGTH: [&str; 2] = ["train.epochs", "train.max_steps"];

/// The words by which the note on another length is known.
const NOT_ONE: &str = "the result is not that of one training of";

/// Returns whether a note of a result tells that the training went on with another length.
pub(super) fn is_note(note: &str) -> bool {
    note.contains(NOT_ONE)
}

/// The length of a training, for any number of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// The number of images of a step.
    pub batch: usize,
    /// The number of passes over the images.
    pub epochs: u64,
    /// The largest number of steps.
    pub max_steps: Option<u64>,
}

impl Length {
    /// Returns the number of steps of a pass over `images` images: whole batches only.
    pub fn steps_per_epoch(&self, images: usize) -> u64 {
        (images / self.batch) as u64
    }

    /// Returns the number of steps of the whole training.
    pub fn total_steps(&self, images: usize) -> u64 {
        let scheduled = self.steps_per_epoch(images).saturating_mul(self.epochs);
        self.max_steps.map_or(scheduled, |most| most.min(scheduled))
    }

    /// Returns the length that the resolved `settings` state, for batches of the same size.
    pub(crate) fn stated_in(self, settings: &Table) -> Self {
        let number = |key: &str| settings.get("train")?.get(key)?.as_integer()?.try_into().ok();
        Self {
            epochs: number("epochs").unwrap_or(self.epochs),
            max_steps: number("max_steps"),
            ..self
        }
    }

    /// Returns the position after `index` steps, as schedules of the learning rate see it.
    fn step(&self, images: usize, index: u64) -> Step {
        let steps_per_epoch = self.steps_per_epoch(images);
        let epoch = index.checked_div(steps_per_epoch).unwrap_or(0);
        let total = self.total_steps(images);
        Step { index, epoch, steps_per_epoch, total, ..Step::default() }
    }
}

/// A training that goes on with another length.
pub(crate) struct NewLength<'a> {
    /// The earlier length, and the number of training images of that time.
    pub was: (Length, usize),
    /// The new length, and the number of training images now.
    pub now: (Length, usize),
    /// The number of steps done.
    pub step: u64,
    /// The name of the learning rate that is told.
    pub rate_name: &'a str,
    /// Returns that learning rate at a step of a training of the given length.
    pub rate: &'a dyn Fn(&Length, &Step) -> f64,
}

impl NewLength<'_> {
    /// Returns a note on the change for the user.
    ///
    /// # Errors
    /// The training has already done more steps than the new length has; the text names both and what to do.
    pub(crate) fn note(&self) -> Result<String, String> {
        let ((was, images_then), (now, images)) = (self.was, self.now);
        let (total_before, total) = (was.total_steps(images_then), now.total_steps(images));
        let step = self.step;
        let steps_per_epoch = now.steps_per_epoch(images).max(1);
        if total < step {
            let least = step.div_ceil(steps_per_epoch);
            return Err(format!(
                "{} ends the training after step {total}, but {step} steps are done ({} epochs of \
                 {steps_per_epoch} steps). Expected train.epochs = {least} or more, and no smaller \
                 train.max_steps; for a shorter training, begin a new one with another --out",
                now.stated(),
                shown(step as f64 / steps_per_epoch as f64),
            ));
        }
        let change = format!("{} instead of {} since step {step}", now.stated(), was.stated());
        if total == total_before {
            return Ok(format!("{change}: the last step is {total} as before, and schedules stay"));
        }
        let end = format!(
            "the last step is {total} instead of {total_before}, every schedule follows the new \
             length, and {NOT_ONE} {}",
            now.stated()
        );
        if total == step {
            return Ok(format!("{change}: no step is left; {end}"));
        }
        let rate = |length: &Length, images| (self.rate)(length, &length.step(images, step));
        Ok(format!(
            "{change}: the training goes on in epoch {} with {} {}, which was {} by the earlier \
             schedule; {end}",
            step / steps_per_epoch + 1,
            self.rate_name,
            shown(rate(&now, images)),
            shown(rate(&was, images_then)),
        ))
    }
}

impl Length {
    /// Returns the length as settings state it.
    fn stated(&self) -> String {
        match self.max_steps {
            Some(steps) => {
                format!("train.epochs = {} and train.max_steps = {steps}", self.epochs)
            }
            None => format!("train.epochs = {}", self.epochs),
        }
    }
}

/// Returns a number with at most four significant digits.
fn shown(number: f64) -> String {
    let rounded: f64 = format!("{number:.3e}").parse().unwrap_or(number);
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Schedule, WarmupCosine};

    const SHORT: Length = Length { batch: 8, epochs: 3, max_steps: None };

    fn note(now: Length, step: u64) -> Result<String, String> {
        let shape = WarmupCosine { warmup_epochs: 0.0, ..WarmupCosine::default() };
        let schedule = Schedule::WarmupCosine(shape);
        let rate = |_: &Length, at: &Step| schedule.at(0.3, at);
        let (was, now) = ((SHORT, 64), (now, 64));
        NewLength { was, now, step, rate_name: "the learning rate", rate: &rate }.note()
    }

    #[test]
    fn a_longer_training_is_told_both_rates_and_both_ends() {
        let note = note(Length { epochs: 6, ..SHORT }, 24).unwrap();
        for part in [
            "train.epochs = 6 instead of train.epochs = 3 since step 24",
            "goes on in epoch 4 with the learning rate 0.15, which was 0 by the earlier schedule",
            "the last step is 48 instead of 24",
            "not that of one training of train.epochs = 6",
        ] {
            assert!(note.contains(part), "{part:?} is not in {note}");
        }
    }

    #[test]
    fn a_shorter_training_ends_where_it_is_or_later_and_not_earlier() {
        let no_step = note(Length { epochs: 2, ..SHORT }, 16).unwrap();
        assert!(no_step.contains("no step is left") && is_note(&no_step), "{no_step}");
        assert!(note(Length { epochs: 2, ..SHORT }, 12).unwrap().contains("16 instead of 24"));
        let error = note(Length { epochs: 2, ..SHORT }, 17).unwrap_err();
        for part in ["after step 16", "17 steps are done (2.125 epochs", "train.epochs = 3 or more"]
        {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
        let cut = note(Length { max_steps: Some(5), ..SHORT }, 17).unwrap_err();
        assert!(cut.contains("train.max_steps = 5 ends the training after step 5"), "{cut}");
    }

    #[test]
    fn a_length_that_changes_no_step_says_so() {
        let note = note(Length { epochs: 9, max_steps: Some(24), ..SHORT }, 8).unwrap();
        assert!(note.contains("the last step is 24 as before, and schedules stay"), "{note}");
    }

    #[test]
    fn the_length_is_read_from_settings() {
        let settings: Table = "[train]\nepochs = 7\nbatch = 9\nmax_steps = 5".parse().unwrap();
        let expected = Length { batch: 8, epochs: 7, max_steps: Some(5) };
        assert_eq!(SHORT.stated_in(&settings), expected);
        assert_eq!(Length { max_steps: Some(1), ..SHORT }.stated_in(&Table::new()), SHORT);
    }
}
