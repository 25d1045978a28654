//! Trainings on labels whose images or checkpoints are not what they were, or cannot be read.

use std::{fs, path::Path};

use serde_json::Value;
use vssl::{
    run::{
        checkpoint::Store,
        events::{Event, Observer},
        stop::Stop,
    },
    supervised::{Job, OutputOptions, cached, finetune, linear},
    train::TrainError,
};
use vssl_data::{
    Splits,
    dataset::{self, DataConfig},
};

use super::{
    embedded::pictures,
    supervised::{
        StopAfter, encoder, finetune_settings, folder, images, linear_settings, output, refused,
        run_finetune,
    },
};

/// Keeps all events as JSON.
#[derive(Default)]
struct Events(Vec<Value>);

impl Observer for Events {
    fn event(&mut self, event: &Event) {
        self.0.push(serde_json::to_value(event).unwrap());
    }
}

/// Pictures in folders, `bad` of them for training not readable.
fn pictures_with(root: &Path, bad: usize) -> Splits {
    for split in ["train", "val"] {
        pictures(&root.join(split));
    }
    for at in 0..bad {
        fs::write(root.join(format!("train/dog/bad{at}.png")), "no picture").unwrap();
    }
    let config = DataConfig { path: root.to_owned(), ..DataConfig::default() };
    dataset::open(&config, None).unwrap()
}

#[test]
fn a_training_goes_on_with_its_own_images_only_unless_others_are_allowed() {
    let root = folder();
    let (images, run) = (root.path().join("images"), root.path().join("run"));
    let settings = linear_settings(&["train.batch=4", "rates=[0.3]"]);
    let (encoder, stop) = (encoder(), Stop::default());
    let job = |allow_changed_data: bool, resume: bool, splits: &Splits| {
        let output = OutputOptions { allow_changed_data, ..output(&run, resume) };
        Job::linear(&encoder, splits, &settings, output)
    };
    let splits = pictures_with(&images, 0);
    let first = job(false, false, &splits).unwrap();
    linear(&first, &encoder, &settings, &stop, &mut StopAfter(2, stop.clone())).unwrap();
    job(false, true, &splits).unwrap();
    fs::copy(images.join("train/dog/00.png"), images.join("train/dog/zz.png")).unwrap();
    let more = pictures_with(&images, 0);
    refused(job(false, true, &more), &["training images: 19 then, 20 now", "--allow-changed-data"]);
    let changed = job(true, true, &more).unwrap();
    let told = |part: &str| changed.notes.iter().any(|note| note.contains(part));
    assert!(told("5 steps instead of 4") && told("10 instead of 8"), "{:?}", changed.notes);
    let stop = Stop::default();
    linear(&changed, &encoder, &settings, &stop, &mut StopAfter(4, stop.clone())).unwrap();
    let last = job(false, true, &more).unwrap();
    assert!(!last.notes.iter().any(|note| note.contains("20 now")), "{:?}", last.notes);
    let stop = Stop::default();
    let summary = linear(&last, &encoder, &settings, &stop, &mut Events::default()).unwrap();
    assert_eq!(summary.steps, 10);
    let noted = |note: &&String| note.contains("19 then, 20 now (--allow-changed-data)");
    assert_eq!(summary.notes.iter().filter(noted).count(), 1, "{:?}", summary.notes);
    let history = fs::read_to_string(run.join("events.jsonl")).unwrap();
    let is_note = |line: &&str| line.contains("\"event\":\"note\"") && line.contains("20 now");
    assert_eq!(history.lines().filter(is_note).count(), 1, "{history}");
}

#[test]
fn figures_of_an_epoch_are_over_the_steps_that_it_had() {
    let root = folder();
    let (images, run) = (root.path().join("images"), root.path().join("run"));
    let settings = linear_settings(&["train.batch=4", "rates=[0.3]"]);
    let (encoder, stop) = (encoder(), Stop::default());
    let splits = pictures_with(&images, 0);
    let first = Job::linear(&encoder, &splits, &settings, output(&run, false)).unwrap();
    linear(&first, &encoder, &settings, &stop, &mut StopAfter(3, stop.clone())).unwrap();
    // Three of the four steps of its first epoch are done. Of fewer images, an epoch has two.
    for at in (0..12).filter(|at| at % 3 > 0) {
        fs::remove_file(images.join(format!("train/cät, \"wild\"/{at:02}.png"))).unwrap();
    }
    let config = DataConfig { path: images, ..DataConfig::default() };
    let fewer = dataset::open(&config, None).unwrap();
    let output = OutputOptions { allow_changed_data: true, ..output(&run, true) };
    let second = Job::linear(&encoder, &fewer, &settings, output).unwrap();
    linear(&second, &encoder, &settings, &Stop::default(), &mut Events::default()).unwrap();
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let losses: Vec<f64> = lines.iter().filter_map(|line| line["loss"].as_f64()).collect();
    let epoch = &lines.iter().find(|line| line["kind"] == "evaluation").unwrap()["heads"][0];
    assert_eq!((losses.len(), &epoch["epoch"]), (4, &2.into()));
    let loss = epoch["train_loss"].as_f64().unwrap();
    assert!((loss - losses.iter().sum::<f64>() / 4.0).abs() < 1e-9, "{epoch} {losses:?}");
    // Sixteen images were looked at.
    assert_eq!((epoch["train_top1"].as_f64().unwrap() / 6.25).fract(), 0.0, "{epoch}");
}

#[test]
fn replaced_images_are_told_once_an_epoch_and_gradients_that_nobody_measures_not_at_all() {
    let root = folder();
    let splits = pictures_with(&root.path().join("images"), 5);
    let settings = linear_settings(&["train.batch=4", "rates=[0.3]", "data.on_bad_image=skip"]);
    let (encoder, run) = (encoder(), root.path().join("run"));
    let job = Job::linear(&encoder, &splits, &settings, output(&run, false)).unwrap();
    let mut events = Events::default();
    let summary = linear(&job, &encoder, &settings, &Stop::default(), &mut events).unwrap();
    assert!(summary.replaced_images > 5, "{summary:?}");
    let of = |name: &str| events.0.iter().filter(|event| event["event"] == name).count();
    assert_eq!(of("warning"), 2, "one an epoch");
    assert_eq!(of("step"), 12);
    assert!(events.0.iter().all(|event| event.get("gradient_norm").is_none()));
    let history = fs::read_to_string(run.join("events.jsonl")).unwrap();
    assert!(history.matches("\"warning\"").count() > 2, "all of them are in the folder");
}

#[test]
fn a_checkpoint_of_another_network_is_said_to_be_that() {
    let root = folder();
    let settings = finetune_settings(&["train.epochs=1"]);
    run_finetune(root.path(), &settings, false, 1);
    let store = Store::of(root.path());
    let mut checkpoint = store.load("latest").unwrap().unwrap();
    checkpoint.tensors.get_mut("network").unwrap().remove("head.bias");
    store.save(&checkpoint, false, 1).unwrap();
    let (encoder, stop) = (encoder(), Stop::default());
    let job = Job::finetune(&encoder, &images(), &settings, output(root.path(), true)).unwrap();
    let error = finetune(&job, &encoder, &settings, &stop, &mut Events::default()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("head.bias") && error.contains("another method"), "{error}");
    assert!(!error.contains("probe"), "{error}");
}

/// Replaces all pictures in `folder` by files that are no pictures.
fn spoil(folder: &Path) {
    for file in fs::read_dir(folder).unwrap() {
        fs::write(file.unwrap().path(), "no picture").unwrap();
    }
}

#[test]
fn a_training_that_goes_on_still_knows_what_could_not_be_read() {
    let root = folder();
    let images = root.path().join("images");
    let splits = pictures_with(&images, 1);
    spoil(&images.join("train/dog"));
    spoil(&images.join("val/dog"));
    // An epoch has all 20 images.
    let settings = ["train.batch=5", "train.epochs=1", "rates=[0.3]", "data.on_bad_image=skip"];
    let (settings, encoder) = (linear_settings(&settings), encoder());
    let trained = |run: &Path, resume: bool, last: u64| {
        let stop = Stop::default();
        let job = Job::linear(&encoder, &splits, &settings, output(run, resume)).unwrap();
        linear(&job, &encoder, &settings, &stop, &mut StopAfter(last, stop.clone())).unwrap()
    };
    let run = root.path().join("run");
    assert_eq!(trained(&run, false, 2).steps, 2);
    let last = trained(&run, true, 0);
    for part in ["no training image that can be read (dog; 8", "no validation image that can be"] {
        assert!(last.notes.iter().any(|note| note.contains(part)), "{part}: {:?}", last.notes);
    }
    // As if the process had been killed before it could write the result.
    fs::remove_file(run.join("summary.json")).unwrap();
    let again = trained(&run, true, 0);
    assert_eq!(again.validation_images, last.validation_images);
    assert!(again.validation_images < splits.validation.as_ref().unwrap().len());
    assert!(last.notes.iter().all(|note| again.notes.contains(note)), "{:?}", again.notes);
}

#[test]
fn classes_that_have_nothing_in_common_are_refused_before_the_fit() {
    let root = folder();
    let images = root.path().join("images");
    let splits = pictures_with(&images, 0);
    spoil(&images.join("train/cät, \"wild\""));
    spoil(&images.join("val/dog"));
    let output = output(&root.path().join("run"), false);
    let settings = linear_settings(&["data.on_bad_image=skip"]);
    let mut events = Events::default();
    let error = cached(&encoder(), &splits, &settings, &output, &mut events).unwrap_err();
    assert!(matches!(error, TrainError::Classes(_)), "{error}");
    let phases: Vec<&Value> = events.0.iter().map(|event| &event["what"]).collect();
    assert!(phases.contains(&&"features of the validation images".into()), "{phases:?}");
    assert!(!phases.contains(&&"logistic regression".into()), "{phases:?}");
}

#[test]
fn images_that_cannot_be_read_are_no_wrong_setting() {
    let root = folder();
    let splits = pictures_with(&root.path().join("images"), 1);
    let output = output(&root.path().join("run"), false);
    let settings = linear_settings(&[]);
    let error = cached(&encoder(), &splits, &settings, &output, &mut Events::default());
    let error = error.unwrap_err();
    assert!(matches!(error, TrainError::Encoder(_)) && !error.is_usage(), "{error}");
    assert!(error.to_string().contains("bad0.png"), "{error}");
}
