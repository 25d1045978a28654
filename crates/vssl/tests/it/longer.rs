//! Trainings that go on with another number of epochs.

use std::{fs, path::Path};

use burn::tensor::Device;
use tempfile::TempDir;
use vssl::{
    run::{
        checkpoint::{Checkpoint, Store},
        events::{Event, Observer, Summary},
        folder,
        stop::Stop,
    },
    supervised::{Job, linear},
    train::{Plan, TrainError, pretrain},
};

use super::{
    embedded::pictures,
    supervised::{encoder, images, linear_settings, output},
    training::{Silent, environment, recipe},
};

/// Images in a folder, for runs with a queue, a teacher and a probe. With a constant rate and a constant
/// momentum nothing depends on the length of a run but its end.
struct Trainings(TempDir);

impl Trainings {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for split in ["train", "val"] {
            pictures(&folder.path().join("images").join(split));
        }
        Self(folder)
    }

    fn text(&self, epochs: u64, schedule: &str) -> String {
        format!(
            r#"
            method = "mocov2plus"
            mocov2plus = {{ queue = 16, projector_hidden = 8, dim = 4, momentum = {{ base = 0.9, last = 0.9 }} }}
            data = {{ format = "folder", path = {:?} }}
            views = [{{ count = 2, size = 16 }}]
            backbone = {{ width = 2, stem = "cifar" }}
            schedule = {schedule}
            train = {{ epochs = {epochs}, batch = 4 }}
            log = {{ every_steps = 1 }}
            knn = {{ every_epochs = 1, k = 3 }}
            evaluation = {{ evaluators = ["knn"], untrained = false, pixels = false }}
            "#,
            self.0.path().join("images")
        )
    }

    fn begun(&self, name: &str, text: &str) -> Summary {
        let plan = Plan::new(recipe(text), &self.run(name), environment(Device::flex())).unwrap();
        pretrain(&plan, &Stop::default(), &mut Silent).unwrap()
    }

    fn resumed(&self, name: &str, text: &str) -> Result<Plan, TrainError> {
        Plan::resume(recipe(text), &self.run(name), "latest", environment(Device::flex()))
    }

    fn run(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

const CONSTANT: &str = r#"{ name = "constant" }"#;
const COSINE: &str = r#"{ name = "warmup-cosine", warmup_epochs = 0 }"#;

fn last(run: &Path) -> Checkpoint {
    Store::of(run).load("latest").unwrap().unwrap()
}

fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("time");
        line
    };
    text.lines().map(line).collect()
}

fn on_length(notes: &[String]) -> Vec<String> {
    notes.iter().filter(|note| note.contains("train.epochs")).cloned().collect()
}

/// Asks for a stop at once, which the loop sees after the next step.
struct StopAtOnce(Stop);

impl Observer for StopAtOnce {
    fn event(&mut self, event: &Event) {
        if let Event::Step { .. } = event {
            self.0.request();
        }
    }
}

#[test]
fn a_finished_run_that_goes_on_keeps_optimiser_memory_probe_and_order_of_the_images() {
    let trainings = Trainings::new();
    trainings.begun("long", &trainings.text(5, CONSTANT));
    trainings.begun("run", &trainings.text(3, CONSTANT));
    let plan = trainings.resumed("run", &trainings.text(5, CONSTANT)).unwrap();
    assert!(plan.result().unwrap().is_none());
    pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    let [got, expected] = ["run", "long"].map(|name| last(&trainings.run(name)));
    assert_eq!((got.position.step, expected.position.step), (20, 20));
    assert!(got.tensors.len() == 4 && got.tensors == expected.tensors, "a tensor differs");
    assert_eq!(metrics(&trainings.run("run")), metrics(&trainings.run("long")));
}

#[test]
fn both_lengths_can_be_read_afterwards_and_the_result_is_the_new_one() {
    let trainings = Trainings::new();
    let run = trainings.run("run");
    let first = trainings.begun("run", &trainings.text(3, COSINE));
    let (old, summary) = (folder::recipe_of(&run).unwrap(), fs::read(run.join("summary.json")));
    let plan = trainings.resumed("run", &trainings.text(6, COSINE)).unwrap();
    let note = on_length(&plan.notes);
    for part in ["since step 12", "epoch 4", "which was 0 by the earlier", "24 instead of 12"] {
        assert!(note[0].contains(part), "{part:?} is not in {note:?}");
    }
    // It is stopped, and stopped again by a plain resume: the note lasts.
    let stop = Stop::default();
    let stopped = pretrain(&plan, &stop, &mut StopAtOnce(stop.clone())).unwrap();
    assert!(stopped.interrupted && on_length(&stopped.notes) == note);
    let now = folder::recipe_of(&run).unwrap();
    assert!(now.contains("epochs = 6") && old.contains("epochs = 3"));
    assert_eq!(fs::read_to_string(run.join("recipe-step-00000012.toml")).unwrap(), old);
    assert_eq!(fs::read(run.join("summary-step-00000012.json")).unwrap(), summary.unwrap());
    let end = trainings.resumed("run", &now).unwrap();
    let end = pretrain(&end, &Stop::default(), &mut Silent).unwrap();
    assert_eq!((end.steps, end.interrupted, on_length(&end.notes)), (24, false, note.clone()));
    assert!(end.figure("knn_top1").is_some() && first.figure("knn_top1").is_some());
    let stored: Summary = folder::summary_of(&run).unwrap().unwrap();
    assert_eq!((stored.steps, on_length(&stored.notes)), (24, note.clone()));
    assert!(trainings.resumed("run", &now).unwrap().result().unwrap().is_some());
    // Of another change, the note stands beside the first.
    let again = trainings.resumed("run", &trainings.text(7, COSINE)).unwrap();
    let again = pretrain(&again, &Stop::default(), &mut Silent).unwrap();
    assert_eq!((again.steps, on_length(&again.notes).len()), (28, 2));
    assert!(run.join("summary-step-00000024.json").is_file());
}

#[test]
fn a_shorter_length_ends_earlier_and_one_that_has_passed_is_refused() {
    let trainings = Trainings::new();
    let run = trainings.run("run");
    let plan = Plan::new(recipe(&trainings.text(6, COSINE)), &run, environment(Device::flex()));
    let stop = Stop::default();
    let stopped = pretrain(&plan.unwrap(), &stop, &mut StopAtOnce(stop.clone())).unwrap();
    assert_eq!(stopped.steps, 2);
    let shorter = trainings.resumed("run", &trainings.text(2, COSINE)).unwrap();
    let summary = pretrain(&shorter, &Stop::default(), &mut Silent).unwrap();
    assert_eq!((summary.steps, summary.interrupted), (8, false));
    assert!(on_length(&summary.notes)[0].contains("8 instead of 24"), "{:?}", summary.notes);
    let before = fs::read(run.join("recipe.toml")).unwrap();
    let error = trainings.resumed("run", &trainings.text(1, COSINE)).err().unwrap();
    assert!(error.is_usage());
    let error = error.to_string();
    for part in ["after step 4", "8 steps are done", "train.epochs = 2 or more", "--out"] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    assert_eq!(fs::read(run.join("recipe.toml")).unwrap(), before);
}

#[test]
fn other_settings_are_refused_beside_another_length() {
    let trainings = Trainings::new();
    trainings.begun("run", &trainings.text(1, COSINE));
    let other = trainings.text(2, COSINE).replace("queue = 16", "queue = 32");
    match trainings.resumed("run", &other).err() {
        Some(TrainError::OtherRecipe { differences, .. }) => {
            let keys: Vec<_> = differences.iter().map(|found| found.key.as_str()).collect();
            assert_eq!(keys, ["mocov2plus.queue"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_linear_evaluation_goes_on_with_more_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let (encoder, at) = (encoder(), folder.path().join("linear"));
    let train = |settings: &_, resume| {
        let job = Job::linear(&encoder, &images(), settings, output(&at, resume)).unwrap();
        (linear(&job, &encoder, settings, &Stop::default(), &mut Silent).unwrap(), job.notes)
    };
    let (first, _) = train(&linear_settings(&[]), false);
    assert_eq!(first.steps, 16);
    let longer = linear_settings(&["train.epochs=4"]);
    let (summary, notes) = train(&longer, true);
    assert_eq!((summary.steps, summary.interrupted), (32, false));
    let expected = "goes on in epoch 3 with the learning rate of `lr 0.1`";
    assert!(notes.iter().any(|note| note.contains(expected)), "{notes:?}");
    assert_eq!(on_length(&summary.notes).len(), 1);
    assert_eq!(summary.heads[0].last.unwrap().epoch, 4);
    let settings = fs::read_to_string(at.join("settings.toml")).unwrap();
    assert!(settings.contains("epochs = 4"), "{settings}");
    assert!(at.join("settings-step-00000016.toml").is_file());
    assert!(at.join("summary-step-00000016.json").is_file());
    let job = Job::linear(&encoder, &images(), &longer, output(&at, true)).unwrap();
    assert_eq!(job.result().unwrap(), Some(summary));
    let shorter = linear_settings(&["train.epochs=1"]);
    let error = Job::linear(&encoder, &images(), &shorter, output(&at, true)).err().unwrap();
    assert!(error.to_string().contains("32 steps are done"), "{error}");
}
