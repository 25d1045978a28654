//! The operations of losses as an extension of Burn's back ends, and their fast implementation on Flex.
//!
//! [`super::autodiff`] adds the backward passes. As in [`crate::extension`], only `f32` tensors on Flex come
//! here.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, TensorMetadata, backend_extension};

use crate::layout::{Dense, dense, sizes, tensor, vector};
use crate::raw::linear::{self, Linear};
use crate::raw::pack::Matrix;
use crate::raw::simd::isa;
use crate::raw::softmax::{self, Logits};
use crate::raw::{buffer, gemm, update};

/// The operations of losses. What a result is returned with has no gradient and is for the backward pass.
#[backend_extension(Flex, Autodiff)]
pub trait LossOps: Backend {
    /// Returns the logarithms, and the two parts of each, one pair after the other.
    fn kernel_log_sum_exp(
        x: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Returns the losses, the two parts of each logarithm, one pair after the other, and the sums of the targets.
    fn kernel_cross_entropy(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Returns the softmax without gradient.
    fn kernel_softmax(x: FloatTensor<Self>, scale: f64) -> FloatTensor<Self>;

    /// Returns the sum, and `aᵀb` with zeros on its diagonal.
    fn kernel_off_diagonal_squares(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// The targets of a cross entropy and the sum of each row of them.
pub type Targets<T> = (T, T);

/// The gradients of [`LossOps`], called by the backward passes only.
pub trait LossGradients: Backend {
    /// Returns the gradient of the logits: of the cross entropy with targets, of the logarithm of the sum without.
    fn softmax_loss_backward(
        x: FloatTensor<Self>,
        sums: FloatTensor<Self>,
        targets: Option<Targets<FloatTensor<Self>>>,
        scale: f64,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Returns `2·dy·b·productᵀ`, the gradient of `a`; that of `b` with `transposed` and `a` in the place of `b`.
    fn off_diagonal_squares_backward(
        other: FloatTensor<Self>,
        product: FloatTensor<Self>,
        transposed: bool,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

type FlexFloat = FloatTensor<Flex>;

fn logits(x: &Dense, columns: usize, scale: f64) -> Logits<'_> {
    Logits { values: x.floats(), columns, scale: scale as f32 }
}

impl LossOps for Flex {
    fn kernel_log_sum_exp(x: FlexFloat, scale: f64) -> (FlexFloat, FlexFloat) {
        let [rows, columns] = sizes(&x);
        let x = dense(x);
        let mut parts = vec![0.0; 2 * rows];
        softmax::log_sum_exp(isa(), logits(&x, columns, scale), &mut parts);
        (vector(parts.chunks_exact(2).map(|parts| parts.iter().sum()).collect()), vector(parts))
    }

    fn kernel_cross_entropy(
        x: FlexFloat,
        targets: FlexFloat,
        scale: f64,
    ) -> (FlexFloat, FlexFloat, FlexFloat) {
        let [rows, columns] = sizes(&x);
        let (x, targets) = (dense(x), dense(targets));
        let [mut losses, mut sums, mut masses] = [1, 2, 1].map(|each| vec![0.0; each * rows]);
        softmax::cross_entropy(
            isa(),
            logits(&x, columns, scale),
            targets.floats(),
            &mut losses,
            &mut sums,
            &mut masses,
        );
        (vector(losses), vector(sums), vector(masses))
    }

    fn kernel_softmax(x: FlexFloat, scale: f64) -> FlexFloat {
        let shape = x.shape();
        let [_, columns] = sizes(&x);
        let x = dense(x);
        let mut y = buffer::take(x.floats().len());
        softmax::softmax(isa(), logits(&x, columns, scale), &mut y);
        tensor(y, shape)
    }

    fn kernel_off_diagonal_squares(a: FlexFloat, b: FlexFloat) -> (FlexFloat, FlexFloat) {
        let [rows, columns] = sizes(&a);
        let (a, b) = (dense(a), dense(b));
        let mut product = buffer::take(columns * columns);
        let (left, right) = (
            Matrix::row_major(a.floats(), rows, columns).transposed(),
            Matrix::row_major(b.floats(), rows, columns),
        );
        gemm::product(isa(), left, right, &mut product, false);
        product.iter_mut().step_by(columns + 1).for_each(|diagonal| *diagonal = 0.0);
        let sum = update::sum_of_squares(isa(), &product) as f32;
        (vector(vec![sum]), tensor(product, [columns, columns].into()))
    }
}

impl LossGradients for Flex {
    fn softmax_loss_backward(
        x: FlexFloat,
        sums: FlexFloat,
        targets: Option<Targets<FlexFloat>>,
        scale: f64,
        dy: FlexFloat,
    ) -> FlexFloat {
        let shape = x.shape();
        let [_, columns] = sizes(&x);
        let (x, sums, dy) = (dense(x), dense(sums), dense(dy));
        let targets = targets.map(|(targets, masses)| (dense(targets), dense(masses)));
        let targets = targets.as_ref().map(|(targets, masses)| (targets.floats(), masses.floats()));
        let mut dx = buffer::take(x.floats().len());
        let x = logits(&x, columns, scale);
        softmax::gradient(isa(), x, sums.floats(), targets, dy.floats(), &mut dx);
        tensor(dx, shape)
    }

    fn off_diagonal_squares_backward(
        other: FlexFloat,
        product: FlexFloat,
        transposed: bool,
        dy: FlexFloat,
    ) -> FlexFloat {
        let [batch, columns] = sizes(&other);
        let (other, product, dy) = (dense(other), dense(product), dense(dy));
        let factor = 2.0 * dy.floats()[0];
        let mut dx = buffer::take(batch * columns);
        let sizes = Linear { batch, inputs: columns, outputs: columns };
        match transposed {
            // other · product
            true => linear::input_gradient(isa(), sizes, other.floats(), product.floats(), &mut dx),
            // other · productᵀ
            false => linear::forward(isa(), sizes, other.floats(), product.floats(), None, &mut dx),
        }
        dx.iter_mut().for_each(|value| *value *= factor);
        tensor(dx, [batch, columns].into())
    }
}
