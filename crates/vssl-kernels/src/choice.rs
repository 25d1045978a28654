//! Decides which tensors take a fast path. Called wherever there is a fast path beside a reference.

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Tensor};

use crate::raw::simd::{Isa, isa};

/// Returns whether operations on this tensor take the fast path, if the other tensors are [`in_single`] too.
pub(crate) fn accelerated<const D: usize>(x: &Tensor<D>) -> bool {
    in_single(x) && accelerates(&x.device())
}

/// Returns whether operations on `f32` tensors of this device take the fast path.
pub fn accelerates(device: &Device) -> bool {
    isa() != Isa::Reference
        && matches!(device.clone().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// Returns whether the tensor is in single precision: a fast path reads the memory of all its tensors as
/// floats.
pub(crate) fn in_single<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32
}
