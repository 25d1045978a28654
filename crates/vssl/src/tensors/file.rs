//! Reads and writes named tensors as safetensors files, with all checks.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use safetensors::Dtype;

use super::state::Tensors;
use crate::formats::safetensors as format;

/// Why a file of tensors could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorFileError {
    /// The operating system refused.
    #[error("{}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file is not a safetensors file, or it was cut short.
    #[error("{}: not a whole safetensors file: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The error of the format's reader.
        source: safetensors::SafeTensorError,
    },
    /// A tensor has a type that checkpoints do not hold.
    #[error("{}: tensor {name:?} is {got:?}, expected F32, F16 or I64", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The name of the tensor.
        name: String,
        /// The type of the tensor.
        got: Dtype,
    },
}

/// Returns the bytes of a safetensors file; `path` is for messages.
///
/// # Errors
/// [`TensorFileError::Format`]: the metadata cannot be written.
pub fn bytes(
    path: &Path,
    tensors: &Tensors,
    metadata: &[(&str, &str)],
) -> Result<Vec<u8>, TensorFileError> {
    // The tensors of this crate are F32, I64 for counts, or F16 in exported encoders.
    let named = tensors.iter().map(|(name, tensor)| {
        let dtype = match tensor.dtype() {
            DType::I64 => Dtype::I64,
            DType::F16 => Dtype::F16,
            _ => Dtype::F32,
        };
        (name.as_str(), dtype, tensor.shape().as_slice().to_vec(), tensor.as_bytes())
    });
    format::to_bytes(named, metadata)
        .map_err(|source| TensorFileError::Format { path: path.to_owned(), source })
}

/// Reads all tensors from the bytes of the file `path`; those of half precision become `f32`.
///
/// # Errors
/// The bytes are not a whole safetensors file of F32, F16 and I64 tensors.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Tensors, TensorFileError> {
    let file = format::from_bytes(bytes)
        .map_err(|source| TensorFileError::Format { path: path.to_owned(), source })?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::I64 => DType::I64,
            Dtype::F16 => DType::F16,
            got => {
                let path = path.to_owned();
                return Err(TensorFileError::Type { path, name: name.to_owned(), got });
            }
        };
        let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
        let data = if dtype == DType::F16 { data.convert::<f32>() } else { data };
        tensors.insert(name.to_owned(), data);
    }
    Ok(tensors)
}
