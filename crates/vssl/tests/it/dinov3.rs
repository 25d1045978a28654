//! Transformers with rotary positions against passes of timm that `tests/python/dinov3.py` stored, outputs and gradients,
//! for images of several sizes. Weights and images are made by its formula.

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde_json::Value;
use vssl::{
    backbone::{Mlp, Pooling, Positions, Vit, VitConfig},
    layers::Init,
    optim::Gradients,
    tensors::state,
};

use crate::{fixtures::device, golden::Cast};

const STORED: &str = include_str!("../data/dinov3.json");

/// A number between −1 and 1 for each place.
fn pattern(count: usize, phase: f64) -> Vec<f64> {
    let of = |i: f64| (i * 0.7351 + phase).sin() * (i * 0.0193 + 2.0 * phase).cos();
    (0..count).map(|i| of(i as f64)).collect()
}

fn weight(index: usize, shape: &[usize]) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let values = pattern(count, 0.37 * (index + 1) as f64);
    let scale = 1.5 / ((count / shape[0]) as f64).sqrt();
    let of = |x: f64| if shape.len() > 1 { x * scale } else { 0.6 * x + 0.5 };
    values.into_iter().map(|x| of(x) as f32).collect()
}

fn tensor<const D: usize>(values: Vec<f64>, shape: [usize; D], precision: DType) -> Tensor<D> {
    Tensor::<D>::from_data(TensorData::new(values, shape), &device()).cast(precision)
}

fn network(case: &Value, precision: DType) -> Vit {
    let config = VitConfig {
        width: Some(24),
        depth: Some(2),
        heads: Some(3),
        patch: 4,
        image_size: 16,
        positions: Positions::Rotary,
        registers: 3,
        layer_scale: 1.0,
        mlp: if case["gated"] == true { Mlp::Swiglu } else { Mlp::Gelu },
        hidden: Some(96),
        qkv_bias: case["biased"] == true,
        pooling: if case["pool"] == "avg" { Pooling::Mean } else { Pooling::Token },
        ..VitConfig::default()
    };
    let fresh = Vit::new(&config, &Init::new(&device(), 0));
    let mut tensors = state::collect(&fresh);
    for (index, tensor) in tensors.values_mut().enumerate() {
        let shape = tensor.shape().as_slice().to_vec();
        *tensor = TensorData::new(weight(index, &shape), shape);
    }
    burn::module::Module::map(state::restore(fresh, tensors).unwrap(), &mut Cast(precision))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn own<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_into_vec().unwrap()
}

fn check(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut got.iter().zip(expected).map(|(a, b)| a - b));
    let whole = norm(&mut expected.iter().copied());
    assert!(error <= tolerance * whole.max(1e-3), "{what}: {error:.1e} of {whole:.1e}");
}

fn every_case(precision: DType, tolerance: f64) {
    let stored: Value = serde_json::from_str(STORED).unwrap();
    let cases = stored["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let sizes: [usize; 4] = serde_json::from_value(case["images"].clone()).unwrap();
        let what = format!("{sizes:?}, gated {}, biased {}", case["gated"], case["biased"]);
        let network = network(case, precision);
        let x = tensor(pattern(sizes.iter().product(), 0.11), sizes, precision);
        let (features, patches) = network.forward_with_patches(x.clone());
        check(&own(features.clone()), &numbers(&case["features"]), tolerance, &what);
        let tokens = own(network.tokens(x));
        let sum = pattern(tokens.len(), 0.23).iter().zip(&tokens).map(|(a, b)| a * b).sum();
        check(&[sum], &numbers(&case["tokens"]), tolerance, &format!("{what}: tokens"));
        let of_patches = tensor(pattern(24, 0.5), [1, 1, 24], precision);
        let loss = features.square().sum() + (patches * of_patches).sum();
        let total = case["loss"].as_f64().unwrap();
        check(&own(loss.clone()), &[total], tolerance, &format!("{what}: loss"));
        let gradients = Gradients::collect(loss.backward(), &network).0;
        let stored = case["gradients"].as_object().unwrap();
        assert!(stored.keys().eq(gradients.keys()), "{what}: {:?}", gradients.keys());
        let largest = stored.values().map(|of| numbers(of)[0].sqrt()).fold(0.0, f64::max);
        for (name, gradient) in gradients {
            let values = own(gradient);
            let squares: f64 = values.iter().map(|x| x * x).sum();
            let other = pattern(values.len(), 0.91);
            let product: f64 = other.iter().zip(&values).map(|(a, b)| a * b).sum();
            let [expected, of_pattern] = numbers(&stored[&name])[..] else { panic!("{name}") };
            let what = format!("{what}: gradient of {name}");
            // Products can cancel: their error is measured by the whole gradient.
            let scale = expected.sqrt().max(1e-3 * largest) * (values.len() as f64).sqrt();
            let error = (product - of_pattern).abs();
            assert!(error <= 10.0 * tolerance * scale, "{what}: {error:.1e} of {scale:.1e}");
            let error = (squares.sqrt() - expected.sqrt()).abs();
            assert!(error <= 10.0 * tolerance * scale, "{what}: {error:.1e} of {scale:.1e}");
        }
    }
}

#[test]
fn passes_are_those_of_timm_in_double_precision() {
    every_case(DType::F64, 1e-6);
}

#[test]
fn passes_are_those_of_timm_through_the_kernels() {
    every_case(DType::F32, 1e-5);
}

/// Names and shapes as timm has them, of networks of one block; the sizes of the whole ones.
#[test]
fn every_named_network_has_the_parameters_of_timm() {
    let stored: Value = serde_json::from_str(STORED).unwrap();
    let networks = stored["networks"].as_object().unwrap();
    assert_eq!(networks.len(), 10);
    for (name, expected) in networks {
        let (named, biased) = match name.strip_suffix("_qkvb") {
            Some(named) => (named, true),
            None => (name.as_str(), false),
        };
        let text = format!("architecture = {named:?}\n[vit]\nqkv_bias = {biased}");
        let config: vssl::backbone::BackboneConfig =
            text.parse::<toml::Table>().unwrap().try_into().unwrap();
        let vit = config.vit().unwrap();
        assert_eq!((expected["depth"].as_u64(), expected["heads"].as_u64()), {
            (Some(vit.depth() as u64), Some(vit.heads() as u64))
        });
        let one = VitConfig { depth: Some(1), ..*vit };
        let tensors = state::collect(&Vit::new(&one, &Init::blank(&Device::flex())));
        let shapes = tensors.iter().map(|(name, tensor)| {
            (name.clone(), serde_json::to_value(tensor.shape().as_slice()).unwrap())
        });
        let shapes: serde_json::Map<String, Value> = shapes.collect();
        assert_eq!(&shapes, expected["first"].as_object().unwrap(), "{name}");
        let of_block = shapes.keys().filter(|name| name.starts_with("blocks.")).count();
        let whole = shapes.len() + (vit.depth() - 1) * of_block;
        assert_eq!(expected["parameters"].as_u64(), Some(whole as u64), "{name}");
    }
}

#[test]
fn a_rotary_network_takes_its_settings_and_no_others() {
    let read = |more: &str| {
        let text = format!("architecture = \"vit_small_patch16_dinov3\"\n[vit]\n{more}");
        text.parse::<toml::Table>().unwrap().try_into::<vssl::backbone::BackboneConfig>()
    };
    let config = read("").unwrap();
    let vit = config.vit().unwrap();
    assert_eq!((vit.positions, vit.registers, vit.qkv_bias), (Positions::Rotary, 4, false));
    assert_eq!((vit.patch, vit.hidden()), (16, 1536));
    for (wrong, words) in [
        ("heads = 64", "multiple of 4"),
        ("placed = \"all\"", "placed"),
        ("interpolation = \"offset\"", "interpolation"),
    ] {
        let error = read(wrong).unwrap_err().to_string();
        assert!(error.contains(words), "{wrong}: {error}");
    }
    let plus = "architecture = \"vit_small_plus_patch16_dinov3\"".parse::<toml::Table>().unwrap();
    let plus: vssl::backbone::BackboneConfig = plus.try_into().unwrap();
    assert_eq!((plus.vit().unwrap().mlp, plus.vit().unwrap().hidden()), (Mlp::Swiglu, 1536));
    // No parameter belongs to a size of images.
    let tiny = VitConfig { width: Some(8), depth: Some(1), heads: Some(1), ..*vit };
    let names = state::collect(&Vit::new(&tiny, &Init::new(&Device::flex(), 0)));
    assert!(names.contains_key("blocks.0.gamma_1") && !names.contains_key("pos_embed"));
}
