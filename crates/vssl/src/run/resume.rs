//! The changes that are allowed while a training goes on, and their effects.
//!
//! A training goes on with the numbers that it began with: settings that change a number must stay the same,
//! and so must the images. Called where a training that goes on is planned, and by the comparison of runs,
//! which needs to know the same about settings.

use std::{
    error::Error,
    path::{self, Path},
};

use toml::Table;

use super::{
    images::Images,
    length::{self, LENGTH, Length},
};
use crate::{
    methods,
    recipe::{self, Difference, InitSection, Provenance, Recipe},
    schedule::Schedule,
};

/// The keys of a recipe, or the beginnings of keys, that change no number of a run.
pub const FREE_IN_RUNS: [&str; 12] = [
    "data.path",
    "data.train",
    "data.validation",
    "data.test",
    "data.workers",
    "data.prefetch",
    "checkpoint.",
    "log.",
    "evaluation.enabled",
    "evaluation.evaluators",
    "evaluation.untrained",
    "evaluation.pixels",
];

/// The keys of the settings of trainings on labels, or the beginnings of keys, that change no number of a
/// training.
const FREE_ON_LABELS: [&str; 5] =
    ["data.workers", "data.prefetch", "checkpoint.", "log.", "train.evaluate_every"];

/// Returns the differences between `was`, the recipe of a run, and `now` that forbid the run to go on.
pub fn binding_differences(was: &Recipe, now: &Recipe) -> Vec<Difference> {
    binding(recipe::difference(was, now), &FREE_IN_RUNS)
}

/// Returns the differences that forbid a run to go on, where `was` is the text of the recipe with which the
/// run was begun. The settings of a method that only another program knows are compared as they are written.
///
/// # Errors
/// The text is not a recipe.
pub fn differences_since(
    was: &str,
    now: &Recipe,
) -> Result<Vec<Difference>, Box<dyn Error + Send + Sync>> {
    if methods::find(now.method.name()).is_some() {
        return Ok(binding_differences(&methods::recipe_from(was)?, now));
    }
    let was = recipe::upgraded(was.parse()?);
    Ok(binding(recipe::of_tables(&was, &now.to_table()), &FREE_IN_RUNS))
}

/// Gives `now` the defaults that the run of the recipe `was` has adapted: the batch, where the training set was
/// smaller, and the warm-up, where the run was shorter. A setting that somebody has given for `now`, as `origins`
/// tell, stays.
pub fn keep_adapted_defaults(was: &Recipe, now: &mut Recipe, origins: &Provenance) {
    let batch = was.train.batch;
    let adapts = batch.is_power_of_two() && batch < now.train.batch;
    if adapts && !origins.is_given("train.batch") {
        now.train.batch = batch;
    }
    keep_start(was, now);
    if let (Schedule::WarmupCosine(was), Schedule::WarmupCosine(now)) =
        (&was.schedule, &mut now.schedule)
        && was.warmup_epochs < now.warmup_epochs
        && !origins.is_given("schedule.warmup_epochs")
    {
        now.warmup_epochs = was.warmup_epochs;
    }
}

/// Gives `now` what the run of the recipe `was` has taken over from the encoder that it started from and from its teacher, if
/// both name the same encoder and `now` does not say otherwise. Of an encoder, `latest` and `best` are the checkpoints that
/// they were when the run began.
pub fn keep_start(was: &Recipe, now: &mut Recipe) {
    if let (Some(from), Some(teacher)) = (&was.teacher, &mut now.teacher) {
        keep_source(from, teacher);
    }
    let (Some(from), Some(init)) = (&was.init, &mut now.init) else { return };
    if keep_source(from, init) {
        // Where the backbones disagree, the comparison of the recipes says so.
        let _ = now.start_from(&was.backbone, was.data.normalisation());
    }
}

/// Gives `now` the place, the checkpoint and the digest of `was` if both name the same encoder; returns whether they do.
fn keep_source(was: &InitSection, now: &mut InitSection) -> bool {
    if let (Some(from), Some(features)) = (&was.features, &mut now.features) {
        if is_same_place(from, features) {
            features.clone_from(from);
        }
        // A file that was moved is known by its digest, which is compared where it is read.
        if now.features_digest.is_none() {
            now.features_digest.clone_from(&was.features_digest);
        }
    }
    let is_same = is_same_place(&was.from, &now.from);
    if is_same {
        now.from.clone_from(&was.from);
        if !now.checkpoint.as_ref().is_some_and(|name| name.starts_with("step-")) {
            now.checkpoint.clone_from(&was.checkpoint);
        }
        if now.digest.is_none() {
            now.digest.clone_from(&was.digest);
        }
    }
    is_same
}

/// Whether `now` leads to the file or folder `was`.
fn is_same_place(was: &Path, now: &Path) -> bool {
    was == now
        || path::absolute(now).is_ok_and(|place| place == was)
        || now.canonicalize().is_ok_and(|place| place == was)
}

/// Returns the differences between the settings `was` of a training on labels and `now` that forbid the
/// training to go on.
pub fn binding_differences_on_labels(was: &Table, now: &Table) -> Vec<Difference> {
    binding(recipe::of_tables(was, now), &FREE_ON_LABELS)
}

/// Returns the differences without those in the length of a training: a training goes on with another length,
/// and a note tells the effect.
pub fn apart_from_length(mut differences: Vec<Difference>) -> Vec<Difference> {
    differences.retain(|difference| !LENGTH.contains(&difference.key.as_str()));
    differences
}

/// Returns the differences without that in the place of the teacher's features where their digest is the same: the file
/// was moved.
pub(crate) fn apart_from_place(mut differences: Vec<Difference>) -> Vec<Difference> {
    let is_moved = |difference: &Difference| {
        difference.key == "teacher.features" && difference.was.is_some() && difference.now.is_some()
    };
    if !differences.iter().any(|difference| difference.key == "teacher.features_digest") {
        differences.retain(|difference| !is_moved(difference));
    }
    differences
}

fn binding(differences: Vec<Difference>, free: &[&str]) -> Vec<Difference> {
    let mut differences = apart_from_place(differences);
    differences.retain(|difference| !free.iter().any(|free| difference.key.starts_with(free)));
    differences
}

/// The words by which the note on other images is known.
const CHANGED_DATA: &str = "(--allow-changed-data)";

/// Returns those of the `notes` of a result that tell that the training is not one that went on as it began:
/// its length or its images changed on the way.
pub fn changes_of_course(notes: &[String]) -> Vec<&str> {
    let tells = |note: &&String| length::is_note(note) || note.contains(CHANGED_DATA);
    notes.iter().filter(tells).map(String::as_str).collect()
}

/// Checks that a training that has done `step` steps on the images `was` may go on with the images `now`.
/// Returns a note for the user on a change. `was` is `None` for a checkpoint without fingerprints.
///
/// # Errors
/// The images have changed and changes are not `allowed`; the error has a line for each split.
pub fn check_images(
    was: Option<&Images>,
    now: &Images,
    allowed: bool,
    length: Length,
    step: u64,
) -> Result<Option<String>, Vec<String>> {
    let Some(was) = was else {
        return Ok(Some(
            "the checkpoint is of an earlier version, which did not note its images: that they are the \
             same was not checked"
                .to_owned(),
        ));
    };
    let changes: Vec<String> = now.changes_since(was).iter().map(ToString::to_string).collect();
    match (changes.is_empty(), allowed) {
        (true, _) => Ok(None),
        (false, false) => Err(changes),
        (false, true) => {
            let meaning = match was.training == now.training {
                true => {
                    "the training images, their order and all schedules are as before".to_owned()
                }
                false => meaning(was.training.count, now.training.count, length, step),
            };
            Ok(Some(format!("{} {CHANGED_DATA}; {meaning}", changes.join("; "))))
        }
    }
}

/// Returns the effect of another number of training images on the epochs and schedules of a training.
fn meaning(was: usize, now: usize, length: Length, step: u64) -> String {
    let [before, after] = [was, now].map(|images| length.steps_per_epoch(images));
    let [total_before, total] = [was, now].map(|images| length.total_steps(images));
    let order = "the images come in another order than before";
    if was == now {
        return format!(
            "an epoch has {after} steps as before, all schedules stay, and so does the order of all images \
             but those whose names changed"
        );
    }
    if before == after {
        return format!("an epoch has {after} steps as before and all schedules stay, but {order}");
    }
    let epoch = |steps: u64| step.checked_div(steps).unwrap_or(0) + 1;
    format!(
        "an epoch has {after} steps instead of {before}: after {step} steps the training goes on in \
         epoch {} instead of {}, its last step is {total} instead of {total_before}, learning rates and \
         all other schedules follow the new numbers, and {order}",
        epoch(after),
        epoch(before)
    )
}

#[cfg(test)]
mod tests {
    use super::{super::images::Fingerprint, *};

    fn images(training: usize, validation: Option<&str>) -> Images {
        let validation = validation.map(|digest| Fingerprint {
            count: 9,
            digest: digest.to_owned(),
            names: None,
        });
        let training = Fingerprint { count: training, digest: training.to_string(), names: None };
        Images { training, validation, classes: None }
    }

    #[test]
    fn only_defaults_are_taken_from_the_run() {
        let read = |more: &str| {
            let text = format!("method = \"simclr\"\ndata.path = \"x\"\n{more}");
            Recipe::parse(&text, "test.toml", &[], methods::METHODS).unwrap()
        };
        let (mut was, _) = read("train = { epochs = 8 }\n");
        was.train.batch = 64;
        let kept = |more: &str| {
            let (mut now, origins) = read(more);
            keep_adapted_defaults(&was, &mut now, &origins);
            binding_differences(&was, &now).into_iter().map(|found| found.key).collect::<Vec<_>>()
        };
        assert!(kept("train = { epochs = 8 }\n").is_empty());
        assert_eq!(kept("train = { epochs = 30 }\n"), ["train.epochs"]);
        assert_eq!(kept("train = { epochs = 8, batch = 256 }\n"), ["train.batch"]);
        let warmup = "train = { epochs = 8 }\n\
                      schedule = { name = \"warmup-cosine\", warmup_epochs = 2 }\n";
        assert_eq!(kept(warmup), ["schedule.warmup_epochs"]);
    }

    const LENGTH: Length = Length { batch: 8, epochs: 60, max_steps: None };

    #[test]
    fn changed_images_are_refused_with_what_changed_or_allowed_with_what_it_means() {
        let (was, now) = (images(32, Some("a")), images(48, Some("b")));
        let check = |now: &Images, allowed| check_images(Some(&was), now, allowed, LENGTH, 100);
        assert_eq!(check(&was, false), Ok(None));
        let changes = check(&now, false).unwrap_err();
        assert_eq!(changes[0], "training images: 32 then, 48 now");
        assert!(changes[1].contains("validation images: 9 as before, but with other names"));
        let none = check(&images(32, None), false).unwrap_err();
        assert_eq!(none, ["validation images: 9 then, 0 now"]);

        let note = check(&now, true).unwrap().unwrap();
        for part in ["32 then, 48 now", "6 steps instead of 4", "epoch 17 instead of 26"] {
            assert!(note.contains(part), "{note}");
        }
        assert!(note.contains("its last step is 360 instead of 240"), "{note}");
        let mut repaired = was.clone();
        repaired.training.digest = "c".to_owned();
        let note = check(&repaired, true).unwrap().unwrap();
        assert!(note.contains("4 steps as before") && note.contains("so does the order"), "{note}");
        let note = check(&images(33, Some("a")), true).unwrap().unwrap();
        assert!(note.contains("4 steps as before") && note.contains("another order"), "{note}");
        let note = check(&images(32, Some("b")), true).unwrap().unwrap();
        assert!(note.contains("their order and all schedules are as before"), "{note}");
        assert!(!note.contains("another order"), "{note}");
    }

    #[test]
    fn a_checkpoint_that_does_not_say_its_images_is_told_of() {
        let note = check_images(None, &images(32, None), false, LENGTH, 0).unwrap().unwrap();
        assert!(note.contains("earlier version"), "{note}");
    }
}
