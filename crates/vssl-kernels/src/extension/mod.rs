//! The operations as an extension of Burn's back ends; [`forward`] and [`backward`] are their fast implementation on
//! Flex.
//!
//! [`crate::autodiff`] adds the backward passes. The callers, in `lib.rs`, make sure that only `f32` tensors
//! on Flex come here; their layouts may differ.

mod backward;
mod forward;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType, Flex, backend_extension};

use crate::joint::AcrossRanks;
use crate::raw::norm::Rectifier;

/// An input that may be absent.
#[derive(ExtensionType)]
pub enum Maybe<B: Backend> {
    Given(FloatTensor<B>),
    Missing,
}

impl<B: Backend> Maybe<B> {
    pub fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Maybe::Given(tensor) => Some(tensor),
            Maybe::Missing => None,
        }
    }
}

impl<B: Backend> From<Option<FloatTensor<B>>> for Maybe<B> {
    fn from(tensor: Option<FloatTensor<B>>) -> Self {
        tensor.map_or(Maybe::Missing, Maybe::Given)
    }
}

/// The operations of the training step. Images are `[n, c, h, w]`, preferably channels-last in memory.
#[backend_extension(Flex, Autodiff)]
pub trait KernelOps: Backend {
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self>;

    /// Returns the output, the mean and the biased variance; the last two have no gradient.
    fn kernel_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        #[extension_type] residual: Maybe<Self>,
        rectifier: Rectifier,
        eps: f64,
        ranks: AcrossRanks,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Returns `rectifier((x − centre) · scale + shift (+ residual))` without gradient.
    fn kernel_affine(
        x: FloatTensor<Self>,
        centre: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        #[extension_type] residual: Maybe<Self>,
        rectifier: Rectifier,
    ) -> FloatTensor<Self>;

    /// Returns `x + bias (+ residual)`, with a bias for each channel.
    fn kernel_add_bias(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        #[extension_type] residual: Maybe<Self>,
    ) -> FloatTensor<Self>;

    fn kernel_max_pool2d(
        x: FloatTensor<Self>,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self>;

    fn kernel_average_pool(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn kernel_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Maybe<Self>,
    ) -> FloatTensor<Self>;
}

/// The gradients of [`KernelOps`], called by the backward passes only.
pub trait KernelGradients: Backend {
    /// Returns the gradient of an input of `size`, rows and columns, added to an `earlier` gradient of it.
    fn conv2d_input_gradient(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        earlier: Option<FloatTensor<Self>>,
        size: [usize; 2],
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self>;

    /// Returns the gradient of a weight with filters of `kernel`, rows and columns.
    fn conv2d_weight_gradient(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        kernel: [usize; 2],
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self>;

    /// Returns the output of a normalisation without a residual again, with the same bits.
    fn batch_norm_again(saved: &NormSaved<FloatTensor<Self>>) -> FloatTensor<Self>;

    /// Returns the gradients. `y` is the output, which is needed if there was a residual before the rectifier.
    fn batch_norm_backward(
        saved: NormSaved<FloatTensor<Self>>,
        y: Option<FloatTensor<Self>>,
        dy: FloatTensor<Self>,
        residual: bool,
    ) -> NormGradients<FloatTensor<Self>>;

    /// Returns the sum over all pixels of each channel.
    fn sum_of_pixels(dy: FloatTensor<Self>) -> FloatTensor<Self>;

    fn max_pool2d_backward(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self>;

    fn average_pool_backward(dy: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self>;

    fn linear_input_gradient(dy: FloatTensor<Self>, weight: FloatTensor<Self>)
    -> FloatTensor<Self>;

    fn linear_weight_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    fn linear_bias_gradient(dy: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Returns `value + other`, of two images or two matrices of rows.
    fn sum_of_images(value: FloatTensor<Self>, other: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The values of the forward pass that the backward pass of batch normalisation needs.
#[derive(Clone, Debug)]
pub struct NormSaved<T> {
    pub x: T,
    pub gamma: T,
    pub beta: T,
    pub mean: T,
    pub variance: T,
    pub eps: f64,
    pub rectifier: Rectifier,
    /// The processes that hold the other rows of the batch.
    pub ranks: AcrossRanks,
}

/// The results of the backward pass of batch normalisation.
pub struct NormGradients<T> {
    pub x: T,
    pub gamma: T,
    pub beta: T,
    /// The gradient behind the rectifier, if it was asked for.
    pub residual: Option<T>,
}

type FlexFloat = FloatTensor<Flex>;
