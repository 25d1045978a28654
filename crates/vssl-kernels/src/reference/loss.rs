//! The reference of the operations of losses: see [`crate::reference`].

use burn::tensor::{Bool, Tensor, activation};

/// See [`crate::log_sum_exp`].
pub fn log_sum_exp(x: Tensor<2>, scale: f64) -> Tensor<1> {
    let n = x.dims()[0];
    let x = x * scale;
    let largest = x.clone().detach().max_dim(1); // [n, c] -> [n, 1]
    let sum = (x - largest.clone()).exp().sum_dim(1);
    (sum.log() + largest).reshape([n])
}

/// See [`crate::cross_entropy`].
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>, scale: f64) -> Tensor<1> {
    let n = logits.dims()[0];
    -(targets.detach() * activation::log_softmax(logits * scale, 1)).sum_dim(1).reshape([n])
}

/// See [`crate::softmax`].
pub fn softmax(x: Tensor<2>, scale: f64) -> Tensor<2> {
    activation::softmax(x * scale, 1)
}

/// See [`crate::off_diagonal_squares`].
pub fn off_diagonal_squares(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let d = a.dims()[1];
    let diagonal = Tensor::<2, Bool>::diag_mask([d, d], 0, &a.device()).bool_not();
    let product = super::linear(a.transpose(), b.transpose(), None); // [d, n] -> [d, d]
    product.mask_fill(diagonal, 0.0).square().sum()
}
