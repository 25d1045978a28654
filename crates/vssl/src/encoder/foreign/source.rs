//! Reads named tensors from files of other programs: PyTorch pickles and safetensors.
//!
//! A pickle is read as data; no code in it is run. Names are the paths through its dictionaries
//! (`state_dict.backbone.conv1.weight`). Called by [`super::read`].

use std::{collections::BTreeMap, fs, io::Read as _, ops::Range, path::Path, sync::Arc};

use burn::tensor::{DType, TensorData};
use pytorch_reader::{PytorchError, PytorchReader};
use safetensors::Dtype;

use super::ForeignError;
use crate::formats::safetensors as format;

/// Tensors of a file by name.
pub(super) type Sources = BTreeMap<String, Source>;

/// A tensor that has not been read yet.
pub(super) struct Source {
    pub(super) shape: Vec<usize>,
    /// Type of the numbers; `None` if they are not floats.
    float: Option<DType>,
    place: Place,
}

enum Place {
    Pickle(pytorch_reader::Tensor),
    Bytes(Arc<Vec<u8>>, Range<usize>),
}

impl Source {
    /// Reads the values as 32-bit floats.
    ///
    /// # Errors
    /// [`ForeignError::Damaged`] where the file ends early or a checksum is wrong,
    /// [`ForeignError::Type`] for numbers that are not floats.
    pub(super) fn read(&self, path: &Path, key: &str) -> Result<TensorData, ForeignError> {
        let Some(float) = self.float else {
            return Err(ForeignError::Type { path: path.to_owned(), key: key.to_owned() });
        };
        let bytes = match &self.place {
            Place::Pickle(tensor) => tensor.read().map_err(|error| damaged(path, &error))?,
            Place::Bytes(file, range) => file[range.clone()].to_vec(),
        };
        let data = TensorData::from_bytes_vec(bytes, self.shape.clone(), float);
        Ok(data.convert_dtype(DType::F32))
    }
}

/// Lists the tensors of `path`. The content decides the format, not the file's name.
///
/// # Errors
/// A file that cannot be read, is cut short, or is neither format.
pub(super) fn open(path: &Path) -> Result<Sources, ForeignError> {
    let io = |source| ForeignError::Io { path: path.to_owned(), source };
    let mut start = [0; 9];
    let mut file = fs::File::open(path).map_err(io)?;
    if path.is_dir() {
        return Err(damaged(path, &"a folder; a run folder is read without an import"));
    }
    let whole = file.read_exact(&mut start).is_ok();
    // A safetensors file begins with the length of its header, then the header's brace.
    if whole && start[8] == b'{' && start[4..8] == [0; 4] {
        return safetensors(path, fs::read(path).map_err(io)?);
    }
    let reader = PytorchReader::new(path).map_err(|error| match error {
        PytorchError::Io(source) if source.raw_os_error().is_some() => io(source),
        error => damaged(path, &error),
    })?;
    let sources = reader.into_tensors().into_iter().map(|(name, tensor)| {
        use pytorch_reader::DType as Type;
        let float = match tensor.dtype() {
            Type::F64 => Some(DType::F64),
            Type::F32 => Some(DType::F32),
            Type::F16 => Some(DType::F16),
            Type::BF16 => Some(DType::BF16),
            _ => None,
        };
        (name, Source { shape: tensor.shape().to_vec(), float, place: Place::Pickle(tensor) })
    });
    Ok(sources.collect())
}

fn safetensors(path: &Path, bytes: Vec<u8>) -> Result<Sources, ForeignError> {
    let bytes = Arc::new(bytes);
    let file = format::from_bytes(&bytes).map_err(|error| damaged(path, &error))?;
    let base = bytes.as_ptr().addr();
    let sources = file.iter().map(|(name, view)| {
        let float = match view.dtype() {
            Dtype::F64 => Some(DType::F64),
            Dtype::F32 => Some(DType::F32),
            Dtype::F16 => Some(DType::F16),
            Dtype::BF16 => Some(DType::BF16),
            _ => None,
        };
        let start = view.data().as_ptr().addr() - base;
        let place = Place::Bytes(Arc::clone(&bytes), start..start + view.data().len());
        (name.to_owned(), Source { shape: view.shape().to_vec(), float, place })
    });
    Ok(sources.collect())
}

fn damaged(path: &Path, problem: &dyn ToString) -> ForeignError {
    ForeignError::Damaged { path: path.to_owned(), problem: problem.to_string() }
}
