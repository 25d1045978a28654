//! Prediction of hidden patches' representations (I-JEPA, Assran et al. 2023, arXiv:2301.08243, section 3). Called by
//! `methods/ijepa.rs`.
//!
//! The targets are the teacher's patches, each normalised over its features without scale and shift; the loss is
//! `smooth_l1(z − h)`, which is `½ d²` for a difference d below 1 and `|d| − ½` above (β = 1), averaged over everything.
//!
//! Rows are ordered by target block, then by context block, then by image: the order in which a predictor that is
//! called for each target block puts out its predictions.

use burn::tensor::Tensor;

/// The ε of the targets' normalisation.
const EPS: f64 = 1e-5;

/// Normalises each token over its features, without scale and shift and without gradient.
///
/// # Shapes — `[n, tokens, dim]`, unchanged.
pub fn normalised(h: Tensor<3>) -> Tensor<3> {
    let h = h.detach();
    let centred = h.clone() - h.mean_dim(2); // [n, tokens, dim] - [n, tokens, 1]
    let variance = centred.clone().square().mean_dim(2);
    centred / (variance + EPS).sqrt()
}

/// Puts the tokens of target blocks below each other, each block once for each of `contexts` context blocks.
///
/// # Shapes — each `[n, tokens, dim]`; returns `[blocks · contexts · n, tokens, dim]`.
pub fn targets(blocks: Vec<Tensor<3>>, contexts: usize) -> Tensor<3> {
    let repeated = blocks.into_iter().flat_map(|block| std::iter::repeat_n(block, contexts));
    Tensor::cat(repeated.collect(), 0)
}

/// Returns the mean smooth L1 distance of each image's tokens from their targets, over all blocks. There is no gradient
/// to `target`.
///
/// # Shapes — `[groups · n, tokens, dim]` each; returns `[n, 1]`.
pub fn errors(z: Tensor<3>, target: Tensor<3>, groups: usize) -> Tensor<2> {
    let [rows, tokens, dim] = z.dims();
    let distance = (z - target.detach()).abs();
    let near = distance.clone().clamp_max(1.0);
    let each = near.clone() * (distance - near / 2.0);
    let each: Tensor<3> = each.reshape([groups, rows / groups, tokens * dim]);
    // [groups, n, tokens · dim] -> [groups, n, 1] -> [1, n, 1]
    each.mean_dim(2).mean_dim(0).reshape([rows / groups, 1])
}
