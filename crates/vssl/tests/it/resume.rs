//! Runs that go on with other images than they began with, or without their checkpoints.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use tempfile::TempDir;
use vssl::{
    run::{
        checkpoint::Store,
        events::{Event, Observer, Summary},
        folder,
        history::{self, Entry},
        stop::Stop,
    },
    train::{Environment, Plan, TrainError, pretrain},
};

use super::{
    embedded::pictures,
    training::{Silent, environment, recipe},
};

/// Asks for a stop at the first logged step, which the loop sees after the next one.
struct StopAtOnce(Stop);

impl Observer for StopAtOnce {
    fn event(&mut self, event: &Event) {
        if let Event::Step { .. } = event {
            self.0.request();
        }
    }
}

/// A run of three epochs that was stopped in the first, on pictures in a folder.
struct Stopped {
    root: TempDir,
    method: &'static str,
}

impl Stopped {
    fn new() -> Self {
        Self::of("method = \"simclr\"")
    }

    /// `method` is how the recipe begins.
    fn of(method: &'static str) -> Self {
        let stopped = Self { root: tempfile::tempdir().unwrap(), method };
        for split in ["train", "val"] {
            pictures(&stopped.images().join(split));
        }
        let plan = Plan::new(recipe(&stopped.text()), &stopped.run(), environment(Device::flex()));
        let stop = Stop::default();
        let summary = pretrain(&plan.unwrap(), &stop, &mut StopAtOnce(stop.clone())).unwrap();
        assert!(summary.interrupted && summary.steps == 2);
        stopped
    }

    fn images(&self) -> PathBuf {
        self.root.path().join("images")
    }

    fn run(&self) -> PathBuf {
        self.root.path().join("run")
    }

    fn text(&self) -> String {
        format!(
            r#"
            {}
            data = {{ format = "folder", path = {:?} }}
            views = [{{ count = 2, size = 16 }}]
            backbone = {{ width = 2, stem = "cifar" }}
            schedule = {{ name = "warmup-cosine", warmup_epochs = 0 }}
            train = {{ epochs = 3, batch = 4 }}
            log = {{ every_steps = 1 }}
            evaluation = {{ enabled = false }}
            "#,
            self.method,
            self.images()
        )
    }

    fn resumed(&self, allow_changed_data: bool) -> Result<Plan, TrainError> {
        let environment = Environment { allow_changed_data, ..environment(Device::flex()) };
        Plan::resume(recipe(&self.text()), &self.run(), "latest", environment)
    }

    /// Goes on and stops again after two steps more.
    fn stopped_again(&self, allow_changed_data: bool) -> Summary {
        let (plan, stop) = (self.resumed(allow_changed_data).unwrap(), Stop::default());
        let summary = pretrain(&plan, &stop, &mut StopAtOnce(stop.clone())).unwrap();
        assert!(summary.interrupted);
        summary
    }

    /// Copies the first dog `more` times.
    fn add_dogs(&self, more: usize) {
        let dogs = self.images().join("train/dog");
        (0..more).for_each(|at| copy(&dogs.join("00.png"), &dogs.join(format!("new{at}.png"))));
    }

    fn changes(&self) -> Vec<String> {
        match self.resumed(false).err() {
            None => Vec::new(),
            Some(TrainError::OtherImages { changes, .. }) => changes,
            Some(other) => panic!("{other}"),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

#[test]
fn images_that_were_added_are_refused_or_change_what_is_told() {
    let stopped = Stopped::new();
    assert_eq!(stopped.changes(), Vec::<String>::new());
    stopped.add_dogs(6);
    assert_eq!(stopped.changes(), ["training images: 19 then, 25 now"]);
    let error = stopped.resumed(false).err().unwrap();
    assert!(error.to_string().contains("--allow-changed-data") && !error.is_usage(), "{error}");

    let plan = stopped.resumed(true).unwrap();
    let note = plan.notes.iter().find(|note| note.contains("--allow-changed-data")).unwrap();
    assert!(note.contains("6 steps instead of 4") && note.contains("18 instead of 12"), "{note}");
    let summary = pretrain(&plan, &Stop::default(), &mut StopAtOnce(Stop::default())).unwrap();
    assert_eq!(summary.steps, 18);
    // From then on these are the images of the run.
    assert_eq!(stopped.changes(), Vec::<String>::new());
}

#[test]
fn every_later_result_says_that_the_images_changed() {
    let stopped = Stopped::new();
    let about = |notes: &[String]| -> Vec<String> {
        notes.iter().filter(|note| note.contains("--allow-changed-data")).cloned().collect()
    };
    assert_eq!(about(&stopped.stopped_again(false).notes), Vec::<String>::new());
    stopped.add_dogs(6);
    let noted = about(&stopped.stopped_again(true).notes);
    assert!(noted.len() == 1 && noted[0].contains("19 then, 25 now"), "{noted:?}");
    assert_eq!(about(&stopped.stopped_again(false).notes), noted);
    stopped.add_dogs(7);
    let both = about(&stopped.stopped_again(true).notes);
    assert!(both.len() == 2 && both[0] == noted[0] && both[1].contains("25 then, 26 now"));
    let last = pretrain(&stopped.resumed(false).unwrap(), &Stop::default(), &mut Silent).unwrap();
    assert!(!last.interrupted);
    assert_eq!(about(&last.notes), both);
    let stored: Summary = folder::summary_of(&stopped.run()).unwrap().unwrap();
    assert_eq!(about(&stored.notes), both);
    let checkpoint = Store::of(&stopped.run()).load("latest").unwrap().unwrap();
    assert_eq!(checkpoint.position.notes, both);
    let entries = history::read(&stopped.run()).unwrap();
    let messages = entries.into_iter().filter_map(|entry| match entry {
        Entry::Note { message, .. } => Some(message),
        _ => None,
    });
    assert_eq!(about(&messages.collect::<Vec<_>>()), both, "each is told when it came");
}

#[test]
fn an_evaluation_again_keeps_the_figures_that_it_does_not_measure() {
    let stopped = Stopped::new();
    let evaluated = |evaluation: &str| {
        let text = stopped.text().replace("enabled = false", evaluation);
        let plan =
            Plan::resume(recipe(&text), &stopped.run(), "latest", environment(Device::flex()));
        pretrain(&plan.unwrap(), &Stop::default(), &mut Silent).unwrap()
    };
    let first = evaluated("evaluators = [\"knn\"]");
    let names = ["knn_top1", "untrained_knn_top1", "pixels_knn_top1"];
    assert!(names.iter().all(|name| first.figure(name).is_some()), "{first:?}");
    let kept =
        |summary: &Summary| names.iter().all(|name| summary.figure(name) == first.figure(name));
    let second = evaluated("evaluators = [\"spectrum\"]");
    assert!(kept(&second) && second.figure("spectrum_rank").is_some(), "{second:?}");
    let third = evaluated("enabled = false");
    let measured = |summary: &Summary| -> Vec<(String, Option<f64>)> {
        let figures = summary.figures.clone().into_iter();
        figures.filter(|(_, value)| value.is_some()).collect()
    };
    assert_eq!(measured(&third), measured(&second));
    let note = third.notes.iter().find(|note| note.starts_with("kept from an earlier")).unwrap();
    assert!(
        names.iter().all(|name| note.contains(name)) && note.contains("spectrum_rank"),
        "{note}"
    );
    let stored: Summary = folder::summary_of(&stopped.run()).unwrap().unwrap();
    assert_eq!((measured(&stored), stored.notes), (measured(&third), third.notes));
}

#[test]
fn figures_of_other_weights_are_not_kept() {
    let stopped = Stopped::new();
    let text = stopped.text().replace("enabled = false", "evaluators = [\"knn\"]");
    let plan = Plan::resume(recipe(&text), &stopped.run(), "latest", environment(Device::flex()));
    let first = pretrain(&plan.unwrap(), &Stop::default(), &mut Silent).unwrap();
    assert!(first.figure("knn_top1").is_some() && first.steps == 12, "{first:?}");
    // The run goes back to an earlier step and trains to its end again.
    let names = Store::of(&stopped.run()).list().unwrap();
    assert!(names.len() > 1, "{names:?}");
    fs::write(stopped.run().join("checkpoints/latest"), &names[0]).unwrap();
    let plan = stopped.resumed(false).unwrap();
    let again = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    assert_eq!((again.figure("knn_top1"), again.steps), (None, 12));
    assert!(!again.notes.iter().any(|note| note.starts_with("kept")), "{:?}", again.notes);
}

#[test]
fn images_of_another_name_size_or_class_are_other_images() {
    let stopped = Stopped::new();
    let dogs = stopped.images().join("train/dog");
    let as_many = "training images: 19 as before, but with other names, sizes or labels";
    fs::rename(dogs.join("00.png"), dogs.join("zz.png")).unwrap();
    assert_eq!(stopped.changes(), [as_many]);
    fs::rename(dogs.join("zz.png"), dogs.join("00.png")).unwrap();
    assert_eq!(stopped.changes(), Vec::<String>::new());
    let whole = fs::read(dogs.join("00.png")).unwrap();
    fs::write(dogs.join("00.png"), [&whole[..], b"\0"].concat()).unwrap();
    assert_eq!(stopped.changes(), [as_many]);
    fs::write(dogs.join("00.png"), whole).unwrap();
    fs::remove_file(stopped.images().join("val/dog/00.png")).unwrap();
    assert_eq!(stopped.changes(), ["validation images: 19 then, 18 now"]);
}

#[test]
fn images_that_were_moved_are_the_same_images() {
    let stopped = Stopped::new();
    let elsewhere = stopped.root.path().join("elsewhere");
    fs::rename(stopped.images(), &elsewhere).unwrap();
    let text = stopped.text().replace("/images\"", "/elsewhere\"");
    let plan = Plan::resume(recipe(&text), &stopped.run(), "latest", environment(Device::flex()));
    assert_eq!(plan.unwrap().resume_from.unwrap().position.step, 2);
}

#[test]
fn a_checkpoint_that_does_not_say_its_images_goes_on_with_a_note() {
    let stopped = Stopped::new();
    let store = Store::of(&stopped.run());
    let mut checkpoint = store.load("latest").unwrap().unwrap();
    checkpoint.images = None;
    store.save(&checkpoint, false, 1).unwrap();
    let notes = stopped.resumed(false).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("did not note its images")), "{notes:?}");
}

#[test]
fn a_method_that_remembers_each_image_does_not_go_on_with_other_images_in_their_places() {
    let stopped = Stopped::of("method = \"deepclusterv2\"\ndeepclusterv2 = { prototypes = [4] }");
    let dogs = stopped.images().join("train/dog");
    let go_on = |stopped: &Stopped| {
        let plan = stopped.resumed(true).unwrap();
        pretrain(&plan, &Stop::default(), &mut StopAtOnce(Stop::default()))
    };
    fs::rename(dogs.join("00.png"), dogs.join("zz.png")).unwrap();
    let error = go_on(&stopped).unwrap_err().to_string();
    assert!(error.contains("deepclusterv2 remembers each of the 19 training images"), "{error}");
    assert!(error.contains("renamed or replaced"), "{error}");
    fs::rename(dogs.join("zz.png"), dogs.join("00.png")).unwrap();

    // An image that was repaired keeps its name, its place and its cluster.
    let whole = fs::read(dogs.join("00.png")).unwrap();
    fs::write(dogs.join("00.png"), [&whole[..], b"\0"].concat()).unwrap();
    go_on(&stopped).unwrap();

    // A method that remembers no image goes on with other names.
    let stopped = Stopped::new();
    let dogs = stopped.images().join("train/dog");
    fs::rename(dogs.join("00.png"), dogs.join("zz.png")).unwrap();
    go_on(&stopped).unwrap();
}

#[test]
fn a_method_that_remembers_each_image_does_not_go_on_with_another_number() {
    let stopped = Stopped::of("method = \"deepclusterv2\"\ndeepclusterv2 = { prototypes = [4] }");
    let dogs = stopped.images().join("train/dog");
    copy(&dogs.join("00.png"), &dogs.join("zz.png"));
    let plan = stopped.resumed(true).unwrap();
    let error = pretrain(&plan, &Stop::default(), &mut StopAtOnce(Stop::default())).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("deepclusterv2 remembers each training image"), "{error}");
    assert!(error.contains("there were 19") && error.contains("go on with 20"), "{error}");
    assert!(!error.contains("another method"), "{error}");
}

#[test]
fn a_run_whose_latest_is_missing_goes_on_from_its_newest_checkpoint_and_says_so() {
    let stopped = Stopped::new();
    fs::remove_file(stopped.run().join("checkpoints/latest")).unwrap();
    let plan = stopped.resumed(false).unwrap();
    assert_eq!(plan.resume_from.as_ref().unwrap().position.step, 2);
    let expected = "latest is missing: goes on from step-00000002, the newest whole checkpoint";
    assert!(plan.notes.iter().any(|note| note == expected), "{:?}", plan.notes);
    let summary = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    assert_eq!(summary.steps, 12);
    // The first new checkpoint makes `latest` whole again.
    assert_eq!(Store::of(&stopped.run()).stand_in().unwrap(), None);
}

#[test]
fn a_finished_run_without_checkpoints_keeps_its_result() {
    let stopped = Stopped::new();
    let run = stopped.run();
    let finished = pretrain(&stopped.resumed(false).unwrap(), &Stop::default(), &mut Silent);
    let finished = finished.unwrap();
    let files = ["summary.json", "metrics.jsonl", "events.jsonl"].map(|name| run.join(name));
    let before = files.clone().map(|file| fs::read(file).unwrap());
    // First `latest` names a checkpoint that is gone; then the whole folder is gone.
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    fs::create_dir(run.join("checkpoints")).unwrap();
    fs::write(run.join("checkpoints/latest"), "step-00000012\n").unwrap();
    for is_last in [false, true] {
        let plan = stopped.resumed(false).unwrap();
        let result = plan.result().unwrap().unwrap();
        assert_eq!((result.steps, result.interrupted), (finished.steps, false));
        assert!(!plan.notes.iter().any(|note| note.contains("starts again")), "{:?}", plan.notes);
        let error = pretrain(&plan, &Stop::default(), &mut Silent).unwrap_err().to_string();
        for part in ["its checkpoints are gone", "summary.json", "--out", "--force"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        assert!(files.iter().map(|file| fs::read(file).unwrap()).eq(before.clone()));
        if !is_last {
            fs::remove_dir_all(run.join("checkpoints")).unwrap();
        }
    }
}

#[test]
fn a_note_on_a_start_from_the_first_step_says_whether_a_checkpoint_was_saved() {
    let stopped = Stopped::new();
    let run = stopped.run();
    let starts_again = |reason: &str| {
        let plan = stopped.resumed(false).unwrap();
        assert!(plan.resume_from.is_none() && plan.result().unwrap().is_none());
        let expected = format!("{reason}: the run starts again");
        assert!(plan.notes.contains(&expected), "{:?}", plan.notes);
    };
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    starts_again("the checkpoints that were saved are gone");
    fs::remove_file(run.join(folder::SUMMARY)).unwrap();
    starts_again("the checkpoints that were saved are gone");
    let events = run.join("events.jsonl");
    let text = fs::read_to_string(&events).unwrap();
    let lines = text.split_inclusive('\n').filter(|line| !line.contains("\"checkpoint\""));
    fs::write(&events, lines.collect::<String>()).unwrap();
    starts_again("no checkpoint was saved yet");
}

#[test]
fn a_run_with_a_probe_does_not_go_on_with_another_number_of_classes() {
    let stopped = Stopped::new();
    for split in ["train", "val"] {
        let split = stopped.images().join(split);
        fs::create_dir(split.join("newt")).unwrap();
        copy(&split.join("dog/00.png"), &split.join("newt/00.png"));
    }
    let plan = stopped.resumed(true).unwrap();
    let error = pretrain(&plan, &Stop::default(), &mut Silent).unwrap_err();
    assert!(matches!(error, TrainError::OtherClasses { was: 2, now: 3, .. }), "{error}");
    let error = error.to_string();
    for part in ["step-00000002", "learns 2 classes", "now have 3", "images of 2 classes"] {
        assert!(error.contains(part), "{error}");
    }
    // What the error says of the probe holds.
    let without = format!("{}\nprobe = {{ enabled = false }}", stopped.text());
    let environment = Environment { allow_changed_data: true, ..environment(Device::flex()) };
    let plan = Plan::resume(recipe(&without), &stopped.run(), "latest", environment);
    assert!(matches!(plan.err(), Some(TrainError::OtherRecipe { .. })));
    // And so does its advice.
    for split in ["train", "val"] {
        fs::remove_dir_all(stopped.images().join(split).join("newt")).unwrap();
    }
    let plan = stopped.resumed(false).unwrap();
    assert_eq!(pretrain(&plan, &Stop::default(), &mut Silent).unwrap().steps, 12);
}

/// Asks for a stop at the event with this number, whatever it tells.
struct StopAt(usize, Stop);

impl Observer for StopAt {
    fn event(&mut self, _: &Event) {
        if self.0 == 0 {
            self.1.request();
        }
        self.0 = self.0.wrapping_sub(1);
    }
}

#[test]
fn a_stop_at_any_moment_saves_the_step_with_which_the_run_ends() {
    let images = Stopped::new();
    let mut steps = Vec::new();
    for event in 0..22 {
        let run = images.root.path().join(format!("stopped-{event}"));
        let plan = Plan::new(recipe(&images.text()), &run, environment(Device::flex())).unwrap();
        let stop = Stop::default();
        let summary = pretrain(&plan, &stop, &mut StopAt(event, stop.clone())).unwrap();
        let latest = Store::of(&run).pointer("latest").unwrap().unwrap();
        assert_eq!(latest, Store::name(summary.steps), "stopped at event {event}");
        // After the last step, the evaluation can still be cut short.
        let saved = Store::of(&run).load("latest").unwrap().unwrap().position;
        let expected = summary.steps < 12 || saved.unevaluated;
        assert_eq!(summary.interrupted, expected, "stopped at event {event}");
        steps.push(summary.steps);
    }
    // The stops were spread over the whole run.
    assert!(steps.is_sorted() && steps[0] == 1 && steps[21] == 12, "{steps:?}");
}
