//! The run folder, which a run writes and later reads again.
//!
//! ```text
//! recipe.toml      resolved: every setting, defaults included
//! metrics.jsonl    the figures of logged steps and evaluations: see `metrics`
//! events.jsonl     the other events, for programs: see `history`
//! log.txt          the same for people
//! checkpoints/     see `checkpoint`
//! summary.json     the result
//! start.safetensors    the encoder that the run started from, where its recipe has [init]
//! teacher.safetensors  the frozen teacher, where its recipe has [teacher]
//! classes.json     the accuracy by class, and confusion.csv the classes that images were given
//! recipe-step-….toml, summary-step-….json     of an earlier length: see `earlier`
//! events.out.…     the figures for TensorBoard, where the recipe asks for them
//! encoder.json     of a fine-tuning, beside labels.json: the architecture of its network
//! linear/          the folder of `vssl linear`, which has settings.toml in place of the recipe
//! ```
//!
//! `writing` is an open folder, `claim` says whether a new run can have a folder and empties it, `lock` whether a
//! process is at work in it, `reading` what lies there.

mod claim;
mod lock;
mod reading;
mod writing;

pub use self::{
    claim::check_free,
    lock::is_busy,
    reading::{is_on_labels, is_run, name, recipe_of, revision, summary_of},
    writing::RunFolder,
};
pub use super::{
    error::RunFolderError,
    names::{
        CLASSES, CONFUSION, ENCODER, LABELS, LINEAR, RECIPE, SETTINGS, START, SUMMARY, TEACHER,
    },
};

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;
    use crate::run::history::Entry;

    #[test]
    fn a_run_whose_encoder_is_being_evaluated_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        drop(RunFolder::create(&path, "seed = 0", false, false).unwrap());
        let linear = path.join("linear");
        let settings = (SETTINGS, "seed = 1");
        let at_work = RunFolder::create_with(settings, &linear, false, false).unwrap();
        let replace = || RunFolder::create(&path, "seed = 2", true, false).map(drop);
        let error = replace().unwrap_err().to_string();
        assert!(error.contains("linear: another process is at work"), "{error}");
        assert_eq!(recipe_of(&path).unwrap(), "seed = 0");
        drop(at_work);
        replace().unwrap();
        assert!(!linear.exists());
    }

    #[test]
    fn a_start_that_failed_before_its_first_step_is_replaced_and_a_later_failure_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let fail = |step| {
            let mut run = RunFolder::create(&path, "seed = 0", true, false).unwrap();
            run.note(&Entry::Failed { step, message: "x.png: damaged".to_owned() }).unwrap();
            for name in [START, TEACHER, LABELS, ENCODER] {
                run.write(name, "").unwrap();
            }
        };
        let again = || RunFolder::create(&path, "seed = 1", false, false).map(drop);
        fail(0);
        check_free(&path).unwrap();
        again().unwrap();
        assert_eq!(recipe_of(&path).unwrap(), "seed = 1");
        assert!(again().is_err(), "a run that did not fail");
        fail(3);
        assert!(check_free(&path).is_err() && again().is_err());
        fail(0);
        fs::write(path.join("notes.txt"), "mine").unwrap();
        assert!(check_free(&path).is_err() && again().is_err());
    }

    #[test]
    fn of_starts_in_one_folder_one_gets_it_and_its_settings_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let path = path.as_path();
        let texts = ["seed = 0", "seed = 1", "seed = 2", "seed = 3"];
        let begun: Vec<_> = thread::scope(|scope| {
            let start = |text| scope.spawn(move || RunFolder::create(path, text, false, false));
            texts.map(start).into_iter().map(|start| start.join().unwrap()).collect()
        });
        let got = texts.into_iter().zip(&begun).filter(|(_, begun)| begun.is_ok());
        let got: Vec<&str> = got.map(|(text, _)| text).collect();
        assert_eq!(got, [recipe_of(path).unwrap()]);
    }
}
