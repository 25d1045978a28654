//! Rank 0 works alone for longer than ranks wait for each other: the others wait all the same.

use std::{path::Path, thread, time::Duration};

use burn::tensor::Device;
use vssl::{
    collective::{Group, Threads},
    run::{
        events::{Event, Observer, Summary},
        stop::Stop,
    },
    train::{Environment, Plan, TrainError, pretrain},
};

use super::training::{environment, recipe};

const LIMIT: Duration = Duration::from_secs(2);
const LONGER: Duration = Duration::from_secs(3);

/// Takes long over one kind of event, the first time, as a slow disk does.
struct Slow {
    at: fn(&Event) -> bool,
    is_done: bool,
}

impl Observer for Slow {
    fn event(&mut self, event: &Event) {
        if (self.at)(event) && !self.is_done {
            self.is_done = true;
            thread::sleep(LONGER);
        }
    }
}

fn train(run: &Path, group: Group, at: fn(&Event) -> bool) -> Result<Summary, TrainError> {
    let text = r#"
        method = "simclr"
        data = { format = "idx", path = "data/fashion-mnist-tenth", limit_train = 16, limit_validation = 8 }
        views = [{ count = 2, size = 8 }]
        backbone = { width = 2, stem = "cifar" }
        schedule = { name = "warmup-cosine", warmup_epochs = 0 }
        train = { epochs = 2, batch = 8 }
        knn = { every_epochs = 1, k = 2 }
        checkpoint = { every_epochs = 0, every_steps = 1, best = true }
        evaluation = { enabled = true, untrained = false, pixels = false }
    "#;
    let environment = Environment { group: group.clone(), ..environment(Device::flex()) };
    let result = Plan::new(recipe(text), run, environment)
        .and_then(|plan| pretrain(&plan, &Stop::default(), &mut Slow { at, is_done: false }));
    if result.is_err() {
        group.abort();
    }
    result
}

fn all_finish(at: fn(&Event) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let ranks = Threads::new(2, LIMIT).into_iter();
    let results: Vec<_> = thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> =
            ranks.map(|rank| scope.spawn(move || train(run, Group::new(rank), at))).collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    for result in results {
        assert_eq!(result.unwrap().steps, 4);
    }
}

#[test]
fn ranks_wait_for_the_first_words_of_rank_0() {
    all_finish(|event| matches!(event, Event::Started { .. }));
}

#[test]
fn ranks_wait_for_a_checkpoint() {
    all_finish(|event| matches!(event, Event::Checkpoint { .. }));
}

#[test]
fn ranks_wait_for_an_evaluation_and_for_the_end() {
    all_finish(|event| matches!(event, Event::Evaluated { .. }));
    all_finish(|event| matches!(event, Event::Phase { .. }));
}
