//! Writes an encoder to a file of its own, for tools that do not read run folders.
//!
//! [`export()`] writes the encoder of a run as safetensors, without a classifier; the metadata name the
//! network. Parameters have torchvision's names for ResNets (`layer1.0.bn1.bias`), timm's for
//! vision transformers and ConvNeXts (`blocks.0.attn.qkv.weight`) and solo-learn's for Wide ResNets
//! (`block1.layer.0.bn1.bias`). [`write()`] writes any encoder, as safetensors, as ONNX ([`onnx`]) or
//! as a record of Burn. Called by `vssl export`.

mod error;
mod stored;

use std::path::Path;

use burn::{module::Module, tensor::TensorData};

pub use error::ExportError;
pub(crate) use stored::{Stored, checkpoint_of};

use super::{Encoder, Input, loss_head::named, onnx};
use crate::{
    backbone::{Backbone, BackboneConfig},
    method::learner::Network,
    run::whole_file,
    tensors::{
        file,
        state::{self, Tensors},
    },
};

/// The key of the metadata for the [`BackboneConfig`] as JSON.
pub(super) const CONFIG: &str = "backbone";
/// The keys of the metadata for the [`Input`] as JSON and for the number of training steps.
pub(super) const INPUT: &str = "input";
pub(super) const STEP: &str = "step";
/// The key of the metadata for the name of the run's network.
pub(crate) const NETWORK: &str = "network";
/// Returns the name of a network in the metadata.
pub(crate) fn name_of(network: Network) -> &'static str {
    match network {
        Network::Student => "student",
        Network::Teacher => "teacher",
    }
}

/// Returns the network that has a name in the metadata.
pub(super) fn network_of(name: &str) -> Option<Network> {
    [Network::Student, Network::Teacher].into_iter().find(|&network| name_of(network) == name)
}

/// The result of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The number of training steps before the checkpoint.
    pub step: u64,
    /// The number of tensors of the encoder in the file.
    pub tensors: usize,
    /// The number of tensors of the head that predicts losses in the file; `None` where the encoder has a head, and the
    /// format no place for it. 0 where the encoder has none.
    pub head: Option<usize>,
}

/// Writes the encoder of the run in the folder `run`, as it was in `checkpoint` (`latest`, `best`
/// or `step-N`), to `to`, which it replaces only when the new file is whole.
///
/// # Errors
/// The folder is not a run, the checkpoint is missing or damaged, the method has no teacher, or the file
/// cannot be written.
pub fn export(
    run: &Path,
    checkpoint: &str,
    network: Network,
    to: &Path,
) -> Result<Exported, ExportError> {
    let Stored { recipe, step, encoder, head } = Stored::read(run, checkpoint, network)?;
    let tensors = encoder.len();
    let head = head.unwrap_or_default();
    let head_tensors = Some(head.len());
    let encoder: Tensors = encoder.into_iter().chain(named(head)).collect();
    let steps = step.to_string();
    let (method, network) = (recipe.method.name().to_owned(), name_of(network).to_owned());
    let origin = [("method", method), (NETWORK, network), (STEP, steps)];
    write_tensors(to, &encoder, &recipe.backbone, &Input::of(&recipe), &origin)?;
    Ok(Exported { step, tensors, head: head_tensors })
}

/// The formats of an exported encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Named tensors, which [`export`] writes and [`import`](super::file::import) reads.
    Safetensors,
    /// An ONNX network for other runtimes, which takes pixels of the given kind.
    Onnx(onnx::Pixels),
    /// Burn's own record ("burnpack"), which `Backbone::load_file` reads in another Burn program.
    Burn,
}

/// What can be asked of an exported file beyond its format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Store the weights in half precision (`f16`). An ONNX network still computes in single precision.
    pub half: bool,
    /// Make an ONNX network that takes images of any size; transformers with a table of positions cannot.
    pub any_size: bool,
}

/// Writes any encoder to `to`, which it replaces only when the new file is whole.
///
/// # Errors
/// The file cannot be written, or the ONNX network is larger than two gigabytes.
pub fn write(encoder: &Encoder, to: &Path, form: Form) -> Result<Exported, ExportError> {
    write_with(encoder, to, form, Options::default())
}

/// Writes any encoder as [`write()`] does, with options.
///
/// # Errors
/// The errors of [`write()`]; also, weights are too large for half precision, the format has no such option, or the
/// network takes images of one size only.
pub fn write_with(
    encoder: &Encoder,
    to: &Path,
    form: Form,
    options: Options,
) -> Result<Exported, ExportError> {
    if options.any_size && !matches!(form, Form::Onnx(_)) {
        return Err(ExportError::Option { option: "any size of images", format: "ONNX" });
    }
    if options.half && form == Form::Burn {
        return Err(ExportError::Option {
            option: "half precision",
            format: "safetensors and ONNX",
        });
    }
    let mut tensors = state::collect(&*encoder.backbone);
    let count = tensors.len();
    let head = match &encoder.loss_head {
        Some(_) if form == Form::Burn => None,
        head => {
            tensors.extend(head.iter().flat_map(|head| named(state::collect(head))));
            Some(tensors.len() - count)
        }
    };
    if options.half {
        halve(&mut tensors)?;
    }
    let step = encoder.step.unwrap_or(0);
    let mut origin = Vec::new();
    if let Some(recipe) = &encoder.recipe {
        origin.push(("method", recipe.method.name().to_owned()));
    }
    if let Some(network) = encoder.network {
        origin.push((NETWORK, name_of(network).to_owned()));
    }
    if let Some(step) = encoder.step {
        origin.push((STEP, step.to_string()));
    }
    match form {
        Form::Safetensors => {
            write_tensors(to, &tensors, &encoder.config, &encoder.input, &origin)?;
        }
        Form::Onnx(pixels) => {
            let images = onnx::Images { pixels, any_size: options.any_size };
            let model = onnx::model_of(&tensors, &encoder.config, &encoder.input, images, &origin)?;
            write_whole(to, &onnx::bytes(&model)?)?;
        }
        Form::Burn => {
            let record = Backbone::clone(&encoder.backbone).into_record();
            let bytes = record
                .into_bytes()
                .map_err(|source| ExportError::Record { path: to.to_owned(), source })?;
            write_whole(to, &bytes[..])?;
        }
    }
    Ok(Exported { step, tensors: count, head })
}

/// Brings weights to half precision. Statistics whose numbers it cannot hold would make the network another one.
fn halve(tensors: &mut Tensors) -> Result<(), ExportError> {
    for (name, tensor) in tensors {
        let half = tensor.clone().convert::<burn::tensor::f16>();
        let whole = half.clone().convert::<f32>();
        let fits = whole.as_slice::<f32>().is_ok_and(|x| x.iter().all(|x| x.is_finite()));
        if !fits {
            return Err(ExportError::Half { name: name.clone() });
        }
        *tensor = half;
    }
    Ok(())
}

/// Returns whether a tensor of a ConvNeXt is the weight of a linear layer that may be a 1×1 convolution elsewhere.
pub(super) fn is_pointwise(name: &str) -> bool {
    name.ends_with(".mlp.fc1.weight") || name.ends_with(".mlp.fc2.weight")
}

/// Returns the tensors in the shapes of timm's files: its smaller ConvNeXts have 1×1 convolutions where this program has
/// linear layers.
fn shaped_for_timm(tensors: &Tensors, config: &BackboneConfig) -> Tensors {
    let pointwise = |name: &str| {
        matches!(config, BackboneConfig::ConvNext(config) if config.has_pointwise_convolutions())
            && is_pointwise(name)
    };
    let shaped = tensors.iter().map(|(name, tensor)| {
        let mut tensor = tensor.clone();
        if pointwise(name) {
            let shape = [tensor.shape().as_slice(), &[1, 1]].concat();
            let dtype = tensor.dtype();
            tensor = TensorData::from_bytes(tensor.into_bytes(), shape, dtype);
        }
        (name.clone(), tensor)
    });
    shaped.collect()
}

/// Writes tensors and metadata as [`import`](super::file::import) reads them.
pub(crate) fn write_tensors(
    to: &Path,
    tensors: &Tensors,
    config: &BackboneConfig,
    input: &Input,
    origin: &[(&str, String)],
) -> Result<(), ExportError> {
    let tensors = shaped_for_timm(tensors, config);
    let config = serde_json::to_string(config).expect("settings are plain values");
    let input = serde_json::to_string(input).expect("settings are plain values");
    // PyTorch's loaders look for the key `format`.
    let mut metadata = vec![
        ("format", "pt"),
        (CONFIG, config.as_str()),
        (INPUT, input.as_str()),
        ("vssl", env!("CARGO_PKG_VERSION")),
    ];
    metadata.extend(origin.iter().map(|(key, value)| (*key, value.as_str())));
    write_whole(to, &file::bytes(to, &tensors, &metadata)?)
}

fn write_whole(to: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    whole_file::write(to, bytes).map_err(|source| ExportError::Io { path: to.to_owned(), source })
}
