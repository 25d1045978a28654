//! Linear evaluation and fine-tuning on the images that ship, with a small untrained encoder.

use std::{fs, path::Path};

use burn::{module::Module, tensor::Device};
use serde_json::Value;
use tempfile::TempDir;
use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig},
    encoder::{Encoder, Input},
    layers::Init,
    recipe::settings,
    run::{
        events::{Event, Observer},
        stop::Stop,
    },
    supervised::{
        FinetuneSettings, Job, LinearSettings, OutputOptions, Summary, cached, finetune, linear,
    },
    train::TrainError,
};
use vssl_data::{
    Splits,
    dataset::{self, DataConfig, Format},
};

const CHANCE: f64 = 10.0;

pub(super) fn images() -> Splits {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let config = DataConfig {
        format: Format::Idx,
        path: root.join("data/fashion-mnist-tenth"),
        limit_train: Some(400),
        limit_validation: Some(100),
        ..DataConfig::default()
    };
    dataset::open(&config, None).unwrap()
}

pub(super) fn encoder() -> Encoder {
    let device = Device::flex();
    let config: BackboneConfig = ResnetConfig { width: 8, ..Default::default() }.into();
    Encoder {
        backbone: Backbone::new(&config, &Init::new(&device, 0)).no_grad().into(),
        config,
        input: Input::new(28, Format::Idx, Format::Idx.normalisation()),
        path: "encoder".into(),
        recipe: None,
        network: None,
        step: None,
        loss_head: None,
        pooling: None,
        device,
    }
}

pub(super) fn output(folder: &Path, resume: bool) -> OutputOptions {
    OutputOptions {
        folder: folder.to_owned(),
        resume,
        force: false,
        allow_changed_data: false,
        commit: None,
    }
}

pub(super) fn linear_settings(overrides: &[&str]) -> LinearSettings {
    let mut all: Vec<String> =
        ["train.epochs=2", "train.batch=50", "checkpoint.every_steps=1", "log.every_steps=1"]
            .map(str::to_owned)
            .into();
    all.extend(overrides.iter().map(|text| text.to_string()));
    settings("", "defaults", &all).unwrap()
}

pub(super) fn finetune_settings(overrides: &[&str]) -> FinetuneSettings {
    let mut all: Vec<String> =
        ["train.epochs=2", "train.batch=40", "labels=0.3", "mixup=0.2"].map(str::to_owned).into();
    all.extend(overrides.iter().map(|text| text.to_string()));
    settings("", "defaults", &all).unwrap()
}

/// Asks for a stop after a step, as a signal would.
pub(super) struct StopAfter(pub u64, pub Stop);

impl Observer for StopAfter {
    fn event(&mut self, event: &Event) {
        if let Event::Step { step, .. } = event
            && *step == self.0
        {
            self.1.request();
        }
    }
}

fn run_linear(folder: &Path, settings: &LinearSettings, resume: bool, last: u64) -> Summary {
    let (encoder, stop) = (encoder(), Stop::default());
    let job = Job::linear(&encoder, &images(), settings, output(folder, resume)).unwrap();
    linear(&job, &encoder, settings, &stop, &mut StopAfter(last, stop.clone())).unwrap()
}

pub(super) fn run_finetune(
    folder: &Path,
    settings: &FinetuneSettings,
    resume: bool,
    last: u64,
) -> Summary {
    let (encoder, stop) = (encoder(), Stop::default());
    let job = Job::finetune(&encoder, &images(), settings, output(folder, resume)).unwrap();
    finetune(&job, &encoder, settings, &stop, &mut StopAfter(last, stop.clone())).unwrap()
}

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn metrics(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Bytes of the tensors of the last checkpoint, by file.
fn tensors(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let name = fs::read_to_string(folder.join("checkpoints/latest")).unwrap();
    let checkpoint = folder.join("checkpoints").join(name.trim());
    let mut files: Vec<_> = fs::read_dir(checkpoint)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn each_of_several_rates_ends_as_it_would_alone() {
    let (together, alone) = (folder(), folder());
    let all = run_linear(together.path(), &linear_settings(&["rates=[0.1,3,30]"]), false, 0);
    for (index, rate) in ["0.1", "3", "30"].into_iter().enumerate() {
        let folder = alone.path().join(rate);
        let settings = linear_settings(&[&format!("rates=[{rate}]")]);
        let one = run_linear(&folder, &settings, false, 0);
        assert_eq!(one.heads[0], all.heads[index]);
        assert_eq!(tensors(&folder)[0].1, tensors(together.path())[index].1, "rate {rate}");
    }
    assert!(all.best_top1 >= all.top1 && all.best_epoch.is_some());
}

#[test]
fn a_linear_evaluation_beats_chance_clearly() {
    let folder = folder();
    let settings =
        linear_settings(&["train.epochs=25", "rates=[1, 10]", "checkpoint.every_steps=100"]);
    let summary = run_linear(folder.path(), &settings, false, 0);
    assert!(summary.top1.unwrap() > 3.0 * CHANCE, "{summary:?}");
}

#[test]
fn a_linear_evaluation_that_is_stopped_and_resumed_equals_one_that_is_not() {
    let (whole, parts) = (folder(), folder());
    let settings = linear_settings(&["rates=[0.3,3]"]);
    let expected = run_linear(whole.path(), &settings, false, 0);
    // In the middle of an epoch, at its end, and in the last one.
    assert!(run_linear(parts.path(), &settings, false, 3).interrupted);
    assert!(run_linear(parts.path(), &settings, true, 8).interrupted);
    assert!(run_linear(parts.path(), &settings, true, 13).interrupted);
    let got = run_linear(parts.path(), &settings, true, 0);
    assert_eq!((got.heads, got.top1, got.top5), (expected.heads, expected.top1, expected.top5));
    assert_eq!(metrics(parts.path()), metrics(whole.path()));
    assert_eq!(tensors(parts.path()), tensors(whole.path()));
}

#[test]
fn fine_tuning_that_is_stopped_and_resumed_equals_one_that_is_not() {
    let (whole, parts) = (folder(), folder());
    for extra in [
        &["layer_decay=0.7", "log.every_steps=1"][..],
        &["optimizer.name=adamw", "optimizer.lr=1e-3", "log.every_steps=1"],
    ] {
        let name = extra.len().to_string();
        let (whole, parts) = (whole.path().join(&name), parts.path().join(&name));
        let settings = finetune_settings(extra);
        let expected = run_finetune(&whole, &settings, false, 0);
        assert_eq!(expected.train_images, 120);
        assert!(run_finetune(&parts, &settings, false, 2).interrupted);
        let got = run_finetune(&parts, &settings, true, 0);
        assert_eq!((got.heads, got.top1), (expected.heads, expected.top1));
        assert_eq!(metrics(&parts), metrics(&whole));
        assert_eq!(tensors(&parts), tensors(&whole));
    }
}

#[test]
fn the_images_that_keep_their_labels_are_recorded_and_balanced() {
    let root = folder();
    run_finetune(root.path(), &finetune_settings(&["train.epochs=1"]), false, 0);
    let text = fs::read_to_string(root.path().join("labels.json")).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    let images = images();
    let labels = images.train.labels().unwrap();
    let mut counts = [0; 10];
    for index in record["images"].as_array().unwrap() {
        counts[labels[index.as_u64().unwrap() as usize] as usize] += 1;
    }
    assert_eq!(counts, [12; 10]);
    assert_eq!((&record["share"], &record["seed"]), (&0.3.into(), &0.into()));
}

#[test]
fn fine_tuning_learns_from_labels() {
    let root = folder();
    let settings = finetune_settings(&[
        "train.epochs=8",
        "labels=1",
        "mixup=0",
        "optimizer.name=adamw",
        "optimizer.lr=1e-2",
        "train.evaluate_every=8",
    ]);
    let summary = run_finetune(root.path(), &settings, false, 0);
    assert!(summary.top1.unwrap() > 3.0 * CHANCE, "{summary:?}");
    assert_eq!(summary.heads[0].best, summary.heads[0].last, "one evaluation, at the end");
}

#[test]
fn the_fast_answer_beats_chance_and_never_chooses_by_the_test_images() {
    let root = folder();
    let settings = linear_settings(&["cached.l2=[1,0.01]"]);
    let mut observer = StopAfter(0, Stop::default());
    let output = output(root.path(), false);
    let summary = cached(&encoder(), &images(), &settings, &output, &mut observer).unwrap();
    assert!(summary.top1.unwrap() > 3.0 * CHANCE, "{summary:?}");
    let best = summary.heads.iter().max_by(|a, b| {
        let held_out = |head: &vssl::supervised::HeadSummary| head.last.unwrap().train_top1;
        held_out(a).total_cmp(&held_out(b))
    });
    let chosen = summary.heads.iter().find(|head| Some(&head.name) == summary.chosen.as_ref());
    let held_out = chosen.unwrap().last.unwrap().train_top1;
    assert_eq!(held_out, best.unwrap().last.unwrap().train_top1);
}

pub(super) fn refused(result: Result<Job, TrainError>, parts: &[&str]) {
    let error = result.err().unwrap().to_string();
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in\n{error}");
    }
}

#[test]
fn what_cannot_be_trained_is_refused_before_the_first_step() {
    let (root, encoder, images) = (folder(), encoder(), images());
    let good = linear_settings(&[]);
    let at = |name: &str, resume| output(&root.path().join(name), resume);
    let large = linear_settings(&["train.batch=401"]);
    refused(
        Job::linear(&encoder, &images, &large, at("a", false)),
        &["train.batch = 401", "400 images"],
    );
    let unlabelled = Splits { validation: None, ..images.clone() };
    refused(
        Job::linear(&encoder, &unlabelled, &good, at("a", false)),
        &["no validation split", "expected"],
    );
    refused(Job::linear(&encoder, &images, &good, at("a", true)), &["nothing to go on with"]);
    let run = root.path().join("run");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("recipe.toml"), "").unwrap();
    let force = OutputOptions { force: true, ..at("run", false) };
    refused(Job::linear(&encoder, &images, &good, force), &["pretraining run", "--out"]);
}

#[test]
fn a_training_goes_on_only_as_it_began() {
    let root = folder();
    run_linear(root.path(), &linear_settings(&["rates=[0.3]"]), false, 2);
    let other = linear_settings(&["rates=[0.5]"]);
    let (encoder, images) = (encoder(), images());
    refused(
        Job::linear(&encoder, &images, &other, output(root.path(), true)),
        &["rates: [0.3] -> [0.5]"],
    );
    let mut changed = self::encoder();
    let init = Init::new(&changed.device, 1);
    changed.backbone = Backbone::new(&changed.config, &init).no_grad().into();
    let same = linear_settings(&["rates=[0.3]", "checkpoint.keep=3"]);
    refused(Job::linear(&changed, &images, &same, output(root.path(), true)), &["encoder: "]);
    Job::linear(&encoder, &images, &same, output(root.path(), true)).unwrap();
}

#[test]
fn a_training_without_latest_goes_on_and_a_finished_one_without_checkpoints_is_kept() {
    let root = folder();
    let settings = linear_settings(&["rates=[0.3]"]);
    run_linear(root.path(), &settings, false, 2);
    fs::remove_file(root.path().join("checkpoints/latest")).unwrap();
    let (encoder, images) = (encoder(), images());
    let job = Job::linear(&encoder, &images, &settings, output(root.path(), true)).unwrap();
    let note = job.notes.iter().find(|note| note.contains("latest is missing"));
    assert!(note.unwrap().contains("goes on from step-"), "{:?}", job.notes);
    assert!(!run_linear(root.path(), &settings, true, 0).interrupted);
    fs::remove_dir_all(root.path().join("checkpoints")).unwrap();
    refused(
        Job::linear(&encoder, &images, &settings, output(root.path(), true)),
        &["its checkpoints are gone", "summary.json", "--out", "--force"],
    );
    fs::remove_file(root.path().join("summary.json")).unwrap();
    let job = Job::linear(&encoder, &images, &settings, output(root.path(), true)).unwrap();
    assert!(job.notes.iter().any(|note| note.contains("starts again")), "{:?}", job.notes);
}

#[test]
fn rates_do_not_fall_before_an_epoch_is_over_and_never_twice_at_once() {
    let milestones = |epochs: u64| {
        let settings = linear_settings(&[&format!("train.epochs={epochs}")]);
        let schedule = serde_json::to_value(settings.schedule()).unwrap();
        let milestones = schedule["milestones"].as_array().unwrap().clone();
        milestones.into_iter().map(|epoch| epoch.as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!([1, 2, 3, 4].map(milestones), [[1, 2], [1, 2], [1, 2], [2, 3]]);
    assert_eq!([5, 7, 100].map(milestones), [[3, 4], [4, 5], [60, 80]]);
    let settings = linear_settings(&["train.epochs=1"]);
    let last =
        vssl::schedule::Step { index: 9, steps_per_epoch: 10, total: 10, ..Default::default() };
    assert_eq!(settings.schedule().at(3.0, &last), 3.0, "an only epoch has the full rate");
}

#[test]
fn wrong_settings_are_named_with_what_was_expected() {
    let wrong = |text: &str| {
        settings::<LinearSettings>("", "defaults", &[text.to_owned()]).unwrap_err().to_string()
    };
    for (text, parts) in [
        ("rates=[]", ["rates is an empty list", "at least one"]),
        ("rates=[1,-1]", ["rates is -1", "above 0"]),
        ("rates=[1,1]", ["1 twice", "each once"]),
        ("momentum=1", ["momentum is 1", "below 1"]),
        ("train.epoch=3", ["unknown key `epoch` in [train]", "did you mean `epochs`?"]),
        ("train.epochs=0", ["train.epochs is 0", "at least 1"]),
        ("view.flip=2", ["view.flip is 2", "from 0 to 1"]),
        ("lr=3", ["unknown key `lr`", "rates"]),
    ] {
        let error = wrong(text);
        assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
    }
    let wrong = |text: &str| {
        settings::<FinetuneSettings>("", "defaults", &[text.to_owned()]).unwrap_err().to_string()
    };
    for (text, parts) in [
        ("labels=0", ["labels is 0", "above 0"]),
        ("labels=1.5", ["labels is 1.5", "at most 1"]),
        ("layer_decay=0", ["layer_decay is 0", "above 0"]),
        ("warmup_epochs=31", ["warmup_epochs is 31", "at most train.epochs, 30"]),
        ("optimizer.lr=-1", ["optimizer.lr is -1", "not negative"]),
    ] {
        let error = wrong(text);
        assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
    }
}

#[test]
fn a_file_may_say_some_of_the_settings_and_the_milestones_follow_the_epochs() {
    let text = "rates = [1, 3]\n\n[train]\nepochs = 10\n";
    let read: LinearSettings = settings(text, "a.toml", &[]).unwrap();
    assert_eq!(
        (read.rates.as_slice(), read.train.epochs, read.train.batch),
        (&[1.0, 3.0][..], 10, 256)
    );
    let schedule = serde_json::to_value(read.schedule()).unwrap();
    assert_eq!(schedule["milestones"], serde_json::json!([6, 8]));
    let error = settings::<LinearSettings>("seed = 1\nrate = 2\n", "a.toml", &[]).unwrap_err();
    assert!(error.to_string().contains("a.toml:2: unknown key `rate`"), "{error}");
}
