//! Builds the encoders as ONNX graphs, with the same operations in the same order as in
//! [`crate::backbone`], with running statistics and without randomness. Called by [`super::model`].

use super::{
    OnnxError,
    graph::{Builder, integer, integers, number},
};
use crate::{
    backbone::{BackboneConfig, Pooling, ResnetConfig, Stem, VitConfig, positions},
    encoder::Input,
};
use burn::tensor::{Device, Tensor};

/// The ε of `layers::BatchNorm`, `backbone::wide_resnet` and `layers::LayerNorm`.
const BATCH_EPS: f64 = 1e-5;
const WIDE_EPS: f64 = 1e-3;
const LAYER_EPS: f64 = 1e-6;
/// Slope of a Wide ResNet's activation.
const SLOPE: f64 = 0.1;

/// Adds the network to the graph and returns the name of the features.
pub(super) fn add(
    builder: &mut Builder,
    x: &str,
    config: &BackboneConfig,
    input: &Input,
) -> Result<String, OnnxError> {
    match config {
        BackboneConfig::Resnet(config) => resnet(builder, x, config),
        BackboneConfig::WideResnet(_) => wide_resnet(builder, x),
        BackboneConfig::Vit(config) => transformer(builder, x, config, input),
    }
}

fn resnet(b: &mut Builder, x: &str, config: &ResnetConfig) -> Result<String, OnnxError> {
    let (stride, padding) = match config.stem {
        Stem::Imagenet => (2, 3),
        Stem::Cifar => (1, config.stem_padding),
    };
    let x = b.convolution(x, "conv1", stride, padding)?;
    let x = b.batch_norm(&x, "bn1", BATCH_EPS)?;
    let mut x = b.node("Relu", &[&x], vec![]);
    if config.stem == Stem::Imagenet {
        let attributes = vec![
            integers("kernel_shape", &[3, 3]),
            integers("strides", &[2, 2]),
            integers("pads", &[1; 4]),
        ];
        x = b.node("MaxPool", &[&x], attributes);
    }
    for (stage, depth) in config.depth.blocks().into_iter().enumerate() {
        for block in 0..depth {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let path = format!("layer{}.{block}", stage + 1);
            x = residual(b, &x, &path, stride)?;
        }
    }
    Ok(b.pooled(&x))
}

/// Adds a basic block or a bottleneck; the stride of a bottleneck is in its 3×3 convolution.
fn residual(b: &mut Builder, x: &str, path: &str, stride: usize) -> Result<String, OnnxError> {
    let bottleneck = b.tensor(&format!("{path}.conv3.weight")).is_ok();
    let shortcut = if b.tensor(&format!("{path}.downsample.0.weight")).is_ok() {
        let shortcut = b.convolution(x, &format!("{path}.downsample.0"), stride, 0)?;
        b.batch_norm(&shortcut, &format!("{path}.downsample.1"), BATCH_EPS)?
    } else {
        x.to_owned()
    };
    let steps: &[(usize, usize)] =
        if bottleneck { &[(1, 0), (stride, 1), (1, 0)] } else { &[(stride, 1), (1, 1)] };
    let mut y = x.to_owned();
    for (index, &(stride, padding)) in steps.iter().enumerate() {
        let number = index + 1;
        y = b.convolution(&y, &format!("{path}.conv{number}"), stride, padding)?;
        y = b.batch_norm(&y, &format!("{path}.bn{number}"), BATCH_EPS)?;
        if number == steps.len() {
            y = b.node("Add", &[&y, &shortcut], vec![]);
        }
        y = b.node("Relu", &[&y], vec![]);
    }
    Ok(y)
}

fn wide_resnet(b: &mut Builder, x: &str) -> Result<String, OnnxError> {
    let activated = |b: &mut Builder, x: &str, path: &str| -> Result<String, OnnxError> {
        let y = b.batch_norm(x, path, WIDE_EPS)?;
        Ok(b.node("LeakyRelu", &[&y], vec![number("alpha", SLOPE)]))
    };
    let mut x = b.convolution(x, "conv1", 1, 1)?;
    for stage in 1..=3 {
        for index in 0..4 {
            let path = format!("block{stage}.layer.{index}");
            let stride = if stage > 1 && index == 0 { 2 } else { 1 };
            let convolved = b.tensor(&format!("{path}.convShortcut.weight")).is_ok();
            // In the first block of later stages the convolutions take the input as it is.
            let plain = convolved && stage > 1;
            let inner = if plain { x.clone() } else { activated(b, &x, &format!("{path}.bn1"))? };
            let shortcut = if convolved {
                b.convolution(&inner, &format!("{path}.convShortcut"), stride, 0)?
            } else {
                x
            };
            let y = b.convolution(&inner, &format!("{path}.conv1"), stride, 1)?;
            let y = activated(b, &y, &format!("{path}.bn2"))?;
            let y = b.convolution(&y, &format!("{path}.conv2"), 1, 1)?;
            x = b.node("Add", &[&shortcut, &y], vec![]);
        }
    }
    let x = activated(b, &x, "bn1")?;
    Ok(b.pooled(&x))
}

fn transformer(
    b: &mut Builder,
    x: &str,
    config: &VitConfig,
    input: &Input,
) -> Result<String, OnnxError> {
    let ((width, depth, _), heads) = (config.size.shape(), config.heads());
    let patch = config.patch;
    let patches = b.convolution(x, "patch_embed.proj", patch, 0)?; // [n, width, rows, columns]
    let flat = b.list("shape.patches", &[0, width as i64, -1]);
    let patches = b.node("Reshape", &[&patches, &flat], vec![]);
    let patches = b.node("Transpose", &[&patches], vec![integers("perm", &[0, 2, 1])]);
    let class = b.weight("cls_token")?;
    let shape = b.node("Shape", &[x], vec![integer("start", 0), integer("end", 1)]);
    let rest = b.list("shape.class", &[1, width as i64]);
    let shape = b.node("Concat", &[&shape, &rest], vec![integer("axis", 0)]);
    let class = b.node("Expand", &[&class, &shape], vec![]);
    let tokens = b.node("Concat", &[&class, &patches], vec![integer("axis", 1)]);
    let places = places(b, input.size / patch)?;
    let mut x = b.node("Add", &[&tokens, &places], vec![]);
    for index in 0..depth {
        let path = format!("blocks.{index}");
        let y = b.layer_norm(&x, &format!("{path}.norm1"), LAYER_EPS)?;
        let y = attention(b, &y, &format!("{path}.attn"), width, heads)?;
        x = b.node("Add", &[&x, &y], vec![]);
        let y = b.layer_norm(&x, &format!("{path}.norm2"), LAYER_EPS)?;
        let y = b.linear(&y, &format!("{path}.mlp.fc1"))?;
        let y = gelu(b, &y);
        let y = b.linear(&y, &format!("{path}.mlp.fc2"))?;
        x = b.node("Add", &[&x, &y], vec![]);
    }
    if config.pooling == Pooling::Mean {
        let x = b.layer_norm(&x, "norm", LAYER_EPS)?;
        let (from, to) = (b.list("patches.from", &[1]), b.list("patches.to", &[i64::MAX]));
        let axis = b.list("patches.axis", &[1]);
        let patches = b.node("Slice", &[&x, &from, &to, &axis], vec![]);
        let attributes = vec![integers("axes", &[1]), integer("keepdims", 0)];
        return Ok(b.node("ReduceMean", &[&patches], attributes)); // [n, width]
    }
    let first = b.list("index.class", &[0]);
    let class = b.node("Gather", &[&x, &first], vec![integer("axis", 1)]); // [n, 1, width]
    let row = b.list("shape.feature", &[0, width as i64]);
    let class = b.node("Reshape", &[&class, &row], vec![]);
    b.layer_norm(&class, "norm", LAYER_EPS)
}

/// Adds the positions of `side × side` patches. Where the network has another number of positions
/// they are interpolated once, here.
fn places(b: &mut Builder, side: usize) -> Result<String, OnnxError> {
    let own = b.tensor("pos_embed")?.clone();
    let own: Tensor<3> = Tensor::from_data(own, &Device::flex());
    let resized = positions::resized(own, side, side);
    let shape = resized.dims();
    let values: Vec<f32> =
        resized.into_data().try_to_vec().map_err(|_| OnnxError::Missing("pos_embed".to_owned()))?;
    Ok(b.floats("pos_embed", &shape, &values))
}

fn attention(
    b: &mut Builder,
    x: &str,
    path: &str,
    width: usize,
    heads: usize,
) -> Result<String, OnnxError> {
    let size = width / heads;
    let qkv = b.linear(x, &format!("{path}.qkv"))?;
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
    let (q, k, v) = (part(0), part(1), part(2));
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
fn gelu(b: &mut Builder, x: &str) -> String {
    let root = b.floats("gelu.root", &[], &[std::f32::consts::FRAC_1_SQRT_2]);
    let (one, half) = (b.floats("gelu.one", &[], &[1.0]), b.floats("gelu.half", &[], &[0.5]));
    let y = b.node("Mul", &[x, &root], vec![]);
    let y = b.node("Erf", &[&y], vec![]);
    let y = b.node("Add", &[&y, &one], vec![]);
    let y = b.node("Mul", &[x, &y], vec![]);
    b.node("Mul", &[&y, &half], vec![])
}
