//! Reconstruction of hidden patches (MAE, He et al. 2022, arXiv:2111.06377, section 3). Called by `methods/mae.rs`.
//!
//! The targets are the pixels of each patch, or with normalised pixels `(t − mean)/√(var + 1e-6)` with mean and unbiased
//! variance over all numbers of the patch. The loss is the mean over the hidden patches of the whole batch of the mean
//! squared error of a patch; patches that are seen have no part in it.

use burn::tensor::Tensor;

/// What is added to the variance of a patch.
const EPS: f64 = 1e-6;

/// Cuts images into patches, row by row; the numbers of a patch go by row, column and channel, the channel fastest.
///
/// # Shapes — `[n, channels, rows · patch, columns · patch]` to `[n, rows · columns, patch² · channels]`.
pub fn patchify(x: Tensor<4>, patch: usize) -> Tensor<3> {
    let [n, channels, height, width] = x.dims();
    let (rows, columns) = (height / patch, width / patch);
    let x: Tensor<6> = x.reshape([n, channels, rows, patch, columns, patch]);
    x.permute([0, 2, 4, 3, 5, 1]).reshape([n, rows * columns, patch * patch * channels])
}

/// Puts patches together to images: the inverse of [`patchify`], for a grid of `rows` and `columns`.
///
/// # Shapes — `[n, rows · columns, patch² · channels]` to `[n, channels, rows · patch, columns · patch]`.
pub fn unpatchify(x: Tensor<3>, patch: usize, [rows, columns]: [usize; 2]) -> Tensor<4> {
    let [n, _, numbers] = x.dims();
    let channels = numbers / (patch * patch);
    let x: Tensor<6> = x.reshape([n, rows, columns, patch, patch, channels]);
    x.permute([0, 5, 1, 3, 2, 4]).reshape([n, channels, rows * patch, columns * patch])
}

/// Normalises the numbers of each patch by their own mean and unbiased variance.
///
/// # Shapes — `[n, patches, numbers]`, unchanged.
pub fn normalised(patches: Tensor<3>) -> Tensor<3> {
    let numbers = patches.dims()[2];
    let centred = patches.clone() - patches.mean_dim(2); // [n, patches, numbers] - [n, patches, 1]
    let free = numbers.saturating_sub(1).max(1) as f64;
    let variance = centred.clone().square().sum_dim(2) / free;
    centred / (variance + EPS).sqrt()
}

/// Returns for each image the sum over its hidden patches of a patch's mean squared error, and the number of these
/// patches. `hidden` is 1 for a hidden patch and 0 for the others; there is no gradient to `target`.
///
/// # Shapes — `prediction`, `target`: `[n, patches, numbers]`; `hidden`: `[n, patches]`; returns `[n, 1]` each.
pub fn errors(prediction: Tensor<3>, target: Tensor<3>, hidden: Tensor<2>) -> [Tensor<2>; 2] {
    let [n, patches, _] = prediction.dims();
    let each = (prediction - target.detach()).square().mean_dim(2).reshape([n, patches]);
    [(each * hidden.clone()).sum_dim(1), hidden.sum_dim(1)]
}

/// Returns the mean over the hidden patches of each image, from the sums and numbers of [`errors`]. Where all images have
/// equally many, the mean over the images is [`mean_error`].
///
/// # Shapes — `[n, 1]` each; returns `[n]`.
pub fn image_errors([sums, hidden]: [Tensor<2>; 2]) -> Tensor<1> {
    (sums / hidden).squeeze_dim(1)
}

/// Returns the mean over the hidden patches of all images, from the sums and numbers of [`errors`].
///
/// # Shapes — `[n, 1]` each; returns `[1]`.
pub fn mean_error([sums, hidden]: [Tensor<2>; 2]) -> Tensor<1> {
    sums.sum() / hidden.sum()
}
