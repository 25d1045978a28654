//! A weight decay that changes over the run: `optimizer.weight_decay_end`.

use std::{collections::BTreeMap, fs, path::Path};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde_json::Value;
use tempfile::TempDir;
use vssl::{
    layers::{Init, Linear},
    optim::{Adam, Algorithm, Gradients, GroupRule, Optimizer, OptimizerConfig},
    run::{
        checkpoint::Store,
        events::{Event, Observer},
        stop::Stop,
    },
    schedule::Step,
    train::{Plan, pretrain},
};

use super::training::{Silent, environment, recipe, train};

/// From 0.04 to 0.4 in four steps, by hand: `0.4 − 0.18·(1 + cos(π·i/4))`.
fn by_hand() -> [f64; 4] {
    let root = 0.5f64.sqrt();
    [0.04, 0.4 - 0.18 * (1.0 + root), 0.22, 0.4 - 0.18 * (1.0 - root)]
}

#[derive(Module, Debug)]
struct Layer {
    fc: Linear,
}

fn values(x: Tensor<1>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap()
}

#[test]
fn each_step_shrinks_the_weights_by_its_own_decay_and_a_group_keeps_its_own() {
    let device = Device::flex().autodiff();
    let config = OptimizerConfig {
        algorithm: Algorithm::Adamw(Adam::default()),
        lr: 0.1,
        weight_decay: 0.04,
        weight_decay_end: Some(0.4),
        groups: vec![GroupRule {
            one_dimensional: Some(true),
            weight_decay: Some(0.5),
            ..GroupRule::default()
        }],
        ..OptimizerConfig::default()
    };
    let mut optimizer = Optimizer::new(config, 256).unwrap();
    let mut layer = Layer { fc: Linear::new(3, 2, &Init::new(&device, 1)) };
    let parts = |layer: &Layer| {
        let bias = layer.fc.bias.as_ref().unwrap().val();
        [values(layer.fc.weight.val().reshape([6])), values(bias)]
    };
    let before = parts(&layer);
    for index in 0..4 {
        // Without a gradient AdamW only decays: w becomes w·(1 − rate·decay).
        let zeros = |n: usize| Tensor::<1>::zeros([n], &Device::flex());
        let gradients = [("fc.weight", zeros(6)), ("fc.bias", zeros(2))];
        let gradients: BTreeMap<String, Tensor<1>> =
            gradients.map(|(path, zero)| (path.to_owned(), zero)).into();
        optimizer.decay_at(&Step { index, total: 4, ..Step::default() });
        layer = optimizer.step(layer, Gradients(gradients), |base| base).unwrap();
    }
    let factors = [
        by_hand().iter().map(|decay| 1.0 - 0.1 * decay).product::<f64>(),
        (1.0f64 - 0.1 * 0.5).powi(4),
    ];
    for ((was, now), factor) in before.iter().zip(&parts(&layer)).zip(factors) {
        for (was, now) in was.iter().zip(now) {
            let expected = f64::from(*was) * factor;
            assert!((f64::from(*now) - expected).abs() < 1e-6 * expected.abs().max(0.1));
        }
    }
}

fn text(more: &str) -> String {
    format!(
        r#"
        method = "simclr"
        simclr = {{ projector_hidden = 16, dim = 8 }}
        [data]
        format = "idx"
        path = "data/fashion-mnist-tenth"
        limit_train = 64
        limit_validation = 16
        [[views]]
        count = 2
        size = 28
        [backbone]
        architecture = "resnet18"
        width = 2
        [schedule]
        name = "constant"
        [evaluation]
        enabled = false
        [train]
        epochs = 2
        batch = 32
        [log]
        every_steps = 1
        [optimizer]
        name = "adamw"
        lr = 1e-3
        weight_decay = 0.04
        {more}
        "#
    )
}

fn decays(run: &Path) -> Vec<Option<f64>> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let steps = lines.filter(|line| line["kind"] == "step");
    steps.map(|line| line.get("weight_decay").and_then(Value::as_f64)).collect()
}

struct StopAtSecond(Stop);

impl Observer for StopAtSecond {
    fn event(&mut self, event: &Event) {
        if let Event::Step { step: 2, .. } = event {
            self.0.request();
        }
    }
}

#[test]
fn a_run_logs_its_weight_decay_and_goes_on_with_it_bit_for_bit() {
    let folder = TempDir::new().unwrap();
    let [constant, same, whole, parts] =
        ["constant", "same", "whole", "parts"].map(|name| folder.path().join(name));
    let tensors = |run: &Path| Store::of(run).load("latest").unwrap().unwrap().tensors;
    train(&constant, &text(""));
    assert_eq!(decays(&constant), [None; 4]);
    train(&same, &text("weight_decay_end = 0.04"));
    assert_eq!(tensors(&constant), tensors(&same));
    let text = text("weight_decay_end = 0.4");
    train(&whole, &text);
    for (found, expected) in decays(&whole).into_iter().zip(by_hand()) {
        assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?}, expected {expected}");
    }
    assert_ne!(tensors(&constant), tensors(&whole));
    let stop = Stop::default();
    let plan = Plan::new(recipe(&text), &parts, environment(Device::flex())).unwrap();
    assert!(pretrain(&plan, &stop, &mut StopAtSecond(stop.clone())).unwrap().interrupted);
    let again = Plan::resume(recipe(&text), &parts, "latest", environment(Device::flex()));
    pretrain(&again.unwrap(), &Stop::default(), &mut Silent).unwrap();
    assert_eq!(tensors(&whole), tensors(&parts));
    assert_eq!(decays(&whole), decays(&parts));
}
