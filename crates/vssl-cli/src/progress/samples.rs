//! Events of an invented run, for the tests of the observers.

use vssl::run::events::{Event, Summary};

pub fn started() -> Event {
    Event::Started {
        method: "vssl".into(),
        run: "runs/a".into(),
        parameters: 1_234_567,
        train_images: 10_000,
        validation_images: Some(2000),
        classes: 10,
        steps: 780,
        first_step: 0,
        notes: vec!["the loader holds at most 12 MiB".into()],
    }
}

pub fn step(step: u64) -> Event {
    Event::Step {
        step,
        epoch: step / 78,
        loss: -3.214_159,
        parts: vec![("kl".into(), -1.25), ("nll".into(), 0.000_012)],
        lr: 0.003,
        gradient_norm: Some(1.5),
        images_per_s: 812.4,
        loader_wait: 0.031,
        probe_top1: Some(61.23),
    }
}

pub fn evaluated(step: u64) -> Event {
    Event::Evaluated { step, epoch: 1, knn_top1: Some(72.14), probe_top1: Some(70.0) }
}

pub fn summary() -> Summary {
    Summary {
        method: "vssl".into(),
        seed: 0,
        steps: 780,
        interrupted: false,
        seconds: 252.0,
        images_per_s: 812.4,
        peak_rss_mib: Some(412),
        machine: None,
        commit: None,
        version: "0.1.0".into(),
        replaced_images: 0,
        figures: [
            ("knn_top1", 81.234),
            ("linear_top1", 84.1),
            ("untrained_knn_top1", 70.11),
            ("untrained_linear_top1", 75.0),
            ("pixels_knn_top1", 78.9),
        ]
        .map(|(name, value)| (name.to_owned(), Some(value)))
        .into(),
        online_top1: Some(80.0),
        images: None,
        init: None,
        teacher: None,
        notes: Vec::new(),
        run: "runs/a".into(),
    }
}
