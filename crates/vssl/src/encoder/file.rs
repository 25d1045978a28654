//! Reads files that [`export`](super::export) wrote. Called by [`crate::encoder::Encoder::open`].

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::{
    module::Module,
    tensor::{Device, TensorData},
};
use serde::de::DeserializeOwned;

use super::{
    export::{CONFIG, INPUT, NETWORK, STEP, is_pointwise, network_of},
    loss_head, other_file,
};
use crate::{
    backbone::{Backbone, BackboneConfig},
    encoder::Input,
    formats::safetensors as format,
    layers::{
        Init, LossHead,
        budget::{self, TooLarge},
    },
    method::learner::Network,
    tensors::{
        file::{self, TensorFileError},
        state::{self, StateError, Tensors},
    },
};

/// Why an encoder file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file is not a file of tensors, or it cannot be read.
    #[error(transparent)]
    Read(#[from] TensorFileError),
    /// The file is a checkpoint of another program.
    #[error(
        "{}: a checkpoint of another program; make an encoder of it first: vssl import {} --to \
         encoder.safetensors",
        path.display(),
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no weights.
    #[error("{}: {what}", path.display())]
    NotWeights {
        /// The file.
        path: PathBuf,
        /// What it is, and what to name instead.
        what: String,
    },
    /// The metadata do not describe the network.
    #[error(
        "{}: the metadata have no readable {key:?} ({problem}); expected a file that `vssl \
         export` or `vssl import` wrote; another program's weights are brought in by: vssl import \
         {} --to encoder.safetensors",
        path.display(),
        path.display()
    )]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The key that is missing or not valid.
        key: &'static str,
        /// The fault of the value.
        problem: String,
    },
    /// The description of the network has sizes that no machine could hold.
    #[error("{}: the network that it describes takes {source}; its description is damaged", path.display())]
    TooLarge {
        /// The file or run folder.
        path: PathBuf,
        /// The memory that the network takes.
        source: TooLarge,
    },
    /// The tensors belong to another network than the metadata say.
    #[error("{}: {source}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// The tensor that does not fit.
        source: StateError,
    },
}

/// The content of an encoder file.
#[derive(Debug)]
pub struct Imported {
    /// The network, frozen.
    pub backbone: Backbone,
    /// The configuration of the network.
    pub config: BackboneConfig,
    /// The size and normalisation of the network's images.
    pub input: Input,
    /// The number of training steps, if the file states it.
    pub step: Option<u64>,
    /// Which network of its run it is, if the file states it.
    pub network: Option<Network>,
    /// The head that predicts losses, if the file has one.
    pub loss_head: Option<LossHead>,
}

/// Reads an encoder that [`export`](super::export::export()) wrote.
///
/// # Errors
/// The file cannot be read, [`export`](super::export::export()) did not write it, or its tensors do not fit.
pub fn import(path: &Path, device: &Device) -> Result<Imported, ImportError> {
    let bytes =
        fs::read(path).map_err(|source| TensorFileError::Io { path: path.to_owned(), source })?;
    imported(path, bytes, device)
}

/// Reads an encoder as [`import`] does, whose file `path` has these bytes.
///
/// # Errors
/// As [`import`], apart from a file that cannot be read.
pub(crate) fn imported(
    path: &Path,
    bytes: Vec<u8>,
    device: &Device,
) -> Result<Imported, ImportError> {
    if let Some(what) = other_file::named(&bytes) {
        return Err(ImportError::NotWeights { path: path.to_owned(), what });
    }
    if is_foreign(path, &bytes) {
        return Err(ImportError::Foreign { path: path.to_owned() });
    }
    let config = BackboneConfig::stored(metadatum(path, &bytes, CONFIG)?).map_err(|error| {
        let (path, problem) = (path.to_owned(), error.message().to_owned());
        ImportError::Metadata { path, key: CONFIG, problem }
    })?;
    let input: Input = metadatum(path, &bytes, INPUT)?;
    let step = metadatum(path, &bytes, STEP).ok();
    let metadata = format::metadata(&bytes).unwrap_or_default();
    let network = metadata.get(NETWORK).and_then(|name| network_of(name));
    let tensors = file::parse(path, &bytes)?.into_iter();
    let tensors = tensors.map(|(name, tensor)| {
        let tensor = if is_pointwise(&name) { without_unit_axes(tensor, &config) } else { tensor };
        (name, tensor)
    });
    let mut tensors: Tensors = tensors.collect();
    drop(bytes); // the tensors are copies
    let of_file = |source| ImportError::Tensors { path: path.to_owned(), source };
    let loss_head = loss_head::taken(&mut tensors, config.dim(), device).map_err(of_file)?;
    let init = Init::blank(device).with_channels(input.channels());
    let fresh = budget::fitted(|| Backbone::new(&config, &init));
    let fresh = fresh.map_err(|source| ImportError::TooLarge { path: path.to_owned(), source })?;
    let backbone = state::restore(fresh, tensors).map_err(of_file)?.no_grad();
    Ok(Imported { backbone, config, input, step, network, loss_head })
}

/// Returns the weight of a 1×1 convolution as that of a linear layer, which ConvNeXts have here.
fn without_unit_axes(tensor: TensorData, config: &BackboneConfig) -> TensorData {
    match (config, tensor.shape().as_slice()) {
        (BackboneConfig::ConvNext(_), &[output, input, 1, 1]) => {
            let dtype = tensor.dtype();
            TensorData::from_bytes(tensor.into_bytes(), [output, input], dtype)
        }
        _ => tensor,
    }
}

/// Returns whether the file looks like a file of PyTorch: an archive, or a pickle with one of the usual
/// extensions.
fn is_foreign(path: &Path, bytes: &[u8]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    bytes.starts_with(b"PK") || ["pth", "pt", "ckpt", "bin", "pkl", "tar"].contains(&extension)
}

fn metadatum<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    key: &'static str,
) -> Result<T, ImportError> {
    let metadata = format::metadata(bytes)
        .map_err(|source| TensorFileError::Format { path: path.to_owned(), source })?;
    let read = || {
        let text = metadata.get(key);
        serde_json::from_str(text.ok_or("the key is missing")?).map_err(|error| error.to_string())
    };
    let read: Result<T, String> = read();
    read.map_err(|problem| ImportError::Metadata { path: path.to_owned(), key, problem })
}
