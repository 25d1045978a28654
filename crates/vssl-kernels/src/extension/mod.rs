//! The operations as an extension of Burn's back ends, and their fast implementation on Flex.
//!
//! [`crate::autodiff`] adds the backward passes. The callers, in `lib.rs`, make sure that only `f32` tensors
//! on Flex come here; their layouts may differ.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType, Flex, TensorMetadata, backend_extension};

use crate::joint::AcrossRanks;
use crate::layout::{
    Dense, channels_last, channels_last_tensor, dense, from_rows_of_channels, images_of_rows,
    rows_of_channels, sizes, tensor, vector,
};
use crate::raw::linear::{self, Linear};
use crate::raw::norm::Rectifier;
use crate::raw::norm_backward::Gate;
use crate::raw::pooling::{self, MaxPool};
use crate::raw::shape::Conv;
use crate::raw::simd::isa;
use crate::raw::{buffer, conv, norm, norm_backward, update};

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

fn max_pool(x: &FlexFloat, kernel: usize, stride: usize, padding: usize) -> MaxPool {
    let [batch, channels, height, width] = sizes(x);
    MaxPool { batch, height, width, channels, kernel, stride, padding }
}

/// Returns `γ / √(σ² + ε)` of each channel.
fn norm_scale(gamma: &[f32], variance: &[f32], eps: f64) -> Vec<f32> {
    let factor = |(gamma, variance): (&f32, &f32)| {
        (f64::from(*gamma) / (f64::from(*variance) + eps).sqrt()) as f32
    };
    gamma.iter().zip(variance).map(factor).collect()
}

impl KernelOps for Flex {
    fn kernel_conv2d(x: FlexFloat, weight: FlexFloat, stride: usize, padding: usize) -> FlexFloat {
        let [batch, in_channels, height, width] = sizes(&x);
        let [out_channels, _, r, s] = sizes(&weight);
        let kernel = (r, s);
        let conv =
            Conv { batch, height, width, in_channels, out_channels, kernel, stride, padding };
        let (x, weight) = (channels_last(&x), dense(weight));
        let mut y = buffer::take(conv.output_size());
        conv::forward(isa(), &conv, x.floats(), weight.floats(), &mut y);
        channels_last_tensor(y, [batch, out_channels, conv.out_height(), conv.out_width()])
    }

    fn kernel_batch_norm(
        x: FlexFloat,
        gamma: FlexFloat,
        beta: FlexFloat,
        residual: Maybe<Self>,
        rectifier: Rectifier,
        eps: f64,
        ranks: AcrossRanks,
    ) -> (FlexFloat, FlexFloat, FlexFloat) {
        let channels = sizes::<1>(&gamma)[0];
        let (rows, gamma, beta) = (rows_of_channels(&x), dense(gamma), dense(beta));
        let residual = residual.into_option();
        let residual = residual.as_ref().map(rows_of_channels);
        let moments = norm::moments(isa(), rows.floats(), channels);
        let moments = ranks.moments(moments, rows.floats().len() / channels);
        let scale = norm_scale(gamma.floats(), &moments.variance, eps);
        let mut y = buffer::take(rows.floats().len());
        norm::apply(
            isa(),
            rows.floats(),
            &moments.mean,
            &scale,
            beta.floats(),
            residual.as_ref().map(|residual| residual.floats()),
            rectifier,
            &mut y,
        );
        (from_rows_of_channels(y, &x), vector(moments.mean), vector(moments.variance))
    }

    fn kernel_affine(
        x: FlexFloat,
        centre: FlexFloat,
        scale: FlexFloat,
        shift: FlexFloat,
        residual: Maybe<Self>,
        rectifier: Rectifier,
    ) -> FlexFloat {
        let rows = rows_of_channels(&x);
        let residual = residual.into_option();
        let residual = residual.as_ref().map(rows_of_channels);
        let mut y = buffer::take(rows.floats().len());
        norm::apply(
            isa(),
            rows.floats(),
            dense(centre).floats(),
            dense(scale).floats(),
            dense(shift).floats(),
            residual.as_ref().map(|residual| residual.floats()),
            rectifier,
            &mut y,
        );
        from_rows_of_channels(y, &x)
    }

    fn kernel_add_bias(x: FlexFloat, bias: FlexFloat, residual: Maybe<Self>) -> FlexFloat {
        let channels = sizes::<1>(&bias)[0];
        let (rows, residual) = (rows_of_channels(&x), residual.into_option());
        let residual = residual.as_ref().map(rows_of_channels);
        let mut y = buffer::take(rows.floats().len());
        norm::apply(
            isa(),
            rows.floats(),
            &vec![0.0; channels],
            &vec![1.0; channels],
            dense(bias).floats(),
            residual.as_ref().map(|residual| residual.floats()),
            Rectifier::None,
            &mut y,
        );
        from_rows_of_channels(y, &x)
    }

    fn kernel_max_pool2d(x: FlexFloat, kernel: usize, stride: usize, padding: usize) -> FlexFloat {
        let pool = max_pool(&x, kernel, stride, padding);
        let shape = [pool.batch, pool.channels, pool.out_height(), pool.out_width()];
        let mut y = buffer::take(shape.iter().product());
        pooling::max_pool(isa(), &pool, channels_last(&x).floats(), &mut y);
        channels_last_tensor(y, shape)
    }

    fn kernel_average_pool(x: FlexFloat) -> FlexFloat {
        let [n, c, ..] = sizes::<4>(&x);
        let mut y = buffer::take(n * c);
        pooling::average(channels_last(&x).floats(), n, c, &mut y);
        tensor(y, [n, c].into())
    }

    fn kernel_linear(x: FlexFloat, weight: FlexFloat, bias: Maybe<Self>) -> FlexFloat {
        let ([batch, inputs], [outputs, _]) = (sizes(&x), sizes::<2>(&weight));
        let (x, weight, bias) = (dense(x), dense(weight), bias.into_option());
        let bias = bias.map(dense);
        let bias = bias.as_ref().map(|bias| bias.floats());
        let mut y = buffer::take(batch * outputs);
        let sizes = Linear { batch, inputs, outputs };
        linear::forward(isa(), sizes, x.floats(), weight.floats(), bias, &mut y);
        tensor(y, [batch, outputs].into())
    }
}

impl KernelGradients for Flex {
    fn conv2d_input_gradient(
        dy: FlexFloat,
        weight: FlexFloat,
        earlier: Option<FlexFloat>,
        [height, width]: [usize; 2],
        stride: usize,
        padding: usize,
    ) -> FlexFloat {
        let batch = sizes::<4>(&dy)[0];
        let [out_channels, in_channels, r, s] = sizes(&weight);
        let kernel = (r, s);
        let conv =
            Conv { batch, height, width, in_channels, out_channels, kernel, stride, padding };
        let (dy, weight) = (channels_last(&dy), dense(weight));
        let (dy, weight) = (dy.floats(), weight.floats());
        if let Some(images) = earlier {
            let mut dx = channels_last(&images).into_tensor();
            drop(images); // the last holder of `dx` writes in place
            conv::input_gradient(isa(), &conv, dy, weight, dx.storage_mut(), true);
            return dx.permute(&[0, 3, 1, 2]); // [n, h, w, c] -> [n, c, h, w]
        }
        let mut dx = buffer::take(conv.input_size());
        conv::input_gradient(isa(), &conv, dy, weight, &mut dx, false);
        channels_last_tensor(dx, [batch, in_channels, height, width])
    }

    fn conv2d_weight_gradient(
        x: FlexFloat,
        dy: FlexFloat,
        [r, s]: [usize; 2],
        stride: usize,
        padding: usize,
    ) -> FlexFloat {
        let [batch, in_channels, height, width] = sizes(&x);
        let out_channels = sizes::<4>(&dy)[1];
        let kernel = (r, s);
        let conv =
            Conv { batch, height, width, in_channels, out_channels, kernel, stride, padding };
        let (x, dy) = (channels_last(&x), channels_last(&dy));
        let mut dweight = buffer::take(conv.weight_size());
        conv::weight_gradient(isa(), &conv, x.floats(), dy.floats(), &mut dweight);
        tensor(dweight, [out_channels, in_channels, r, s].into())
    }

    fn batch_norm_again(saved: &NormSaved<FlexFloat>) -> FlexFloat {
        let NormSaved { x, gamma, beta, mean, variance, eps, rectifier, .. } = saved;
        let rows = rows_of_channels(x);
        let [gamma, beta, mean, variance] =
            [gamma, beta, mean, variance].map(|values| dense(values.clone()));
        let mut y = buffer::take(rows.floats().len());
        norm::apply(
            isa(),
            rows.floats(),
            mean.floats(),
            &norm_scale(gamma.floats(), variance.floats(), *eps),
            beta.floats(),
            None,
            *rectifier,
            &mut y,
        );
        from_rows_of_channels(y, x)
    }

    fn batch_norm_backward(
        saved: NormSaved<FlexFloat>,
        y: Option<FlexFloat>,
        dy: FlexFloat,
        residual: bool,
    ) -> NormGradients<FlexFloat> {
        let NormSaved { x, gamma, beta, mean, variance, rectifier, ranks, eps } = saved;
        let y = y.as_ref().map(rows_of_channels);
        let (rows, gradient) = (rows_of_channels(&x), rows_of_channels(&dy));
        drop((x, dy)); // the last holder of a tensor replaces it
        let [gamma, beta, mean, variance] =
            [gamma, beta, mean, variance].map(|values| dense(values.clone()));
        let scale = norm_scale(gamma.floats(), variance.floats(), eps);
        let given = norm_backward::Backward {
            x: &[],
            dy: &[],
            gate: match (rectifier, &y) {
                (Rectifier::None, _) => Gate::Open,
                (_, Some(y)) => Gate::Output(y.floats()),
                (_, None) => Gate::Input { scale: &scale, shift: beta.floats() },
            },
            slope: if let Rectifier::Leaky(slope) = rectifier { slope } else { 0.0 },
            gamma: gamma.floats(),
            mean: mean.floats(),
            variance: variance.floats(),
            eps,
            residual,
        };
        match residual {
            true => gradients_with_residual(&given, rows, gradient.into_tensor(), &ranks),
            false => gradients_in_place(&given, rows, gradient, &ranks),
        }
    }

    fn sum_of_pixels(dy: FlexFloat) -> FlexFloat {
        let channels = dy.shape()[1];
        let (rows, zeros) = (rows_of_channels(&dy), vec![0.0; channels]);
        let given = norm_backward::Backward {
            x: rows.floats(),
            dy: rows.floats(),
            gate: Gate::Open,
            slope: 0.0,
            gamma: &zeros,
            mean: &zeros,
            variance: &zeros,
            eps: 0.0,
            residual: false,
        };
        let [sums, _] = norm_backward::sums(isa(), &given);
        vector(sums.into_iter().map(|sum| sum as f32).collect())
    }

    fn max_pool2d_backward(
        x: FlexFloat,
        dy: FlexFloat,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> FlexFloat {
        let pool = max_pool(&x, kernel, stride, padding);
        let (rows, dy) = (channels_last(&x), channels_last(&dy));
        let mut dx = buffer::take(rows.floats().len());
        pooling::max_pool_gradient(isa(), &pool, rows.floats(), dy.floats(), &mut dx);
        from_rows_of_channels(dx, &x)
    }

    fn average_pool_backward(dy: FlexFloat, [h, w]: [usize; 2]) -> FlexFloat {
        let [n, c] = sizes(&dy);
        let mut dx = buffer::take(n * c * h * w);
        pooling::average_gradient(dense(dy).floats(), n, c, &mut dx);
        channels_last_tensor(dx, [n, c, h, w])
    }

    fn linear_input_gradient(dy: FlexFloat, weight: FlexFloat) -> FlexFloat {
        let ([batch, outputs], [_, inputs]) = (sizes(&dy), sizes::<2>(&weight));
        let (dy, weight) = (dense(dy), dense(weight));
        let mut dx = buffer::take(batch * inputs);
        let sizes = Linear { batch, inputs, outputs };
        linear::input_gradient(isa(), sizes, dy.floats(), weight.floats(), &mut dx);
        tensor(dx, [batch, inputs].into())
    }

    fn linear_weight_gradient(x: FlexFloat, dy: FlexFloat) -> FlexFloat {
        let ([batch, inputs], [_, outputs]) = (sizes(&x), sizes::<2>(&dy));
        let (x, dy) = (dense(x), dense(dy));
        let mut dweight = buffer::take(outputs * inputs);
        let sizes = Linear { batch, inputs, outputs };
        linear::weight_gradient(isa(), sizes, x.floats(), dy.floats(), &mut dweight);
        tensor(dweight, [outputs, inputs].into())
    }

    fn linear_bias_gradient(dy: FlexFloat) -> FlexFloat {
        let outputs = sizes::<2>(&dy)[1];
        let mut dbias = buffer::take(outputs);
        linear::bias_gradient(dense(dy).floats(), &mut dbias);
        tensor(dbias, [outputs].into())
    }

    fn sum_of_images(value: FlexFloat, other: FlexFloat) -> FlexFloat {
        let (mut sum, other) = (rows_of_channels(&value).into_tensor(), rows_of_channels(&other));
        drop(value); // the last holder of `sum` writes in place
        update::add(isa(), sum.storage_mut(), other.floats());
        images_of_rows(sum)
    }
}

/// Returns the gradients of a normalisation: that of the input replaces that of the output, whose last holder this
/// is, or else has memory of its own.
fn gradients_in_place(
    given: &norm_backward::Backward<'_>,
    rows: Dense,
    gradient: Dense,
    ranks: &AcrossRanks,
) -> NormGradients<FlexFloat> {
    let given = norm_backward::Backward { x: rows.floats(), ..*given };
    let own =
        norm_backward::sums(isa(), &norm_backward::Backward { dy: gradient.floats(), ..given });
    let (joint, count) = ranks.sums(&own, given.x.len() / given.mean.len());
    let totals = norm_backward::Totals { own: &own, joint: &joint, count };
    let mut gradient = gradient.into_tensor();
    let shape = gradient.shape();
    let (dx, gamma, beta, gated) = match gradient.try_storage_mut() {
        Some(dy) => {
            let g = norm_backward::backward_in_place(isa(), &given, dy, totals);
            (gradient, g.gamma, g.beta, g.residual)
        }
        None => {
            let dy = dense(gradient);
            let given = norm_backward::Backward { dy: dy.floats(), ..given };
            let g = norm_backward::backward(isa(), &given, totals);
            (tensor(g.x, shape.clone()), g.gamma, g.beta, g.residual)
        }
    };
    let residual = gated.map(|gated| images_of_rows(tensor(gated, shape)));
    let (gamma, beta) = (vector(gamma), vector(beta));
    NormGradients { x: images_of_rows(dx), gamma, beta, residual }
}

/// Returns the gradients of a normalisation with a residual. The gradient of the residual replaces that of the
/// output, and the gradient of the input replaces the input, where this is the last holder of them: so they need no
/// further memory and fewer passes over it.
fn gradients_with_residual(
    given: &norm_backward::Backward<'_>,
    rows: Dense,
    mut gradient: FlexFloat,
    ranks: &AcrossRanks,
) -> NormGradients<FlexFloat> {
    let Some(dy) = gradient.try_storage_mut() else {
        return gradients_in_place(given, rows, dense(gradient), ranks);
    };
    let of_x = norm_backward::Backward { x: rows.floats(), ..*given };
    let own = norm_backward::sums_in_place(isa(), &of_x, dy);
    let (joint, count) = ranks.sums(&own, dy.len() / given.mean.len());
    let totals = norm_backward::Totals { own: &own, joint: &joint, count };
    let gated = dense(gradient);
    let given = norm_backward::Backward { dy: gated.floats(), gate: Gate::Open, ..*given };
    let mut x = rows.into_tensor();
    let g = norm_backward::backward_over_input(isa(), &given, x.storage_mut(), totals);
    let [x, residual] = [x, gated.into_tensor()].map(images_of_rows);
    let (gamma, beta) = (vector(g.gamma), vector(g.beta));
    NormGradients { x, gamma, beta, residual: Some(residual) }
}
