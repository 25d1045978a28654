//! The operations of a network that is only used: convolutions with their normalisation folded in, and
//! memory that is used again. [`crate::raw::inference`] has the equations. None of them has a gradient.

use std::sync::{Arc, OnceLock};

use burn::backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor, TensorData};

use crate::autodiff::constant;
use crate::choice::{accelerated, in_single};
use crate::extension::Maybe;
use crate::layout::{
    channels_last, channels_last_tensor, dense, from_rows_of_channels, rows_of_channels, sizes,
};
use crate::raw::buffer;
use crate::raw::inference::{self, Epilogue, Packed};
use crate::raw::norm::Rectifier;
use crate::raw::shape::Conv;
use crate::raw::simd::isa;
use crate::{reference, storage};

/// A convolution of a network that is only used, with all that follows it:
/// `activation(x ∗ (scale · weight) + shift + residual)`.
#[derive(Clone, Debug)]
pub struct FoldedConv {
    weight: Tensor<4>,
    /// The scale and the shift of each output channel.
    factors: [Tensor<1>; 2],
    plan: Plan,
}

/// What a convolution does, and its packed weight.
#[derive(Clone, Debug)]
pub struct Plan {
    stride: usize,
    padding: usize,
    activation: Rectifier,
    /// `None` if the weight is packed anew at every use.
    packed: Option<Arc<OnceLock<Packed>>>,
}

impl FoldedConv {
    /// Makes a convolution. If `keep`, the weight is packed once, at the first use; that takes up to five times
    /// the memory of the weight. Otherwise it is packed at every use.
    ///
    /// # Shapes — `weight`: `[k, c, r, s]`; `factors`, the scale and the shift: `[k]`.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit each other.
    pub fn new(
        weight: Tensor<4>,
        factors: [Tensor<1>; 2],
        stride: usize,
        padding: usize,
        activation: Rectifier,
        keep: bool,
    ) -> Self {
        let outputs = weight.dims()[0];
        for factor in &factors {
            assert_eq!(factor.dims(), [outputs], "folded convolution: a factor for each channel");
        }
        let packed = keep.then(Arc::default);
        let factors = factors.map(Tensor::detach);
        Self {
            weight: weight.detach(),
            factors,
            plan: Plan { stride, padding, activation, packed },
        }
    }

    /// Returns the output, without gradient.
    ///
    /// # Shapes — `x`: `[n, c, h, w]`; `residual` and the result: `[n, k, h', w']`, as
    /// [`conv2d`](crate::conv2d) has it.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit each other.
    pub fn forward(&self, x: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
        let (x, residual) = (x.detach(), residual.map(Tensor::detach));
        let (weight, [scale, shift]) = (self.weight.clone(), self.factors.clone());
        let Plan { stride, padding, activation, .. } = self.plan;
        let ([n, c, h, w], [k, channels, r, s]) = (x.dims(), weight.dims());
        assert_eq!(c, channels, "folded convolution: channels of the image and of the weight");
        assert!(
            stride > 0 && r <= h + 2 * padding && s <= w + 2 * padding,
            "folded convolution: a filter of {r}x{s} must fit the image of {h}x{w} with padding {padding}"
        );
        if let Some(residual) = &residual {
            let side = |size: usize, filter: usize| (size + 2 * padding - filter) / stride + 1;
            let shape = [n, k, side(h, r), side(w, s)];
            assert_eq!(residual.dims(), shape, "folded convolution: shape of the residual");
        }
        let single = in_single(&weight) && [&scale, &shift].into_iter().all(in_single);
        if !(accelerated(&x) && single && residual.iter().all(in_single)) {
            let factors = [scale, shift];
            return reference::folded_conv2d(
                x, weight, factors, residual, activation, stride, padding,
            );
        }
        Tensor::from_dispatch(<Dispatch as InferenceOps>::folded_conv2d(
            x.into_dispatch(),
            weight.into_dispatch(),
            scale.into_dispatch(),
            shift.into_dispatch(),
            residual.map(Tensor::into_dispatch).into(),
            self.plan.clone(),
        ))
    }
}

/// Returns `activation(scale · x + shift)` without gradient.
///
/// # Shapes — `x` and the result: `[n, c, h, w]`; `factors`, the scale and the shift: `[c]`.
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn affine(x: Tensor<4>, factors: [Tensor<1>; 2], activation: Rectifier) -> Tensor<4> {
    for factor in &factors {
        assert_eq!(factor.dims(), [x.dims()[1]], "affine map: a factor for each channel");
    }
    let (x, factors) = (x.detach(), factors.map(Tensor::detach));
    if !(accelerated(&x) && factors.iter().all(in_single)) || x.shape().num_elements() == 0 {
        return reference::affine(x, factors, activation);
    }
    let [scale, shift] = factors.map(Tensor::into_dispatch);
    let x = x.into_dispatch();
    Tensor::from_dispatch(<Dispatch as InferenceOps>::affine(x, scale, shift, activation))
}

/// Returns a copy of `values` in memory that a dropped tensor left behind: the pages of a fresh allocation
/// cost more than the copy.
///
/// # Panics
///
/// If the shape has another number of values.
pub fn in_recycled_memory<const D: usize>(values: &[f32], shape: [usize; D]) -> TensorData {
    assert_eq!(values.len(), shape.iter().product::<usize>(), "values of the shape {shape:?}");
    let mut copy = buffer::take_any(values.len());
    copy.copy_from_slice(values);
    TensorData::from_bytes(storage::bytes(copy), shape, DType::F32)
}

/// Returns `values` as data whose memory a tensor on the host uses in place; `give_back` gets the memory when
/// the tensor is dropped.
///
/// # Panics
///
/// If the shape has another number of values.
pub fn in_lent_memory<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    give_back: impl FnOnce(Vec<f32>) + Send + Sync + 'static,
) -> TensorData {
    assert_eq!(values.len(), shape.iter().product::<usize>(), "values of the shape {shape:?}");
    TensorData::from_bytes(storage::lent(values, give_back), shape, DType::F32)
}

/// The operations as an extension of Burn's back ends.
#[backend_extension(Flex, Autodiff)]
pub trait InferenceOps: Backend {
    /// See [`FoldedConv::forward`].
    fn folded_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        #[extension_type] residual: Maybe<Self>,
        plan: Plan,
    ) -> FloatTensor<Self>;

    /// See [`affine`].
    fn affine(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        activation: Rectifier,
    ) -> FloatTensor<Self>;
}

type FlexFloat = FloatTensor<Flex>;

impl InferenceOps for Flex {
    fn folded_conv2d(
        x: FlexFloat,
        weight: FlexFloat,
        scale: FlexFloat,
        shift: FlexFloat,
        residual: Maybe<Self>,
        plan: Plan,
    ) -> FlexFloat {
        let [batch, in_channels, height, width] = sizes(&x);
        let [out_channels, _, r, s] = sizes(&weight);
        let Plan { stride, padding, activation, packed } = plan;
        let kernel = (r, s);
        let conv =
            Conv { batch, height, width, in_channels, out_channels, kernel, stride, padding };
        let (x, weight, scale, shift) =
            (channels_last(&x), dense(weight), dense(scale), dense(shift));
        let pack = || Packed::new(isa(), &conv, weight.floats(), scale.floats());
        let kept = packed.as_ref().map(|packed| packed.get_or_init(pack));
        let own;
        let packed = match kept.filter(|packed| packed.fits(isa(), &conv)) {
            Some(packed) => packed,
            None => {
                own = pack();
                &own
            }
        };
        let shape = [batch, out_channels, conv.out_height(), conv.out_width()];
        let epilogue = |residual| Epilogue { shift: shift.floats(), residual, activation };
        if let Some(images) = residual.into_option() {
            let mut y = channels_last(&images).into_tensor();
            drop(images); // the last holder of `y` writes in place
            inference::forward(packed, &conv, x.floats(), epilogue(true), y.storage_mut());
            return y.permute(&[0, 3, 1, 2]); // [n, h, w, c] -> [n, c, h, w]
        }
        let mut y = buffer::take_any(conv.output_size());
        inference::forward(packed, &conv, x.floats(), epilogue(false), &mut y);
        channels_last_tensor(y, shape)
    }

    fn affine(
        x: FlexFloat,
        scale: FlexFloat,
        shift: FlexFloat,
        activation: Rectifier,
    ) -> FlexFloat {
        let (rows, scale, shift) = (rows_of_channels(&x), dense(scale), dense(shift));
        let mut y = buffer::take_any(rows.floats().len());
        inference::affine(isa(), rows.floats(), scale.floats(), shift.floats(), activation, &mut y);
        from_rows_of_channels(y, &x)
    }
}

impl<B: InferenceOps, C: CheckpointStrategy> InferenceOps for Autodiff<B, C> {
    fn folded_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        residual: Maybe<Self>,
        plan: Plan,
    ) -> FloatTensor<Self> {
        let residual = residual.into_option().map(|residual| residual.into_primitive());
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let (scale, shift) = (scale.into_primitive(), shift.into_primitive());
        constant::<B, C>(B::folded_conv2d(x, weight, scale, shift, residual.into(), plan))
    }

    fn affine(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        activation: Rectifier,
    ) -> FloatTensor<Self> {
        let (scale, shift) = (scale.into_primitive(), shift.into_primitive());
        constant::<B, C>(B::affine(x.into_primitive(), scale, shift, activation))
    }
}
