//! A ConvNeXt as an ONNX graph. Called by [`super::networks`].

use super::{
    OnnxError,
    graph::{Builder, integer, integers},
    transformer::gelu,
};
use crate::backbone::ConvNextConfig;

/// The orders of the axes: from channels first to channels last and back.
const LAST: [i64; 4] = [0, 2, 3, 1];
const FIRST: [i64; 4] = [0, 3, 1, 2];
/// The ε of global response normalisation.
const RESPONSE_EPS: f32 = 1e-6;

/// Adds the network to the graph and returns the name of the features.
pub(super) fn add(b: &mut Builder, x: &str, config: &ConvNextConfig) -> Result<String, OnnxError> {
    let shape = config.shape();
    let x = b.convolution(x, "stem.0", config.patch, 0)?;
    let mut x = normalised(b, &x, "stem.1")?;
    for (index, (&depth, &width)) in shape.depths.iter().zip(&shape.widths).enumerate() {
        let stage = format!("stages.{index}");
        if index > 0 {
            x = normalised(b, &x, &format!("{stage}.downsample.0"))?;
            x = b.convolution(&x, &format!("{stage}.downsample.1"), 2, 0)?;
        }
        for block in 0..depth {
            x = residual(b, &x, &format!("{stage}.blocks.{block}"), width)?;
        }
    }
    let mean = b.pooled(&x);
    b.layer_norm(&mean, "head.norm")
}

/// Adds a block. Its input and output have their channels first.
fn residual(b: &mut Builder, x: &str, path: &str, width: usize) -> Result<String, OnnxError> {
    let y = b.grouped_convolution(x, &format!("{path}.conv_dw"), 1, 3, width)?;
    let y = b.turned(&y, &LAST);
    let y = b.layer_norm(&y, &format!("{path}.norm"))?;
    let y = b.linear(&y, &format!("{path}.mlp.fc1"))?;
    let mut y = gelu(b, &y);
    let grn = format!("{path}.mlp.grn");
    if b.tensor(&format!("{grn}.weight")).is_ok() {
        y = response_norm(b, &y, &grn)?;
    }
    let y = b.linear(&y, &format!("{path}.mlp.fc2"))?;
    let y = b.scaled(&y, &format!("{path}.gamma"))?;
    let y = b.turned(&y, &FIRST);
    Ok(b.node("Add", &[x, &y], vec![]))
}

/// Adds global response normalisation of images with their channels last.
fn response_norm(b: &mut Builder, x: &str, path: &str) -> Result<String, OnnxError> {
    let attributes = vec![integers("axes", &[1, 2]), integer("keepdims", 1)];
    let norms = b.node("ReduceL2", &[x], attributes); // [n, 1, 1, c]
    let attributes = vec![integers("axes", &[3]), integer("keepdims", 1)];
    let mean = b.node("ReduceMean", &[&norms], attributes);
    let eps = b.floats("response.eps", &[], &[RESPONSE_EPS]);
    let mean = b.node("Add", &[&mean, &eps], vec![]);
    let relative = b.node("Div", &[&norms, &mean], vec![]);
    let y = b.node("Mul", &[x, &relative], vec![]);
    let y = b.scaled(&y, &format!("{path}.weight"))?;
    let bias = b.weight(&format!("{path}.bias"))?;
    let y = b.node("Add", &[&y, &bias], vec![]);
    Ok(b.node("Add", &[x, &y], vec![]))
}

/// Adds a layer normalisation over the channels, which come first before and after it.
fn normalised(b: &mut Builder, x: &str, path: &str) -> Result<String, OnnxError> {
    let x = b.turned(x, &LAST);
    let x = b.layer_norm(&x, path)?;
    Ok(b.turned(&x, &FIRST))
}
