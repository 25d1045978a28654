//! Encoders against the stored passes of the second set: transformers as timm and as DINOv2 have them, ConvNeXts, and
//! the variants of ResNets. Weights are made by the formula of the fixtures' README; sizes come from the cases.

use burn::{
    module::Module,
    tensor::{DType, Tensor, TensorData},
};
use serde_json::Value;
use vssl::{
    backbone::{
        Backbone, ConvNext, ConvNextShape, Interpolation, Masked, Mlp, Placed, Pooling, Resnet,
        ResnetShape, StemShape, Vit, VitConfig,
    },
    layers::Init,
    optim::Gradients,
    tensors::state::{self, Tensors},
};

use super::backbone::{Cast, check_network, ours, shape_of, values, weight};
use crate::fixtures::{Case, INDEXES, device, for_each_case_of};

/// In double precision: all that the cases expect, as they say.
#[test]
fn every_case_of_the_second_set_in_double_precision() {
    every_case(DType::F64);
}

/// In single precision, through the kernels of this machine.
#[test]
fn every_case_of_the_second_set_through_the_kernels() {
    every_case(DType::F32);
}

fn every_case(precision: DType) {
    for_each_case_of(INDEXES[1], "backbone", |case| {
        let architecture = text(case, "architecture");
        let init = device();
        let init = Init::new(&init, 0);
        if architecture == "timm VisionTransformer" {
            transformer(case, Vit::new(&timm(case), &init), precision);
        } else if architecture == "DINOv2 reference ViT" {
            transformer(case, Vit::new(&dinov2(case), &init), precision);
        } else if architecture.contains("ConvNeXt") {
            convnext(case, ConvNext::of(&sizes(case), &init), precision);
        } else if architecture.contains("ResNet") {
            let network = Backbone::Resnet(Resnet::of(&resnet(case, &architecture), &init));
            check_network(case, network, precision);
        } else {
            panic!("{}: unknown architecture {architecture}", case.name);
        }
    });
}

fn text(case: &Case, key: &str) -> String {
    let text = case.param(key).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("{}: no text {key} in params", case.name)).to_owned()
}

fn whole(case: &Case, key: &str) -> usize {
    case.number(key) as usize
}

fn list<const N: usize>(case: &Case, key: &str) -> [usize; N] {
    let numbers: Vec<usize> = case.numbers(key).into_iter().map(|x| x as usize).collect();
    numbers.try_into().unwrap_or_else(|_| panic!("{}: {key} has not {N} numbers", case.name))
}

/// Settings that both kinds of transformers tell in the same way.
fn common(case: &Case) -> VitConfig {
    assert_eq!(case.number("layer_norm_eps"), 1e-6, "{}", case.name);
    VitConfig {
        width: Some(whole(case, "width")),
        depth: Some(whole(case, "depth")),
        heads: Some(whole(case, "heads")),
        patch: whole(case, "patch"),
        image_size: whole(case, "pretraining_image"),
        registers: whole(case, "registers"),
        ..VitConfig::default()
    }
}

fn timm(case: &Case) -> VitConfig {
    let common = common(case);
    let inner = (common.width() as f64 * case.number("mlp_ratio")) as usize;
    let (mlp, hidden) = match text(case, "mlp").as_str() {
        "exact GELU" => (Mlp::Gelu, inner),
        "packed SwiGLU, gate first" => (Mlp::Swiglu, inner / 2),
        other => panic!("{}: unknown mlp {other}", case.name),
    };
    let after = text(case, "final_norm").contains("fc_norm");
    let pooling = match (text(case, "pool").as_str(), after) {
        ("token", false) => Pooling::Token,
        ("avg", false) => Pooling::Mean,
        ("avg", true) => Pooling::FcNorm,
        other => panic!("{}: unknown pooling {other:?}", case.name),
    };
    let interpolation = text(case, "position_interpolation");
    let is_known = interpolation == "none" || interpolation.starts_with("antialiased bicubic");
    assert!(is_known, "{}: unknown interpolation {interpolation}", case.name);
    VitConfig {
        class_token: case.flag("class_token"),
        placed: if case.flag("positions_include_prefix") { Placed::All } else { Placed::Patches },
        layer_scale: f64::from(u8::from(case.flag("layer_scale"))),
        qkv_bias: case.flag("qkv_bias"),
        mlp,
        hidden: Some(hidden),
        pooling,
        ..common
    }
}

fn dinov2(case: &Case) -> VitConfig {
    let offset = case.number("interpolate_offset");
    let interpolation = match (case.flag("interpolate_antialias"), offset) {
        (true, 0.0) => Interpolation::Antialiased,
        (false, 0.1) => Interpolation::Offset,
        other => panic!("{}: unknown interpolation {other:?}", case.name),
    };
    let mlp = match text(case, "ffn").as_str() {
        "mlp" => Mlp::Gelu,
        "swiglu" => Mlp::Swiglu,
        other => panic!("{}: unknown ffn {other}", case.name),
    };
    let common = common(case);
    let hidden = match mlp {
        Mlp::Gelu => Some((common.width() as f64 * case.number("mlp_ratio")) as usize),
        Mlp::Swiglu => {
            assert_eq!(case.number("mlp_ratio"), 4.0, "{}: of SwiGLU", case.name);
            None
        }
    };
    VitConfig { interpolation, mlp, hidden, layer_scale: 1.0, ..common }
}

fn sizes(case: &Case) -> ConvNextShape {
    assert_eq!(case.number("layer_norm_eps"), 1e-6, "{}", case.name);
    assert_eq!(case.number("kernel"), 7.0, "{}", case.name);
    let whole = |key: &str| case.numbers(key).into_iter().map(|x| x as usize).collect();
    ConvNextShape {
        patch: 4,
        depths: whole("depths"),
        widths: whole("dims"),
        layer_scale: case.flag("layer_scale").then_some(1.0),
        response_norm: case.flag("global_response_norm"),
    }
}

fn resnet(case: &Case, architecture: &str) -> ResnetShape {
    assert_eq!((case.number("bn_eps"), case.number("bn_momentum")), (1e-5, 0.1), "{}", case.name);
    let (deep, width) = (architecture.contains("deep stem"), whole(case, "stem_width"));
    ResnetShape {
        blocks: list(case, "blocks"),
        channels: list(case, "channels"),
        bottleneck: architecture.contains("bottleneck"),
        width_per_group: whole(case, "width_per_group"),
        stem: if deep { StemShape::Deep(width) } else { StemShape::Imagenet(width) },
        average_down: architecture.contains("avg-down"),
    }
}

/// The name in this program's networks of a parameter of any of these networks.
pub fn renamed(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let number = |text: &str| text.parse::<usize>().unwrap();
    match parts.as_slice() {
        ["classifier", "0", end] => format!("head.norm.{end}"),
        ["features", "0", rest @ ..] => format!("stem.{}", rest.join(".")),
        ["features", of, rest @ ..] if number(of).is_multiple_of(2) => {
            format!("stages.{}.downsample.{}", number(of) / 2, rest.join("."))
        }
        ["features", of, block, rest @ ..] => {
            let layer = match rest {
                ["layer_scale"] => "gamma".to_owned(),
                ["block", "0", end] => format!("conv_dw.{end}"),
                ["block", "2", end] => format!("norm.{end}"),
                ["block", "3", end] => format!("mlp.fc1.{end}"),
                ["block", "5", end] => format!("mlp.fc2.{end}"),
                other => panic!("unknown parameter {other:?}"),
            };
            format!("stages.{}.blocks.{block}.{layer}", number(of) / 2)
        }
        _ => ours(name),
    }
}

/// The network with the weights of the case, under the names that the case has for them.
fn loaded<M: Module>(case: &Case, network: M, precision: DType) -> M {
    let mut tensors: Tensors = state::collect(&network);
    let order = case.json["parameters_in_order"].as_array().expect("a list of parameters");
    let own: Vec<_> = order.iter().filter(|entry| entry["name"] != "mask_token").collect();
    assert_eq!(own.len(), tensors.len(), "{}: parameters", case.name);
    for entry in own {
        let name = renamed(entry["name"].as_str().expect("a name"));
        let tensor = tensors.get_mut(&name).unwrap_or_else(|| panic!("no parameter {name}"));
        let shape = tensor.shape();
        let count: usize = shape_of(entry).iter().product();
        assert_eq!(shape.num_elements(), count, "{}: {name}", case.name);
        *tensor = TensorData::new(weight(case, entry), shape);
    }
    state::restore(network, tensors).unwrap().map(&mut Cast(precision))
}

fn single<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.inner().cast(DType::F32)
}

fn transformer(case: &Case, network: Vit, precision: DType) {
    let network = loaded(case, network, precision);
    let x = case.tensor::<4>("x", &device()).cast(precision);
    let prefix = network.prefix();
    let (masked, token) = masked(case, precision);
    let tokens = match masked {
        Some(masked) => network.masked_tokens(x.clone(), masked),
        None => network.tokens(x.clone()),
    };
    let [n, count, width] = tokens.dims();
    let patches = tokens.clone().narrow(1, prefix, count - prefix);
    let features = match case.has("mask") {
        true => tokens.clone().narrow(1, 0, 1).reshape([n, width]),
        false => network.forward(x.clone()),
    };
    let squares = features.clone().square().sum();
    let loss = match case.has("out.patch_tokens") {
        true => squares + patches.clone().square().mean(),
        false => squares,
    };
    for output in case.names("out.") {
        let key = format!("out.{output}");
        match output.as_str() {
            "features" => case.check(&key, single(features.clone())),
            "tokens" => case.check(&key, single(tokens.clone())),
            "patch_tokens" => {
                case.check(&key, single(patches.clone()));
                if !case.has("mask") {
                    case.check(&key, single(network.patch_tokens(x.clone())));
                }
            }
            "positions" => {
                let [_, _, h, w] = x.dims();
                let patch = whole(case, "patch");
                let table = single(network.positions(h / patch, w / patch));
                let [_, places, width] = table.dims();
                case.check(&key, table.reshape([places, width]));
            }
            "loss" => case.check_values(&key, &values(loss.clone())),
            other => panic!("{}: unknown output {other}", case.name),
        }
    }
    let gradients = loss.backward();
    let of_mask = token.and_then(|token| token.grad(&gradients)).map(values);
    check_gradients(case, Gradients::collect(gradients, &network).0, of_mask);
}

/// The masked patches of a case, and the token that stands for them.
fn masked(case: &Case, precision: DType) -> (Option<Masked>, Option<Tensor<1>>) {
    if !case.has("mask") {
        return (None, None);
    }
    let order = case.json["parameters_in_order"].as_array().expect("a list of parameters");
    let entry = order.iter().find(|entry| entry["name"] == "mask_token").expect("a mask token");
    let token: Tensor<1> = Tensor::from_data(weight(case, entry).as_slice(), &device());
    let token = token.cast(precision).require_grad();
    let mask = case.ints::<2>("mask", &device()).float().cast(precision);
    (Some(Masked { mask, token: token.clone() }), Some(token))
}

fn convnext(case: &Case, network: ConvNext, precision: DType) {
    let network = loaded(case, network, precision);
    let x = case.tensor::<4>("x", &device()).cast(precision);
    let features = network.forward(x);
    let loss = features.clone().square().sum();
    for output in case.names("out.") {
        let key = format!("out.{output}");
        match output.as_str() {
            "features" => case.check(&key, single(features.clone())),
            "loss" => case.check_values(&key, &values(loss.clone())),
            other => panic!("{}: unknown output {other}", case.name),
        }
    }
    check_gradients(case, Gradients::collect(loss.backward(), &network).0, None);
}

fn check_gradients(
    case: &Case,
    gradients: std::collections::BTreeMap<String, Tensor<1>>,
    of_mask: Option<Vec<f32>>,
) {
    for name in case.names("grad.w.") {
        let got = match (&of_mask, name.as_str()) {
            (Some(of_mask), "mask_token") => of_mask.clone(),
            _ => values(gradients[&renamed(&name)].clone()),
        };
        case.check_gradient(&format!("grad.w.{name}"), &got, 0.0);
    }
}
