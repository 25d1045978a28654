//! A vision transformer as an ONNX graph. Called by [`super::networks`].

use burn::tensor::{Device, Tensor};

use super::{
    OnnxError,
    graph::{Builder, integer, integers},
    rotary::{self, Angles},
};
use crate::{
    backbone::{Mlp, Pooling, VitConfig, positions},
    encoder::Input,
};

/// Adds the network to the graph and returns the name of the features.
pub(super) fn add(
    b: &mut Builder,
    x: &str,
    config: &VitConfig,
    input: &Input,
) -> Result<String, OnnxError> {
    b.layer_eps = config.eps();
    let (mut x, angles) = tokens(b, x, config, input)?;
    for index in 0..config.depth() {
        let path = format!("blocks.{index}");
        let y = b.layer_norm(&x, &format!("{path}.norm1"))?;
        let y = attention(b, &y, &format!("{path}.attn"), config, angles.as_ref())?;
        let y = b.scaled(&y, &format!("{path}.ls1.gamma"))?;
        let y = b.scaled(&y, &format!("{path}.gamma_1"))?;
        x = b.node("Add", &[&x, &y], vec![]);
        let y = b.layer_norm(&x, &format!("{path}.norm2"))?;
        let y = match config.mlp {
            Mlp::Swiglu if config.is_rotary() => {
                let gate = b.linear(&y, &format!("{path}.mlp.fc1_g"))?;
                let value = b.linear(&y, &format!("{path}.mlp.fc1_x"))?;
                opened(b, &gate, &value)
            }
            kind => {
                let y = b.linear(&y, &format!("{path}.mlp.fc1"))?;
                match kind {
                    Mlp::Gelu => gelu(b, &y),
                    Mlp::Swiglu => gated(b, &y, config.hidden()),
                }
            }
        };
        let y = b.linear(&y, &format!("{path}.mlp.fc2"))?;
        let y = b.scaled(&y, &format!("{path}.ls2.gamma"))?;
        let y = b.scaled(&y, &format!("{path}.gamma_2"))?;
        x = b.node("Add", &[&x, &y], vec![]);
    }
    feature(b, &x, config)
}

fn feature(b: &mut Builder, x: &str, config: &VitConfig) -> Result<String, OnnxError> {
    let mean = |b: &mut Builder, x: &str| {
        let from = b.list("patches.from", &[config.prefix() as i64]);
        let (to, axis) = (b.list("patches.to", &[i64::MAX]), b.list("patches.axis", &[1]));
        let patches = b.node("Slice", &[x, &from, &to, &axis], vec![]);
        let attributes = vec![integers("axes", &[1]), integer("keepdims", 0)];
        b.node("ReduceMean", &[&patches], attributes) // [n, width]
    };
    let class = |b: &mut Builder, x: &str| {
        let first = b.list("index.class", &[0]);
        let class = b.node("Gather", &[x, &first], vec![integer("axis", 1)]); // [n, 1, width]
        let row = b.list("shape.feature", &[0, config.width() as i64]);
        b.node("Reshape", &[&class, &row], vec![]) // [n, width]
    };
    match config.pooling {
        Pooling::TokenMean => {
            let x = b.layer_norm(x, "norm")?;
            let (class, mean) = (class(b, &x), mean(b, &x));
            Ok(b.node("Concat", &[&class, &mean], vec![integer("axis", 1)])) // [n, 2 · width]
        }
        Pooling::Mean => {
            let x = b.layer_norm(x, "norm")?;
            Ok(mean(b, &x))
        }
        Pooling::FcNorm => {
            let x = mean(b, x);
            b.layer_norm(&x, "fc_norm")
        }
        Pooling::Token => {
            let class = class(b, x);
            b.layer_norm(&class, "norm")
        }
    }
}

/// Adds class token, registers and patches with their positions; returns the angles of rotary positions beside them.
fn tokens(
    b: &mut Builder,
    images: &str,
    config: &VitConfig,
    input: &Input,
) -> Result<(String, Option<Angles>), OnnxError> {
    let (width, patch) = (config.width() as i64, config.patch);
    let patches = b.convolution(images, "patch_embed.proj", patch, 0)?; // [n, width, rows, columns]
    let angles = config.is_rotary().then(|| rotary::angles(b, &patches, config));
    let flat = b.list("shape.patches", &[0, width, -1]);
    let patches = b.node("Reshape", &[&patches, &flat], vec![]);
    let patches = b.turned(&patches, &[0, 2, 1]);
    let batch = b.node("Shape", &[images], vec![integer("start", 0), integer("end", 1)]);
    let mut prefix = Vec::new();
    let class = config.class_token.then_some(("cls_token", 1));
    let registers = (config.registers > 0).then_some(("reg_token", config.registers));
    for (path, count) in class.into_iter().chain(registers) {
        let token = b.weight(path)?;
        let rest = b.list(&format!("shape.{path}"), &[count as i64, width]);
        let shape = b.node("Concat", &[&batch, &rest], vec![integer("axis", 0)]);
        prefix.push(b.node("Expand", &[&token, &shape], vec![]));
    }
    let joined = |b: &mut Builder, parts: &[&str]| match parts {
        [one] => (*one).to_owned(),
        parts => b.node("Concat", parts, vec![integer("axis", 1)]),
    };
    let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
    if angles.is_some() {
        return Ok((joined(b, &[&prefix[..], &[&patches]].concat()), angles));
    }
    let places = places(b, config, input.size / patch)?;
    if config.placed_prefix() == config.prefix() {
        let tokens = joined(b, &[&prefix[..], &[&patches]].concat());
        return Ok((b.node("Add", &[&tokens, &places], vec![]), None));
    }
    if config.placed_prefix() == 0 {
        let patches = b.node("Add", &[&patches, &places], vec![]);
        return Ok((joined(b, &[&prefix[..], &[&patches]].concat()), None));
    }
    // The registers, which have no position, come between class token and patches, which have one.
    let placed = joined(b, &[prefix[0], &patches]);
    let placed = b.node("Add", &[&placed, &places], vec![]);
    let (zero, one) = (b.list("placed.zero", &[0]), b.list("placed.one", &[1]));
    let (end, axis) = (b.list("placed.end", &[i64::MAX]), b.list("placed.axis", &[1]));
    let class = b.node("Slice", &[&placed, &zero, &one, &axis], vec![]);
    let patches = b.node("Slice", &[&placed, &one, &end, &axis], vec![]);
    Ok((joined(b, &[&class, prefix[1], &patches]), None))
}

/// Adds the positions of `side × side` patches. Where the network has another number of positions
/// they are interpolated once, here.
fn places(b: &mut Builder, config: &VitConfig, side: usize) -> Result<String, OnnxError> {
    let own = b.tensor("pos_embed")?.clone().convert::<f32>();
    let own: Tensor<3> = Tensor::from_data(own, &Device::flex());
    let prefix = config.placed_prefix();
    let resized = positions::resized(own, prefix, [side, side], config.interpolation);
    let shape = resized.dims();
    let values: Vec<f32> =
        resized.into_data().try_to_vec().map_err(|_| OnnxError::Missing("pos_embed".to_owned()))?;
    Ok(b.floats("pos_embed", &shape, &values))
}

/// Adds `silu(gate) · value` of the two halves of the last axis.
fn gated(b: &mut Builder, x: &str, half: usize) -> String {
    let (zero, end) = (b.list("gate.zero", &[0]), b.list("gate.end", &[i64::MAX]));
    let (half, axis) = (b.list("gate.half", &[half as i64]), b.list("gate.axis", &[-1]));
    let gate = b.node("Slice", &[x, &zero, &half, &axis], vec![]);
    let value = b.node("Slice", &[x, &half, &end, &axis], vec![]);
    opened(b, &gate, &value)
}

/// Adds `silu(gate) · value`.
fn opened(b: &mut Builder, gate: &str, value: &str) -> String {
    let open = b.node("Sigmoid", &[gate], vec![]);
    let gate = b.node("Mul", &[gate, &open], vec![]);
    b.node("Mul", &[&gate, value], vec![])
}

fn attention(
    b: &mut Builder,
    x: &str,
    path: &str,
    config: &VitConfig,
    angles: Option<&Angles>,
) -> Result<String, OnnxError> {
    let (width, heads) = (config.width(), config.heads());
    let size = width / heads;
    let mut qkv = b.linear(x, &format!("{path}.qkv"))?;
    if config.is_rotary() && config.qkv_bias {
        qkv = rotary::biased(b, &qkv, path, width)?;
    }
    let split = b.list("shape.heads", &[0, -1, 3, heads as i64, size as i64]);
    let qkv = b.node("Reshape", &[&qkv, &split], vec![]);
    // [3, n, heads, tokens, size]
    let qkv = b.node("Transpose", &[&qkv], vec![integers("perm", &[2, 0, 3, 1, 4])]);
    let axis = b.list("axis.first", &[0]);
    let mut part = |index: i64| {
        let which = b.list(&format!("index.{index}"), &[index]);
        let part = b.node("Gather", &[&qkv, &which], vec![integer("axis", 0)]);
        b.node("Squeeze", &[&part, &axis], vec![])
    };
    let (mut q, mut k, v) = (part(0), part(1), part(2));
    if let Some(angles) = angles {
        q = angles.turned(b, &q);
        k = angles.turned(b, &k);
    }
    let scale = b.floats("attention.scale", &[], &[1.0 / (size as f32).sqrt()]);
    let q = b.node("Mul", &[&q, &scale], vec![]);
    let k = b.node("Transpose", &[&k], vec![integers("perm", &[0, 1, 3, 2])]);
    let scores = b.node("MatMul", &[&q, &k], vec![]);
    let shares = b.node("Softmax", &[&scores], vec![integer("axis", -1)]);
    let mixed = b.node("MatMul", &[&shares, &v], vec![]);
    let mixed = b.node("Transpose", &[&mixed], vec![integers("perm", &[0, 2, 1, 3])]);
    let joined = b.list("shape.joined", &[0, -1, width as i64]);
    let mixed = b.node("Reshape", &[&mixed, &joined], vec![]);
    b.linear(&mixed, &format!("{path}.proj"))
}

/// Adds the exact GELU, `x · ½(1 + erf(x/√2))`, made of operators of version 17.
pub(super) fn gelu(b: &mut Builder, x: &str) -> String {
    let root = b.floats("gelu.root", &[], &[std::f32::consts::FRAC_1_SQRT_2]);
    let (one, half) = (b.floats("gelu.one", &[], &[1.0]), b.floats("gelu.half", &[], &[0.5]));
    let y = b.node("Mul", &[x, &root], vec![]);
    let y = b.node("Erf", &[&y], vec![]);
    let y = b.node("Add", &[&y, &one], vec![]);
    let y = b.node("Mul", &[x, &y], vec![]);
    b.node("Mul", &[&y, &half], vec![])
}
