//! Builds the encoders as ONNX graphs, with the same operations in the same order as in
//! [`crate::backbone`], with running statistics and without randomness. Called by [`super::model`].

use super::{
    OnnxError, convnext,
    graph::{Builder, integer, integers, number},
    transformer,
};
use crate::{
    backbone::{BackboneConfig, ResnetConfig, StemShape},
    encoder::{Input, loss_head::PREFIX},
    layers::loss_head,
};

/// The ε of `layers::BatchNorm` and `backbone::wide_resnet`.
const BATCH_EPS: f64 = 1e-5;
const WIDE_EPS: f64 = 1e-3;
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
        BackboneConfig::Vit(config) => transformer::add(builder, x, config, input),
        BackboneConfig::ConvNext(config) => convnext::add(builder, x, config),
        BackboneConfig::Own(config) => Err(OnnxError::Own { name: config.0.name().to_owned() }),
    }
}

/// Adds the head that predicts losses, where the encoder has one: [`crate::layers::LossHead`]. Returns the name of its
/// value, `[batch]`.
pub(super) fn add_loss_head(b: &mut Builder, features: &str) -> Result<Option<String>, OnnxError> {
    let mut x = features.to_owned();
    for layer in 0.. {
        let path = format!("{PREFIX}layers.{layer}");
        if !b.has(&format!("{path}.weight")) {
            break;
        }
        if layer > 0 {
            x = b.node("LeakyRelu", &[&x], vec![number("alpha", loss_head::SLOPE)]);
        }
        x = b.linear(&x, &path)?;
    }
    if x == features {
        return Ok(None);
    }
    x = b.node("Softplus", &[&x], vec![]);
    let least = b.floats("uncertainty.least", &[1], &[loss_head::LEAST as f32]);
    x = b.node("Add", &[&x, &least], vec![]);
    let axes = b.list("uncertainty.axes", &[1]);
    Ok(Some(b.node("Squeeze", &[&x, &axes], vec![]))) // [batch, 1] -> [batch]
}

fn resnet(b: &mut Builder, x: &str, config: &ResnetConfig) -> Result<String, OnnxError> {
    let shape = config.shape();
    let x = match shape.stem {
        StemShape::Imagenet(_) => b.convolution(x, "conv1", 2, 3)?,
        StemShape::Cifar(_, padding) => b.convolution(x, "conv1", 1, padding)?,
        StemShape::Deep(_) => {
            let mut x = x.to_owned();
            for (conv, norm, stride) in [("conv1.0", "conv1.1", 2), ("conv1.3", "conv1.4", 1)] {
                x = b.convolution(&x, conv, stride, 1)?;
                x = b.batch_norm(&x, norm, BATCH_EPS)?;
                x = b.node("Relu", &[&x], vec![]);
            }
            b.convolution(&x, "conv1.6", 1, 1)?
        }
    };
    let x = b.batch_norm(&x, "bn1", BATCH_EPS)?;
    let mut x = b.node("Relu", &[&x], vec![]);
    if !matches!(shape.stem, StemShape::Cifar(..)) {
        let attributes = vec![
            integers("kernel_shape", &[3, 3]),
            integers("strides", &[2, 2]),
            integers("pads", &[1; 4]),
        ];
        x = b.node("MaxPool", &[&x], attributes);
    }
    for (stage, depth) in shape.blocks.into_iter().enumerate() {
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
    } else if b.tensor(&format!("{path}.downsample.1.weight")).is_ok() {
        let attributes = vec![
            integers("kernel_shape", &[2, 2]),
            integers("strides", &[2, 2]),
            integer("ceil_mode", 1),
            integer("count_include_pad", 0),
        ];
        let mut shortcut = x.to_owned();
        if stride > 1 {
            shortcut = b.node("AveragePool", &[x], attributes);
        }
        let shortcut = b.convolution(&shortcut, &format!("{path}.downsample.1"), 1, 0)?;
        b.batch_norm(&shortcut, &format!("{path}.downsample.2"), BATCH_EPS)?
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
