//! The operations that newer networks have beside those of ResNets and transformers: depthwise convolution and global
//! response normalisation of ConvNeXt, the gate of SwiGLU, and the mean of neighbouring pixels of ResNet-D.

mod autodiff;
mod extension;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::choice::{accelerated, in_single};
use crate::raw::depthwise::SIDE;
use crate::reference;
use extension::ConvNextOps;

/// Convolves each channel with a filter of its own and adds a bias. The padding keeps the size of the image.
///
/// # Shapes — `x` and the result: `[n, c, h, w]`; `weight`: `[c, 1, k, k]` with an odd k; `bias`: `[c]`.
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn depthwise_conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let (c, [channels, one, rows, columns]) = (x.dims()[1], weight.dims());
    assert_eq!((channels, one), (c, 1), "depthwise_conv2d: a filter for each channel");
    assert!(
        rows == columns && rows % 2 == 1,
        "depthwise_conv2d: a filter of {rows}x{columns}, expected a square with an odd side"
    );
    assert_eq!(bias.dims(), [c], "depthwise_conv2d: a bias for each channel");
    let singles = in_single(&weight) && in_single(&bias);
    if !(accelerated(&x) && singles && rows == SIDE) || x.shape().num_elements() == 0 {
        return reference::depthwise_conv2d(x, weight, bias);
    }
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as ConvNextOps>::kernel_depthwise_conv2d(x, weight, bias))
}

/// Global response normalisation (Woo et al. 2023, arXiv:2301.00808): `x + γ·x·g/(mean(g) + ε) + β` with the norm `g`
/// of each channel over the positions of its image, and the mean over channels.
///
/// # Shapes — `x` and the result: `[images · positions, c]`; `gamma`, `beta`: `[c]`.
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn response_norm(
    x: Tensor<2>,
    images: usize,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<2> {
    let [rows, channels] = x.dims();
    assert!(
        images > 0 && rows.is_multiple_of(images),
        "response_norm: {rows} rows, expected a multiple of {images} images"
    );
    for factor in [&gamma, &beta] {
        assert_eq!(factor.dims(), [channels], "response_norm: a factor for each column");
    }
    let singles = in_single(&gamma) && in_single(&beta);
    if !(accelerated(&x) && singles) || x.shape().num_elements() == 0 {
        return reference::response_norm(x, images, gamma, beta, eps);
    }
    let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
    let (y, _) = <Dispatch as ConvNextOps>::kernel_response_norm(x, gamma, beta, images, eps);
    Tensor::from_dispatch(y)
}

/// The gate of SwiGLU (Shazeer 2020, arXiv:2002.05202): `silu(gate) · value`, `silu(x) = x / (1 + e⁻ˣ)`.
///
/// # Shapes — `[n, 2 · c]`, the gates first, to `[n, c]`.
///
/// # Panics
///
/// If the number of columns is odd.
pub fn swiglu(x: Tensor<2>) -> Tensor<2> {
    let columns = x.dims()[1];
    assert!(columns.is_multiple_of(2), "swiglu: {columns} columns, expected gates and values");
    if !accelerated(&x) || x.shape().num_elements() == 0 {
        return reference::swiglu(x);
    }
    Tensor::from_dispatch(<Dispatch as ConvNextOps>::kernel_swiglu(x.into_dispatch()))
}

/// The mean of each 2×2 pixels. A window that reaches beyond the image is the mean of the pixels inside.
///
/// # Shapes — `[n, c, h, w]` to `[n, c, ⌈h/2⌉, ⌈w/2⌉]`.
pub fn halved(x: Tensor<4>) -> Tensor<4> {
    if !accelerated(&x) || x.shape().num_elements() == 0 {
        return reference::halved(x);
    }
    Tensor::from_dispatch(<Dispatch as ConvNextOps>::kernel_halved(x.into_dispatch()))
}
