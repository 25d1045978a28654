//! Encoders against the stored passes of `fixtures/backbone`: features, gradients and running
//! statistics, under weights made by the formulas of the fixtures' README.

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{DType, Tensor, TensorData},
};
use serde_json::Value;
use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig, ResnetDepth, Stem, VitConfig, VitSize},
    layers::{Init, Mode},
    optim::Gradients,
    tensors::state::{self, Tensors},
};

use crate::fixtures::{Case, device, for_each_case, list_of_numbers};

/// In double precision, where no ReLU flips by rounding: all that the cases expect, as they say.
#[test]
fn every_case_in_double_precision() {
    every_case(DType::F64);
}

/// In single precision, through the kernels of this machine.
///
/// Features, losses and running statistics are held to the tolerances of the cases. Gradients are
/// too, but not below [`FLIPPED`]: where an input of a ReLU is within rounding of zero, other
/// roundings than the reference's open or close it and a path of gradients with it (the weights of
/// formula `a` make every layer of rank two, with many inputs near zero). Each kernel is held to
/// its own reference far more tightly in its own crate.
#[test]
fn every_case_through_the_kernels() {
    every_case(DType::F32);
}

/// Relative L2 error of a gradient through one flipped ReLU; 6e-3 was the largest measured.
const FLIPPED: f64 = 0.03;

fn every_case(precision: DType) {
    for_each_case("backbone", |case| {
        let architecture = case.param("architecture").and_then(Value::as_str);
        match architecture.unwrap_or_else(|| panic!("{}: no architecture", case.name)) {
            "resnet18" => check(case, &resnet(case, ResnetDepth::Resnet18), precision),
            "resnet34" => check(case, &resnet(case, ResnetDepth::Resnet34), precision),
            "resnet50" => check(case, &resnet(case, ResnetDepth::Resnet50), precision),
            "vit_tiny" => check(case, &vit(case, VitSize::Tiny), precision),
            "vit_small" => check(case, &vit(case, VitSize::Small), precision),
            "vit_base" => check(case, &vit(case, VitSize::Base), precision),
            name => panic!("{}: unknown architecture {name}", case.name),
        }
    });
}

fn vit(case: &Case, size: VitSize) -> BackboneConfig {
    let patch = case.number("patch") as usize;
    let image_size = case.number("image_size") as usize;
    VitConfig { size, patch, image_size, ..VitConfig::default() }.into()
}

fn resnet(case: &Case, depth: ResnetDepth) -> BackboneConfig {
    let order = case.json["parameters_in_order"].as_array().expect("a list of parameters");
    let conv1 = order.iter().find(|entry| entry["name"] == "conv1.weight").expect("conv1");
    let conv1 = shape_of(conv1);
    let stem = case.param("stem").and_then(Value::as_str).expect("a stem").to_lowercase();
    let padding = stem.split("padding ").nth(1).and_then(|rest| rest.chars().next());
    let padding = padding.and_then(|digit| digit.to_digit(10)).unwrap_or(1) as usize;
    let stem = if conv1[2] == 7 { Stem::Imagenet } else { Stem::Cifar };
    let width = conv1[0];
    ResnetConfig { depth, width, stem, stem_padding: padding, ..Default::default() }.into()
}

/// Everything that the case expects, computed once and compared by name: an output that is not
/// known here fails.
fn check(case: &Case, config: &BackboneConfig, precision: DType) {
    check_network(case, Backbone::new(config, &Init::new(&device(), 0)), precision);
}

/// The same for a network that no recipe can name. Gradients of the second set are called `grad.w.<parameter>`.
pub fn check_network(case: &Case, network: Backbone, precision: DType) {
    let device = device();
    let network = loaded(case, network, precision);
    let x = case.tensor::<4>("x", &device).cast(precision);
    let single = |x: Tensor<2>| x.inner().cast(DType::F32);

    let eval_initial = single(network.forward(x.clone(), Mode::Eval));
    let features = network.forward(x.clone(), Mode::Train);
    let loss = features.clone().square().sum();
    let gradients = Gradients::collect(loss.backward(), &network).0;
    let gradient = |name: &str| -> Vec<f32> {
        let name = name.strip_prefix("w.").unwrap_or(name);
        values(gradients[name].clone())
    };
    let tensors = state::collect(&network);
    for output in case.names("out.") {
        let key = format!("out.{output}");
        match output.as_str() {
            "features_eval_initial" => case.check(&key, eval_initial.clone()),
            "features_train" => case.check(&key, single(features.clone())),
            "loss" => case.check_values(&key, &values(loss.clone())),
            "features_eval_after" => {
                case.check(&key, single(network.forward(x.clone(), Mode::Eval)))
            }
            statistic => {
                let name = running_statistic(case, statistic);
                let tensor = tensors[&name].clone().convert::<f32>();
                case.check_values(&key, tensor.as_slice::<f32>().unwrap());
            }
        }
    }
    let floor = if precision == DType::F32 { FLIPPED } else { 0.0 };
    for name in case.names("grad.") {
        case.check_gradient(&format!("grad.{name}"), &gradient(&name), floor);
    }
    for name in case.names("grad_sample.") {
        let values = gradient(&name);
        let sample = case.i64("grad_sample_index").iter().map(|&i| values[i as usize]);
        let sample: Vec<f32> = sample.collect();
        case.check_gradient(&format!("grad_sample.{name}"), &sample, floor);
    }
}

/// The network with the weights of the case, in one precision.
pub fn loaded<M: Module>(case: &Case, network: M, precision: DType) -> M {
    let weights = weights(case, state::collect(&network));
    state::restore(network, weights).unwrap().map(&mut Cast(precision))
}

/// Brings all numbers of a network to one precision; the kernels are for single precision.
pub struct Cast(pub DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|x| {
            let tracked = x.is_require_grad();
            Tensor::from_inner(x.inner().cast(self.0)).set_require_grad(tracked)
        })
    }
}

pub fn values(x: Tensor<1>) -> Vec<f32> {
    x.into_data().convert::<f32>().try_into_vec().unwrap()
}

/// `first_bn_running_mean` to the path that `params.first_bn` names.
fn running_statistic(case: &Case, output: &str) -> String {
    let (place, statistic) = output.split_once("_bn_").unwrap_or_else(|| {
        panic!("{}: unknown output {output}", case.name);
    });
    let norm = case.param(&format!("{place}_bn")).and_then(Value::as_str);
    format!("{}.{statistic}", norm.unwrap_or_else(|| panic!("{}: no {place}_bn", case.name)))
}

/// Weights by formula `a` or `h` of the README, in the place of the network's own.
fn weights(case: &Case, mut tensors: Tensors) -> Tensors {
    let order = case.json["parameters_in_order"].as_array().expect("a list of parameters");
    let statistics = tensors.keys().filter(|name| name.contains("running_")).count();
    assert_eq!(order.len() + statistics, tensors.len(), "{}: parameters", case.name);
    for entry in order {
        let name = entry["name"].as_str().expect("a name");
        let tensor = tensors.get_mut(&ours(name)).unwrap_or_else(|| panic!("no parameter {name}"));
        let shape = tensor.shape().as_slice().to_vec();
        assert_eq!(shape, shape_of(entry), "{}: {name}", case.name);
        *tensor = TensorData::new(weight(case, entry), shape);
    }
    tensors
}

/// One weight by the formula, which its stored numbers confirm.
pub fn weight(case: &Case, entry: &Value) -> Vec<f32> {
    let name = entry["name"].as_str().expect("a name");
    let values = generated(case, entry, &shape_of(entry));
    if let Some(spots) = case.json["weight_spot_check"]["values"].get(name) {
        let n = values.len();
        for (place, expected) in [0, 1, n / 2, n - 1].into_iter().zip(list_of_numbers(spots)) {
            let got = f64::from(values[place]);
            assert!((got - expected).abs() < 1e-6, "{name}[{place}]: {got}, not {expected}");
        }
    }
    values
}

/// The name in this program's networks of a parameter of DINOv2's own network.
pub fn ours(name: &str) -> String {
    name.replace("register_tokens", "reg_token")
        .replace(".mlp.w12.", ".mlp.fc1.")
        .replace(".mlp.w3.", ".mlp.fc2.")
}

pub fn shape_of(entry: &Value) -> Vec<usize> {
    shape_of_list(&entry["shape"])
}

pub fn shape_of_list(list: &Value) -> Vec<usize> {
    list_of_numbers(list).into_iter().map(|x| x as usize).collect()
}

fn generated(case: &Case, entry: &Value, shape: &[usize]) -> Vec<f32> {
    let p = entry["p"].as_u64().expect("a position");
    let formula = case.param("weight_formula").and_then(Value::as_str).expect("a formula");
    let fan_in: usize = shape[1..].iter().product();
    let damping = match case.param("damped_suffix").and_then(Value::as_str) {
        Some(pattern) if fits(pattern, entry["name"].as_str().expect("a name")) => {
            case.number("residual_norm_damping")
        }
        _ => 1.0,
    };
    let value = |u: f64| match entry["kind"].as_str().expect("a kind") {
        "weight" if formula == "a" => (2.0 / fan_in as f64).sqrt() * u,
        "weight" => (6.0 / fan_in as f64).sqrt() * u,
        "norm" => (1.0 + 0.1 * u) * damping,
        "bias" | "other" => 0.1 * u,
        kind => panic!("unknown kind {kind}"),
    };
    let count: usize = shape.iter().product();
    (0..count as u64)
        .map(|i| match formula {
            "a" => value((0.1 * p as f64 + 0.7 * i as f64).sin()) as f32,
            "h" => value(hashed(p, i)) as f32,
            other => panic!("unknown weight formula {other}"),
        })
        .collect()
}

/// `layer*.bn2.weight`: one star.
fn fits(pattern: &str, name: &str) -> bool {
    let (start, end) = pattern.split_once('*').expect("a pattern with a star");
    name.starts_with(start) && name.ends_with(end)
}

fn hashed(p: u64, i: u64) -> f64 {
    let mut z = (i + 1).wrapping_add(p << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 * 2f64.powi(-52) - 1.0
}
