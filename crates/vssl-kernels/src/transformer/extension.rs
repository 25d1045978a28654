//! The operations of a transformer as an extension of Burn's back ends, and their fast implementation on Flex.
//!
//! [`super::autodiff`] adds the backward passes. As in [`crate::extension`], only `f32` tensors on Flex come
//! here.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, TensorMetadata, backend_extension};

use crate::extension::Maybe;
use crate::layout::{Dense, dense, sizes, tensor, vector};
use crate::raw::attention::{self, Attention};
use crate::raw::layer_norm::{self, Norm, Statistics};
use crate::raw::linear::Linear;
use crate::raw::rotary::{self, Rotary};
use crate::raw::rows::{self, Added, Before};
use crate::raw::simd::isa;
use crate::raw::{buffer, gelu, tall};

/// The operations of a transformer's blocks. What a result is returned with has no gradient and is for the
/// backward pass.
#[backend_extension(Flex, Autodiff)]
pub trait TransformerOps: Backend {
    /// Returns the output, and the mean and the reciprocal deviation of each row.
    fn kernel_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn kernel_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Returns the output and the logarithms of the sums of exponentials.
    fn kernel_attention(
        qkv: FloatTensor<Self>,
        tokens: usize,
        heads: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Returns the rows with queries and keys turned, or turned `back`.
    fn kernel_rotate(
        qkv: FloatTensor<Self>,
        angles: FloatTensor<Self>,
        tokens: usize,
        heads: usize,
        back: bool,
    ) -> FloatTensor<Self>;

    /// Returns the output, and the mean and the reciprocal deviation of each row.
    fn kernel_norm_linear(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Maybe<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn kernel_linear_added(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        #[extension_type] bias: Maybe<Self>,
        with_gelu: bool,
    ) -> FloatTensor<Self>;
}

/// The gradients of [`TransformerOps`], called by the backward passes only.
pub trait TransformerGradients: Backend {
    /// Returns the gradient of `x`, added to `earlier`, and those of γ and β.
    fn layer_norm_backward(
        saved: NormedRows<FloatTensor<Self>>,
        dy: FloatTensor<Self>,
        earlier: Option<FloatTensor<Self>>,
    ) -> [FloatTensor<Self>; 3];

    fn exact_gelu_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    fn attention_backward(
        qkv: FloatTensor<Self>,
        sums: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        tokens: usize,
        heads: usize,
    ) -> FloatTensor<Self>;

    /// As [`TransformerGradients::layer_norm_backward`], with `dy` behind the linear layer.
    fn norm_linear_backward(
        saved: NormedRows<FloatTensor<Self>>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        earlier: Option<FloatTensor<Self>>,
    ) -> [FloatTensor<Self>; 3];

    /// Returns the gradients of weight and bias.
    fn norm_linear_weight_gradient(
        saved: NormedRows<FloatTensor<Self>>,
        dy: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];

    /// Returns the gradient of the input of [`TransformerOps::kernel_linear_added`]; `x` is given if it went
    /// through a GELU.
    fn linear_added_input_gradient(
        x: Option<FloatTensor<Self>>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Returns the gradients of weight and bias.
    fn linear_added_weight_gradient(
        x: FloatTensor<Self>,
        with_gelu: bool,
        dy: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
}

/// Rows and their normalisation.
#[derive(Clone, Debug)]
pub struct NormedRows<T> {
    pub x: T,
    pub gamma: T,
    pub beta: T,
    /// The mean of each row.
    pub mean: T,
    /// The reciprocal deviation of each row.
    pub factor: T,
}

type FlexFloat = FloatTensor<Flex>;

impl<T> NormedRows<T> {
    fn map<U>(self, f: impl Fn(T) -> U) -> NormedRows<U> {
        let Self { x, gamma, beta, mean, factor } = self;
        let (x, gamma, beta) = (f(x), f(gamma), f(beta));
        NormedRows { x, gamma, beta, mean: f(mean), factor: f(factor) }
    }
}

impl NormedRows<Dense> {
    fn norm(&self) -> Norm<'_> {
        let of = Statistics { mean: self.mean.floats(), factor: self.factor.floats() };
        Norm { of, gamma: self.gamma.floats(), beta: self.beta.floats() }
    }
}

/// Returns the rows with their statistics.
fn normed(x: FlexFloat, gamma: FlexFloat, beta: FlexFloat, eps: f64) -> NormedRows<Dense> {
    let (x, rows) = (dense(x.clone()), sizes::<2>(&x)[0]);
    let (mut mean, mut factor) = (vec![0.0; rows], vec![0.0; rows]);
    layer_norm::statistics(isa(), x.floats(), eps as f32, &mut mean, &mut factor);
    let [mean, factor] = [mean, factor].map(|values| dense(vector(values)));
    NormedRows { x, gamma: dense(gamma), beta: dense(beta), mean, factor }
}

fn linear_sizes(x: &FlexFloat, weight: &FlexFloat) -> Linear {
    let ([batch, inputs], [outputs, _]) = (sizes(x), sizes::<2>(weight));
    Linear { batch, inputs, outputs }
}

/// Returns what a gradient of this shape is written to, and whether it is added to an earlier one there.
fn place_of_gradient(earlier: Option<FlexFloat>, like: &FlexFloat) -> (FlexFloat, bool) {
    match earlier {
        Some(earlier) => (dense(earlier).into_tensor(), true),
        None => (tensor(buffer::take(like.shape().num_elements()), like.shape()), false),
    }
}

impl TransformerOps for Flex {
    fn kernel_layer_norm(
        x: FlexFloat,
        gamma: FlexFloat,
        beta: FlexFloat,
        eps: f64,
    ) -> (FlexFloat, FlexFloat, FlexFloat) {
        let shape = x.shape();
        let rows = normed(x, gamma, beta, eps);
        let mut y = buffer::take(shape.num_elements());
        layer_norm::forward(isa(), rows.x.floats(), rows.norm(), &mut y);
        (tensor(y, shape), rows.mean.into_tensor(), rows.factor.into_tensor())
    }

    fn kernel_gelu(x: FlexFloat) -> FlexFloat {
        let shape = x.shape();
        let mut y = buffer::take(shape.num_elements());
        gelu::forward(isa(), dense(x).floats(), &mut y);
        tensor(y, shape)
    }

    fn kernel_attention(qkv: FlexFloat, tokens: usize, heads: usize) -> (FlexFloat, FlexFloat) {
        let of = attention_sizes(&qkv, tokens, heads);
        let (mut out, mut sums) = (buffer::take(of.output_size()), vec![0.0; of.rows()]);
        attention::forward(isa(), of, dense(qkv).floats(), &mut out, &mut sums);
        (tensor(out, [of.images * tokens, of.width()].into()), vector(sums))
    }

    fn kernel_rotate(
        qkv: FlexFloat,
        angles: FlexFloat,
        tokens: usize,
        heads: usize,
        back: bool,
    ) -> FlexFloat {
        let ([rows, _], [patches, size]) = (sizes::<2>(&qkv), sizes(&angles));
        let of = Rotary { images: rows / tokens, tokens, patches, heads, size };
        // The last holder of the rows turns them in place.
        let mut qkv = dense(qkv).into_tensor();
        rotary::rotate(isa(), of, dense(angles).floats(), back, qkv.storage_mut());
        qkv
    }

    fn kernel_norm_linear(
        x: FlexFloat,
        gamma: FlexFloat,
        beta: FlexFloat,
        weight: FlexFloat,
        bias: Maybe<Self>,
        eps: f64,
    ) -> (FlexFloat, FlexFloat, FlexFloat) {
        let sizes = linear_sizes(&x, &weight);
        let rows = normed(x, gamma, beta, eps);
        let (weight, bias) = (dense(weight), bias.into_option().map(dense));
        let added = Added { bias: bias.as_ref().map(|bias| bias.floats()), residual: None };
        let mut y = buffer::take(sizes.batch * sizes.outputs);
        let before = Before::Norm(rows.norm());
        rows::forward(isa(), sizes, rows.x.floats(), before, weight.floats(), added, &mut y);
        let y = tensor(y, [sizes.batch, sizes.outputs].into());
        (y, rows.mean.into_tensor(), rows.factor.into_tensor())
    }

    fn kernel_linear_added(
        x: FlexFloat,
        weight: FlexFloat,
        residual: FlexFloat,
        bias: Maybe<Self>,
        with_gelu: bool,
    ) -> FlexFloat {
        let sizes = linear_sizes(&x, &weight);
        let (x, weight, residual) = (dense(x), dense(weight), dense(residual));
        let bias = bias.into_option().map(dense);
        let added = Added {
            bias: bias.as_ref().map(|bias| bias.floats()),
            residual: Some(residual.floats()),
        };
        let mut y = buffer::take(sizes.batch * sizes.outputs);
        let before = before(with_gelu);
        rows::forward(isa(), sizes, x.floats(), before, weight.floats(), added, &mut y);
        tensor(y, [sizes.batch, sizes.outputs].into())
    }
}

fn before(with_gelu: bool) -> Before<'static> {
    if with_gelu { Before::Gelu } else { Before::Nothing }
}

fn attention_sizes(qkv: &FlexFloat, tokens: usize, heads: usize) -> Attention {
    let [rows, columns] = sizes(qkv);
    Attention { images: rows / tokens, tokens, heads, size: columns / 3 / heads }
}

/// Returns the gradients of weight and bias of a linear layer.
fn weight_gradients(x: &Dense, before: Before<'_>, dy: FlexFloat, inputs: usize) -> [FlexFloat; 2] {
    let [batch, outputs] = sizes(&dy);
    let sizes = Linear { batch, inputs, outputs };
    let (mut dweight, mut dbias) = (buffer::take(outputs * inputs), vec![0.0; outputs]);
    let (dy, sum) = (dense(dy), Some(dbias.as_mut_slice()));
    tall::weight_gradient(isa(), sizes, x.floats(), before, dy.floats(), &mut dweight, sum);
    [tensor(dweight, [outputs, inputs].into()), vector(dbias)]
}

impl TransformerGradients for Flex {
    fn layer_norm_backward(
        saved: NormedRows<FlexFloat>,
        dy: FlexFloat,
        earlier: Option<FlexFloat>,
    ) -> [FlexFloat; 3] {
        let (mut dx, accumulate) = place_of_gradient(earlier, &saved.x);
        let rows = saved.map(dense);
        let (x, dy) = (rows.x.floats(), dense(dy));
        let to = dx.storage_mut();
        let factors = layer_norm::backward(isa(), x, rows.norm(), dy.floats(), to, accumulate);
        let [dgamma, dbeta] = factors.map(vector);
        [dx, dgamma, dbeta]
    }

    fn exact_gelu_backward(x: FlexFloat, dy: FlexFloat) -> FlexFloat {
        let shape = x.shape();
        let mut dx = buffer::take(shape.num_elements());
        gelu::backward(isa(), dense(x).floats(), dense(dy).floats(), &mut dx);
        tensor(dx, shape)
    }

    fn attention_backward(
        qkv: FlexFloat,
        sums: FlexFloat,
        dy: FlexFloat,
        tokens: usize,
        heads: usize,
    ) -> FlexFloat {
        let (of, shape) = (attention_sizes(&qkv, tokens, heads), qkv.shape());
        let (qkv, sums, dy) = (dense(qkv), dense(sums), dense(dy));
        let mut dqkv = buffer::take(shape.num_elements());
        attention::backward(isa(), of, qkv.floats(), sums.floats(), dy.floats(), &mut dqkv);
        tensor(dqkv, shape)
    }

    fn norm_linear_backward(
        saved: NormedRows<FlexFloat>,
        weight: FlexFloat,
        dy: FlexFloat,
        earlier: Option<FlexFloat>,
    ) -> [FlexFloat; 3] {
        let sizes = linear_sizes(&saved.x, &weight);
        let (mut dx, accumulate) = place_of_gradient(earlier, &saved.x);
        let (rows, weight, dy) = (saved.map(dense), dense(weight), dense(dy));
        let factors = rows::normed_input_gradient(
            isa(),
            sizes,
            rows.x.floats(),
            rows.norm(),
            dy.floats(),
            weight.floats(),
            dx.storage_mut(),
            accumulate,
        );
        let [dgamma, dbeta] = factors.map(vector);
        [dx, dgamma, dbeta]
    }

    fn norm_linear_weight_gradient(saved: NormedRows<FlexFloat>, dy: FlexFloat) -> [FlexFloat; 2] {
        let inputs = sizes::<2>(&saved.x)[1];
        let rows = saved.map(dense);
        weight_gradients(&rows.x, Before::Norm(rows.norm()), dy, inputs)
    }

    fn linear_added_input_gradient(
        x: Option<FlexFloat>,
        weight: FlexFloat,
        dy: FlexFloat,
    ) -> FlexFloat {
        let ([batch, outputs], [_, inputs]) = (sizes(&dy), sizes::<2>(&weight));
        let (x, weight, dy) = (x.map(dense), dense(weight), dense(dy));
        let sizes = Linear { batch, inputs, outputs };
        let mut dx = buffer::take(batch * inputs);
        let x = x.as_ref().map(|x| x.floats());
        rows::input_gradient(isa(), sizes, dy.floats(), weight.floats(), x, &mut dx);
        tensor(dx, [batch, inputs].into())
    }

    fn linear_added_weight_gradient(
        x: FlexFloat,
        with_gelu: bool,
        dy: FlexFloat,
    ) -> [FlexFloat; 2] {
        let inputs = sizes::<2>(&x)[1];
        weight_gradients(&dense(x), before(with_gelu), dy, inputs)
    }
}
