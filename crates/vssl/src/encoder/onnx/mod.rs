//! Writes encoders as ONNX (operators of version 17, IR version 8). The input `images` is `[batch, 3,
//! size, size]` floats with any batch, for convolutional networks and for rotary positions on request of any size; the
//! output `features` is `[batch, dim]`. An encoder with a head that predicts losses has a second output,
//! `predicted_loss`, `[batch]`.
//!
//! The metadata properties describe the images: `image_size`, `resize`, `mean`, `std`, `pixels`. Batch
//! normalisations stay nodes of their own with the weights' names; runtimes fold them into the
//! convolutions. Called by [`super::export::write`].

mod convnext;
mod graph;
pub mod messages;
mod networks;
mod rotary;
mod transformer;

use std::collections::BTreeMap;

use prost::Message;

use crate::{
    backbone::{BackboneConfig, VitConfig},
    encoder::Input,
    tensors::state::Tensors,
};
use graph::Builder;
use messages::{
    Dimension, FLOAT, Graph, Model, OperatorSet, Property, Shape, TensorType, Type, ValueInfo,
};

/// Version of the operators: the first that has LayerNormalization.
const OPSET: i64 = 17;
/// Version of the format: the first that allows these operators.
const IR_VERSION: i64 = 8;
/// Largest size of a message in bytes.
const LIMIT: usize = i32::MAX as usize;

/// Why an encoder cannot be written as ONNX.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The encoder lacks a tensor that its configuration promises.
    #[error("tensor {0:?} of the encoder is missing or of another shape")]
    Missing(String),
    /// An image size that the network cannot take.
    #[error("images of {size} pixels are no whole number of patches of {patch}")]
    Size {
        /// Side of the images.
        size: usize,
        /// Side of a patch.
        patch: usize,
    },
    /// A network that has positions for one size of images is to take any size.
    #[error(
        "a transformer with a table of positions has them for images of one size: in an ONNX file they are those for {size} pixels; leave the \
         option for any size out, or export another file for another size"
    )]
    OneSize {
        /// Side of the images.
        size: usize,
    },
    /// The backbone is a program's own, whose operations are not known here.
    #[error(
        "the backbone {name:?} is a program's own, so there is no graph of it; use safetensors"
    )]
    Own {
        /// The name of the backbone.
        name: String,
    },
    /// The network is too large for the format.
    #[error("the network has {bytes} bytes; an ONNX file holds at most 2 GiB: use safetensors")]
    TooLarge {
        /// Size of the file.
        bytes: usize,
    },
}

/// The pixels that an exported network takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pixels {
    /// Normalised numbers.
    #[default]
    Normalised,
    /// RGB from 0 to 1, which the network normalises.
    Unit,
    /// RGB from 0 to 255, which the network normalises.
    Bytes,
}

impl Pixels {
    fn name(self) -> &'static str {
        match self {
            Self::Normalised => "normalised",
            Self::Unit => "0-1",
            Self::Bytes => "0-255",
        }
    }

    fn range(self) -> Option<f32> {
        match self {
            Self::Normalised => None,
            Self::Unit => Some(1.0),
            Self::Bytes => Some(255.0),
        }
    }
}

/// The images that an exported network takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// The pixels.
    pub pixels: Pixels,
    /// Whether the height and the width may be any.
    pub any_size: bool,
}

/// Makes a model of `tensors`, which are named by the backbone's paths; `origin` goes into its
/// metadata.
///
/// # Errors
/// Tensors that are not those of `config`, an image size that does not fit the patches.
pub fn model(
    tensors: &Tensors,
    config: &BackboneConfig,
    input: &Input,
    pixels: Pixels,
    origin: &[(&str, String)],
) -> Result<Model, OnnxError> {
    let images = Images { pixels, any_size: false };
    model_of(tensors, config, input, images, origin)
}

/// Makes a model as [`model`] does. Tensors of half precision are stored as they are, and the network brings them to
/// single precision.
///
/// # Errors
/// The errors of [`model`]; also, a transformer with a table of positions is to take images of any size.
pub fn model_of(
    tensors: &Tensors,
    config: &BackboneConfig,
    input: &Input,
    Images { pixels, any_size }: Images,
    origin: &[(&str, String)],
) -> Result<Model, OnnxError> {
    let size = input.size;
    if any_size && config.vit().is_some_and(|vit| !vit.is_rotary()) {
        return Err(OnnxError::OneSize { size });
    }
    if let Some(&VitConfig { patch, .. }) = config.vit()
        && !size.is_multiple_of(patch)
    {
        return Err(OnnxError::Size { size, patch });
    }
    let mut builder = Builder::new(tensors);
    let x = normalised(&mut builder, "images", input, pixels);
    let features = networks::add(&mut builder, &x, config, input)?;
    let losses = networks::add_loss_head(&mut builder, &features)?;
    let mut graph = builder.graph;
    let named = [(Some(&features), "features"), (losses.as_ref(), "predicted_loss")];
    rename(&mut graph, named.into_iter().filter_map(|(old, new)| Some((old?.as_str(), new))));
    let side = |name| if any_size { Axis::Named(name) } else { Axis::Size(size) };
    graph.input =
        vec![value("images", &[Axis::Size(input.channels()), side("height"), side("width")])];
    graph.output = vec![value("features", &[Axis::Size(config.dim())])];
    graph.output.extend(losses.map(|_| value("predicted_loss", &[])));
    Ok(Model {
        ir_version: IR_VERSION,
        producer_name: "vssl".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: Some(String::new()), version: OPSET }],
        metadata_props: properties(config, input, pixels, origin),
    })
}

/// Adds the nodes that normalise pixels of the value `x`, where the network is to do that. Returns the name of the result.
fn normalised(builder: &mut Builder, x: &str, input: &Input, pixels: Pixels) -> String {
    let Some(range) = pixels.range() else { return x.to_owned() };
    let scaled = |row: &[f32]| row.iter().map(|x| x * range).collect::<Vec<f32>>();
    let [mean, std] = [input.normalisation.mean, input.normalisation.std].map(|row| scaled(&row));
    let shape = [1, input.channels(), 1, 1];
    let mean = builder.floats("normalisation.mean", &shape, &mean);
    let std = builder.floats("normalisation.std", &shape, &std);
    let x = builder.node("Sub", &[x, &mean], vec![]);
    builder.node("Div", &[&x, &std], vec![])
}

/// Gives values of the graph their public names; each pair is the old name and the new one.
fn rename<'a>(graph: &mut Graph, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let known: BTreeMap<&str, &str> = names.collect();
    for node in &mut graph.node {
        for name in node.input.iter_mut().chain(&mut node.output) {
            if let Some(new) = known.get(name.as_str()) {
                (*new).clone_into(name);
            }
        }
    }
}

/// Returns the metadata of a model.
fn properties(
    config: &BackboneConfig,
    input: &Input,
    pixels: Pixels,
    origin: &[(&str, String)],
) -> Vec<Property> {
    let joined = |row: &[f32]| row.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    let channels = match input.channels() {
        3 => "RGB".to_owned(),
        channels => channels.to_string(),
    };
    let mut properties = vec![
        ("image_size", input.size.to_string()),
        ("mean", joined(&input.normalisation.mean)),
        ("std", joined(&input.normalisation.std)),
        ("channels", channels),
        ("pixels", pixels.name().to_owned()),
        ("backbone", serde_json::to_string(config).expect("settings are plain values")),
    ];
    properties.extend(input.resize.map(|resize| ("resize", resize.to_string())));
    properties.extend(origin.iter().cloned());
    let property = |(key, value): (&str, String)| Property { key: key.to_owned(), value };
    properties.into_iter().map(property).collect()
}

/// Encodes `model` as the bytes of a file.
///
/// # Errors
/// [`OnnxError::TooLarge`].
pub fn bytes(model: &Model) -> Result<Vec<u8>, OnnxError> {
    match model.encoded_len() {
        bytes if bytes > LIMIT => Err(OnnxError::TooLarge { bytes }),
        _ => Ok(model.encode_to_vec()),
    }
}

/// A dimension of a value.
#[derive(Clone, Copy)]
enum Axis {
    Size(usize),
    Named(&'static str),
}

/// Describes a value whose first dimension is the batch.
fn value(name: &str, shape: &[Axis]) -> ValueInfo {
    let dimension = |axis: Axis| match axis {
        Axis::Size(size) => Dimension { dim_value: Some(size as i64), dim_param: None },
        Axis::Named(name) => Dimension { dim_param: Some(name.to_owned()), dim_value: None },
    };
    let axes = [&[Axis::Named("batch")], shape].concat();
    let dim = axes.into_iter().map(dimension).collect();
    let tensor_type = Some(TensorType { elem_type: FLOAT, shape: Some(Shape { dim }) });
    ValueInfo { name: name.to_owned(), r#type: Some(Type { tensor_type }) }
}
