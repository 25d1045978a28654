//! The same training through the kernels of this machine, the portable ones, and Burn's own
//! operations.

use serde_json::Value;

use super::{done, vssl};

/// Largest relative difference of the loss at each step. It grows with each update, because Adam
/// takes whole steps along gradients that are rounding alone (biases before a norm); measured were
/// 5e-7, 1e-4, 1e-4, 2e-3, 1e-2 and 7e-3 with AVX2 and the portable kernels.
const TOLERANCES: [f64; 6] = [1e-5, 2e-3, 1e-2, 0.05, 0.1, 0.1];

fn losses(kernels: Option<&str>) -> Vec<f64> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = vssl(&["pretrain", "recipes/quickstart.toml", "--json", "--out"]);
    command.arg(folder.path().join("run"));
    for text in [
        "data.limit_train=64",
        "data.limit_validation=16",
        "backbone.width=8",
        "backbone.stem=\"cifar\"",
        "vssl.hidden=32",
        "vssl.dim=16",
        "optimizer.lr=1e-3",
        "train.batch=16",
        "train.max_steps=6",
        "log.every_steps=1",
        "evaluation.enabled=false",
    ] {
        command.args(["--set", text]);
    }
    if let Some(kernels) = kernels {
        command.env("VSSL_KERNELS", kernels);
    }
    let finished = done(command.output().unwrap());
    let events = finished.succeeded().lines().map(serde_json::from_str::<Value>);
    let steps = events.map(Result::unwrap).filter(|event| event["event"] == "step");
    steps.map(|step| step["loss"].as_f64().unwrap()).collect()
}

#[test]
fn kernels_and_reference_train_alike() {
    let reference = losses(Some("reference"));
    assert_eq!(reference.len(), 6);
    for kernels in [None, Some("portable")] {
        let own = losses(kernels);
        println!("{kernels:?}: {own:?}, reference {reference:?}");
        for (step, tolerance) in TOLERANCES.into_iter().enumerate() {
            let (a, b) = (own[step], reference[step]);
            let difference = (a - b).abs() / b.abs();
            assert!(difference < tolerance, "{kernels:?}, step {step}: {a}, not {b}");
        }
    }
}
