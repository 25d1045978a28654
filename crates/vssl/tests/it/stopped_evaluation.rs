//! Runs that are asked to stop while they evaluate: they end at once, and the next start makes the evaluation.

use std::{fs, path::Path};

use burn::tensor::Device;
use serde_json::Value;
use vssl::{
    run::{
        checkpoint::Store,
        events::{Event, Observer, Summary},
        stop::Stop,
    },
    train::{Plan, pretrain},
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
