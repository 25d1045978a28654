//! The linear layer `y = x · Wᵀ + b` and its gradients; `W` is `[out, in]` as in PyTorch.
//!
//! A head's weights are a hundred times as large as its batch, so they are read in place: the forward pass is
//! `yᵀ = W · xᵀ`, in which only the batch is packed.

use super::buffer;
use super::gemm::product;
use super::pack::Matrix;
use super::pool::{Shared, parallel_for};
use super::simd::Isa;

/// The sizes of a linear layer.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// The rows of `x` and `y`.
    pub batch: usize,
    /// The columns of `x` and of the weight.
    pub inputs: usize,
    /// The columns of `y` and rows of the weight.
    pub outputs: usize,
}

/// Writes `x · Wᵀ + b` to `y`.
pub fn forward(
    isa: Isa,
    sizes: Linear,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let Linear { batch, inputs, outputs } = sizes;
    assert_eq!(y.len(), batch * outputs, "{sizes:?}: floats of the output");
    assert!(bias.is_none_or(|bias| bias.len() == outputs), "{sizes:?}: floats of the bias");
    let mut turned = buffer::take(outputs * batch);
    let weight = Matrix::row_major(weight, outputs, inputs);
    product(isa, weight, Matrix::row_major(x, batch, inputs).transposed(), &mut turned, false);
    const SIDE: usize = 32;
    let out = Shared::new(y);
    let turned = &turned;
    parallel_for(outputs.div_ceil(SIDE), |task| {
        let columns = task * SIDE..(task * SIDE + SIDE).min(outputs);
        for n in 0..batch {
            // SAFETY: each task has its own columns.
            let y = unsafe { out.slice(n * outputs + columns.start, columns.len()) };
            for (y, o) in y.iter_mut().zip(columns.clone()) {
                *y = turned[o * batch + n] + bias.map_or(0.0, |bias| bias[o]);
            }
        }
    });
}

/// Writes the gradient with respect to `x`.
pub fn input_gradient(isa: Isa, sizes: Linear, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    let Linear { batch, inputs, outputs } = sizes;
    let dy = Matrix::row_major(dy, batch, outputs);
    product(isa, dy, Matrix::row_major(weight, outputs, inputs), dx, false);
}

/// Writes the gradient with respect to the weight.
pub fn weight_gradient(isa: Isa, sizes: Linear, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let Linear { batch, inputs, outputs } = sizes;
    let dy = Matrix::row_major(dy, batch, outputs).transposed();
    product(isa, dy, Matrix::row_major(x, batch, inputs), dweight, false);
}

/// Writes the gradient with respect to the bias: the sum of `dy` over the batch, in order.
pub fn bias_gradient(dy: &[f32], dbias: &mut [f32]) {
    dbias.fill(0.0);
    if dbias.is_empty() {
        return;
    }
    for row in dy.chunks_exact(dbias.len()) {
        dbias.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}
