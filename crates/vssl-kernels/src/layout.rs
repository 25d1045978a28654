//! Converts between Flex tensors and slices. Data that are channels-last in memory are used in place; other
//! data are copied once.

use burn::backend::{DType, TensorMetadata};
use burn_flex::{FlexTensor, Layout};
use burn_std::Shape;

use crate::raw::buffer::Buffer;
use crate::storage::bytes;

/// A tensor whose floats are in the required order.
pub struct Dense(FlexTensor);

/// Returns `[n, c, h, w]` as `[n, h, w, c]`, and copies it only if it is stored in another order.
pub fn channels_last(tensor: &FlexTensor) -> Dense {
    dense(tensor.permute(&[0, 2, 3, 1]))
}

/// Returns a tensor in the order of its axes, and copies it only if it is stored in another order.
pub fn dense(tensor: FlexTensor) -> Dense {
    let size = size_of_val(tensor.bytes());
    let whole = tensor.is_contiguous()
        && tensor.layout().start_offset() == 0
        && size == tensor.layout().num_elements() * size_of::<f32>();
    Dense(if whole { tensor } else { tensor.to_contiguous() })
}

impl Dense {
    /// Returns the tensor, which fills its storage.
    pub fn into_tensor(self) -> FlexTensor {
        self.0
    }

    /// Returns the floats of the tensor.
    pub fn floats(&self) -> &[f32] {
        self.0.as_slice().expect("an f32 tensor, made contiguous before")
    }
}

/// Returns the rows of a normalisation: all axes but the second, channels-last.
pub fn rows_of_channels(tensor: &FlexTensor) -> Dense {
    match tensor.shape().num_dims() {
        4 => channels_last(tensor),
        _ => dense(tensor.clone()), // [n, c] is channels-last as it is
    }
}

/// Returns the sizes `[n, c, h, w]` of a tensor of four axes.
pub fn sizes<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    tensor.shape().dims()
}

/// Makes a tensor in the order of its axes.
pub fn tensor(buffer: Buffer, shape: Shape) -> FlexTensor {
    debug_assert_eq!(buffer.len(), shape.num_elements());
    FlexTensor::new(bytes(buffer), Layout::contiguous(shape), DType::F32)
}

/// Makes a tensor `[n, c, h, w]` of floats in the order `[n, h, w, c]`.
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

/// The inverse of [`rows_of_channels`] for a tensor in that order: `[n, h, w, c]` or `[n, c]`.
pub fn images_of_rows(rows: FlexTensor) -> FlexTensor {
    match rows.shape().num_dims() {
        4 => rows.permute(&[0, 3, 1, 2]), // [n, h, w, c] -> [n, c, h, w]
        _ => rows,
    }
}

/// Makes a tensor of one axis.
pub fn vector(values: Vec<f32>) -> FlexTensor {
    let shape = Shape::new([values.len()]);
    FlexTensor::new(burn_std::Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}
