//! Tensors of other programs' files that have not been read yet. [`super::container`] finds them, and
//! [`super::read`] reads those of the encoder.

use std::{collections::BTreeMap, io, ops::Range, path::Path, sync::Arc};

use burn::tensor::{DType, TensorData};

use super::{ForeignError, storages::Storages, strided::Strided};
use crate::formats::pickle::{Id, Pickle, Value};

/// Tensors of a file by name.
pub(super) type Sources = BTreeMap<String, Source>;

/// A tensor that has not been read yet.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) shape: Vec<usize>,
    /// Type of the numbers; `None` if they are not floats.
    float: Option<DType>,
    pub(super) place: Place,
}

/// Where the numbers of a tensor lie.
#[derive(Clone)]
pub(super) enum Place {
    /// In a storage of a PyTorch file.
    Storage { storages: Arc<Storages>, key: String, view: Strided },
    /// In the pickle itself, as numpy writes arrays; `swapped` where the highest byte comes first.
    Array { pickle: Arc<Pickle>, data: Id, view: Strided, swapped: bool },
    /// In a file that is in memory.
    Bytes(Arc<Vec<u8>>, Range<usize>),
    /// In several tensors, one behind the other.
    Joined(Vec<Source>),
    /// In another tensor, of which these are some numbers.
    Part(Box<Source>, Range<usize>),
    /// Nowhere that this program knows.
    Unknown,
}

impl Source {
    pub(super) fn new(shape: Vec<usize>, float: Option<DType>, place: Place) -> Self {
        Self { shape, float, place }
    }

    /// The tensors of `parts` one below the other, if they are of one type and their rows have the same shape.
    pub(super) fn joined(parts: Vec<Self>) -> Option<Self> {
        let first = parts.first()?;
        let (float, row) = (first.float, first.shape.get(1..)?.to_vec());
        let fits = |part: &Self| part.float == float && part.shape.get(1..) == Some(&row[..]);
        let rows: usize =
            parts.iter().map(|part| part.shape.first().copied().unwrap_or_default()).sum();
        parts.iter().all(fits).then(|| {
            let shape = [&[rows][..], &row[..]].concat();
            Self::new(shape, float, Place::Joined(parts))
        })
    }

    /// A third of a vector, counted from 0.
    pub(super) fn third(&self, index: usize) -> Option<Self> {
        let &[length] = self.shape.as_slice() else { return None };
        let third = length / 3;
        let range = index * third..(index + 1) * third;
        let place = Place::Part(Box::new(self.clone()), range);
        length.is_multiple_of(3).then(|| Self::new(vec![third], self.float, place))
    }

    /// A tensor of a kind that cannot be read, such as a sparse one.
    pub(super) fn unreadable() -> Self {
        Self::unknown(Vec::new())
    }

    /// A tensor of a known shape whose numbers are of a type that cannot be read, such as floats of 8 bits.
    pub(super) fn unknown(shape: Vec<usize>) -> Self {
        Self::new(shape, None, Place::Unknown)
    }

    /// Whether the tensor is a record of a training, such as a count or the best accuracy: one number, or
    /// numbers that are not floats.
    pub(super) fn is_record(&self) -> bool {
        let one = self.shape.iter().all(|&axis| axis == 1);
        !matches!(self.place, Place::Unknown) && (one || self.float.is_none())
    }

    /// Reads the values as 32-bit floats.
    ///
    /// # Errors
    /// [`ForeignError::Damaged`] where the file ends early or a checksum is wrong,
    /// [`ForeignError::Type`] for numbers that are not floats, [`ForeignError::NotFinite`] for values that
    /// are not numbers.
    pub(super) fn read(&self, path: &Path, key: &str) -> Result<TensorData, ForeignError> {
        let Some(float) = self.float else {
            return Err(ForeignError::Type { path: path.to_owned(), key: key.to_owned() });
        };
        let bytes = self.bytes().map_err(|error| match error.raw_os_error() {
            Some(_) => ForeignError::Io { path: path.to_owned(), source: error },
            None => ForeignError::Damaged {
                path: path.to_owned(),
                problem: format!("tensor {key:?}: {error}"),
            },
        })?;
        let data = TensorData::from_bytes_vec(bytes, self.shape.clone(), float);
        let data = data.convert_dtype(DType::F32);
        let values = data.as_slice::<f32>().unwrap_or_default();
        match values.iter().filter(|value| !value.is_finite()).count() {
            0 => Ok(data),
            count => Err(ForeignError::NotFinite {
                path: path.to_owned(),
                key: key.to_owned(),
                count,
                values: values.len(),
            }),
        }
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        match &self.place {
            Place::Storage { storages, key, view } => {
                let (start, length) = view.window();
                Ok(view.gather(storages.read(key, start as u64, length as u64)?))
            }
            Place::Array { pickle, data, view, swapped } => {
                let bytes = data_of(pickle, *data).unwrap_or_default();
                let (_, length) = view.window();
                if bytes.len() != length {
                    let what = format!("{} bytes for an array of {length}", bytes.len());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                let mut bytes = view.gather(bytes);
                if *swapped && let Some(float) = self.float {
                    bytes.chunks_exact_mut(float.size()).for_each(<[u8]>::reverse);
                }
                Ok(bytes)
            }
            Place::Bytes(file, range) => Ok(file[range.clone()].to_vec()),
            Place::Joined(parts) => {
                let parts = parts.iter().map(Self::bytes).collect::<io::Result<Vec<_>>>()?;
                Ok(parts.concat())
            }
            Place::Part(whole, range) => {
                let size = whole.float.map_or(0, |float| float.size());
                let bytes = whole.bytes()?;
                let own = bytes.get(range.start * size..range.end * size);
                Ok(own.ok_or(io::ErrorKind::InvalidData)?.to_vec())
            }
            Place::Unknown => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Returns the bytes of an array. Protocols before 3 have no bytes: they write a text whose letters are the
/// bytes, and a call that encodes it.
fn data_of(pickle: &Pickle, id: Id) -> Option<Vec<u8>> {
    match pickle.get(id) {
        Value::Bytes(bytes) => Some(bytes.to_vec()),
        Value::Call(call) => {
            let arguments = pickle.elements(call.arguments)?;
            let Some(&first) = arguments.first() else { return Some(Vec::new()) };
            match pickle.get(first) {
                Value::Text(text) => text.chars().map(|letter| u8::try_from(letter).ok()).collect(),
                Value::Bytes(bytes) => Some(bytes.to_vec()),
                _ => None,
            }
        }
        _ => None,
    }
}
