//! Between Flex tensors and slices: what lies channels-last in memory is used where it is, all
//! else is copied once.

use burn::backend::{DType, TensorMetadata};
use burn_flex::{FlexTensor, Layout};
use burn_std::Shape;

use crate::raw::buffer::Buffer;
use crate::storage::bytes;

/// A tensor whose floats are in the order asked for.
pub struct Dense(FlexTensor);

/// `[n, c, h, w]` as `[n, h, w, c]`, copied only if it lies otherwise.
pub fn channels_last(tensor: &FlexTensor) -> Dense {
    dense(tensor.permute(&[0, 2, 3, 1]))
}

/// In the order of its axes, copied only if it lies otherwise.
pub fn dense(tensor: FlexTensor) -> Dense {
    let size = size_of_val(tensor.bytes());
    let whole = tensor.is_contiguous()
        && tensor.layout().start_offset() == 0
        && size == tensor.layout().num_elements() * size_of::<f32>();
    Dense(if whole { tensor } else { tensor.to_contiguous() })
}

impl Dense {
    /// The tensor, which fills its storage.
    pub fn into_tensor(self) -> FlexTensor {
        self.0
    }

    /// Its floats.
    pub fn floats(&self) -> &[f32] {
        self.0.as_slice().expect("an f32 tensor, made contiguous before")
    }
}

/// The rows of a normalisation: all axes but the second, channels-last.
pub fn rows_of_channels(tensor: &FlexTensor) -> Dense {
    match tensor.shape().num_dims() {
        4 => channels_last(tensor),
        _ => dense(tensor.clone()), // [n, c] is channels-last as it is
    }
}

/// The sizes `[n, c, h, w]` of a tensor of four axes.
pub fn sizes<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    tensor.shape().dims()
}

/// A tensor in the order of its axes.
pub fn tensor(buffer: Buffer, shape: Shape) -> FlexTensor {
    debug_assert_eq!(buffer.len(), shape.num_elements());
    FlexTensor::new(bytes(buffer), Layout::contiguous(shape), DType::F32)
}

/// A tensor `[n, c, h, w]` of floats in the order `[n, h, w, c]`.
pub fn channels_last_tensor(buffer: Buffer, [n, c, h, w]: [usize; 4]) -> FlexTensor {
    tensor(buffer, Shape::new([n, h, w, c])).permute(&[0, 3, 1, 2])
}

/// The inverse of [`rows_of_channels`] for a result of the same shape as `like`.
pub fn from_rows_of_channels(buffer: Buffer, like: &FlexTensor) -> FlexTensor {
    match like.shape().num_dims() {
        4 => channels_last_tensor(buffer, sizes(like)),
        _ => tensor(buffer, like.shape()),
    }
}

/// A tensor of one axis.
pub fn vector(values: Vec<f32>) -> FlexTensor {
    let shape = Shape::new([values.len()]);
    FlexTensor::new(burn_std::Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}
