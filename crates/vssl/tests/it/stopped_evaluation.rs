//! Runs that are asked to stop while they evaluate: they end at once, and the next start makes the evaluation.

use std::{fs, path::Path, thread, time::Duration};

use burn::tensor::Device;
use serde_json::Value;
use vssl::{
    collective::{Group, Threads},
    run::{
        checkpoint::Store,
        events::{Event, Observer, Summary},
        stop::Stop,
    },
    train::{Environment, Plan, pretrain},
};

use super::{
    embedded::pictures,
    training::{environment, recipe},
};

/// Tells whether an event is the moment of a stop.
type Meets = fn(&Event) -> bool;

/// Asks for a stop at the first event that `meets` it.
struct StopAt {
    stop: Stop,
    meets: Meets,
}

impl Observer for StopAt {
    fn event(&mut self, event: &Event) {
        if (self.meets)(event) {
            self.stop.request();
        }
    }
}

fn text(root: &Path) -> String {
    format!(
        r#"
        method = "simclr"
        data = {{ format = "folder", path = {:?} }}
        views = [{{ count = 2, size = 16 }}]
        backbone = {{ width = 2, stem = "cifar" }}
        schedule = {{ name = "warmup-cosine", warmup_epochs = 0 }}
        train = {{ epochs = 2, batch = 4 }}
        knn = {{ every_epochs = 1, k = 3 }}
        log = {{ every_steps = 1 }}
        "#,
        root.join("images")
    )
}

fn start(root: &Path, run: &Path, meets: Meets) -> Summary {
    let recipe = recipe(&text(root));
    let environment = environment(Device::flex());
    let plan = match run.exists() {
        true => Plan::resume(recipe, run, "latest", environment),
        false => Plan::new(recipe, run, environment),
    };
    let stop = Stop::default();
    pretrain(&plan.unwrap(), &stop, &mut StopAt { stop: stop.clone(), meets }).unwrap()
}

/// Lines of metrics without what depends on the clock.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("time");
        line
    };
    text.lines().map(line).collect()
}

#[test]
fn an_evaluation_that_was_cut_short_is_made_by_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        pictures(&root.path().join("images").join(split));
    }
    let whole = root.path().join("whole");
    let expected = start(root.path(), &whole, |_| false);
    assert!(!expected.interrupted && expected.figures["knn_top1"].is_some());
    let moments: [(&str, Meets, u64, bool); 3] = [
        ("epoch", |event| matches!(event, Event::Step { step: 4, .. }), 4, true),
        (
            "encoder",
            |event| matches!(event, Event::Phase { what } if what.contains("trained")),
            8,
            false,
        ),
        (
            "pixels",
            |event| matches!(event, Event::Phase { what } if what.contains("pixels")),
            8,
            false,
        ),
    ];
    for (name, meets, steps, unevaluated) in moments {
        let run = root.path().join(name);
        let stopped = start(root.path(), &run, meets);
        assert!(stopped.interrupted && stopped.steps == steps, "{name}: {stopped:?}");
        let saved = Store::of(&run).load("latest").unwrap().unwrap();
        assert_eq!(
            (saved.position.step, saved.position.unevaluated),
            (steps, unevaluated),
            "{name}"
        );
        let ended = start(root.path(), &run, |_| false);
        assert!(!ended.interrupted, "{name}");
        assert_eq!(ended.figures, expected.figures, "{name}");
        assert_eq!(ended.online_top1, expected.online_top1, "{name}");
        assert_eq!(metrics(&run), metrics(&whole), "{name}");
        let [got, wanted] =
            [&run, &whole].map(|run| Store::of(run).load("latest").unwrap().unwrap());
        assert_eq!(got.position.best, wanted.position.best, "{name}");
        for (kind, tensors) in &wanted.tensors {
            for (path, tensor) in tensors {
                assert_eq!(got.tensors[kind][path].as_bytes(), tensor.as_bytes(), "{name}: {path}");
            }
        }
    }
}

/// Counts checkpoints, keeps warnings, and asks for a stop at the first event that `meets` it.
struct Heard {
    stop: Stop,
    meets: Meets,
    checkpoints: Vec<u64>,
    warnings: Vec<String>,
}

impl Observer for Heard {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Checkpoint { step, .. } => self.checkpoints.push(*step),
            Event::Warning { message, .. } => self.warnings.push(message.clone()),
            _ => {}
        }
        if (self.meets)(event) {
            self.stop.request();
        }
    }
}

fn heard(text: &str, run: &Path, meets: Meets) -> (Summary, Heard) {
    let environment = environment(Device::flex());
    let plan = match run.exists() {
        true => Plan::resume(recipe(text), run, "latest", environment),
        false => Plan::new(recipe(text), run, environment),
    };
    let stop = Stop::default();
    let mut heard =
        Heard { stop: stop.clone(), meets, checkpoints: Vec::new(), warnings: Vec::new() };
    (pretrain(&plan.unwrap(), &stop, &mut heard).unwrap(), heard)
}

#[test]
fn an_evaluation_that_another_length_does_not_ask_for_is_not_owed() {
    let root = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        pictures(&root.path().join("images").join(split));
    }
    let run = root.path().join("run");
    let text = |steps: u64| {
        let text = text(root.path()).replace("every_epochs = 1", "every_epochs = 50");
        let length = format!("epochs = 20, max_steps = {steps}, batch");
        text.replace("epochs = 2, batch", &length) + "checkpoint.every_epochs = 100\n"
    };
    // The evaluation after the last step is due in the middle of an epoch.
    let at_the_end: Meets = |event| matches!(event, Event::Step { step: 3, .. });
    assert!(heard(&text(3), &run, at_the_end).0.interrupted);
    assert!(Store::of(&run).load("latest").unwrap().unwrap().position.unevaluated);
    let (ended, heard) = heard(&text(9), &run, |_| false);
    assert!(!ended.interrupted && ended.steps == 9, "{ended:?}");
    assert_eq!(heard.checkpoints, [3, 9]);
}

#[test]
fn a_stop_during_a_further_evaluation_of_a_finished_run_is_told() {
    let root = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        pictures(&root.path().join("images").join(split));
    }
    let (run, text) = (root.path().join("run"), text(root.path()));
    heard(&text, &run, |_| false);
    let before = fs::read(run.join("summary.json")).unwrap();
    let evaluates: Meets = |event| matches!(event, Event::Phase { .. });
    let (stopped, heard) = heard(&text, &run, evaluates);
    assert!(stopped.interrupted);
    let told = |message: &String| message.contains("the result of the earlier evaluation stays");
    assert!(heard.warnings.iter().any(told), "{:?}", heard.warnings);
    assert_eq!(fs::read(run.join("summary.json")).unwrap(), before);
}

#[test]
fn all_ranks_end_as_rank_0_does_in_the_last_evaluation() {
    let root = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        pictures(&root.path().join("images").join(split));
    }
    let (run, text) = (root.path().join("run"), text(root.path()));
    let train = |rank: Threads| {
        let group = Group::new(rank);
        let environment = Environment { group: group.clone(), ..environment(Device::flex()) };
        let plan = Plan::new(recipe(&text), &run, environment).unwrap();
        let (stop, meets): (Stop, Meets) =
            (Stop::default(), |event| matches!(event, Event::Phase { .. }));
        pretrain(&plan, &stop, &mut StopAt { stop: stop.clone(), meets }).unwrap()
    };
    let ranks = Threads::new(2, Duration::from_secs(60)).into_iter();
    let ended: Vec<Summary> = thread::scope(|scope| {
        let train = &train;
        let running: Vec<_> = ranks.map(|rank| scope.spawn(move || train(rank))).collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    assert!(ended.iter().all(|summary| summary.interrupted && summary.steps == 8), "{ended:?}");
}
