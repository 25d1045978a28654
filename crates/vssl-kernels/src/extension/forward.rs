//! The operations on Flex: tensors are brought into the layout of [`crate::raw`] and its kernels run.

use burn::backend::Flex;

use super::{FlexFloat, KernelOps, Maybe};
use crate::joint::AcrossRanks;
use crate::layout::{
    channels_last, channels_last_tensor, dense, from_rows_of_channels, rows_of_channels, sizes,
    tensor, vector,
};
use crate::raw::linear::{self, Linear};
use crate::raw::norm::Rectifier;
use crate::raw::pooling::{self, MaxPool};
use crate::raw::shape::Conv;
use crate::raw::simd::isa;
use crate::raw::{buffer, conv, norm};

/// Returns the pooling of the images `x`, `[n, c, h, w]`.
pub(super) fn max_pool(x: &FlexFloat, kernel: usize, stride: usize, padding: usize) -> MaxPool {
    let [batch, channels, height, width] = sizes(x);
    MaxPool { batch, height, width, channels, kernel, stride, padding }
}

/// Returns `γ / √(σ² + ε)` of each channel.
pub(super) fn norm_scale(gamma: &[f32], variance: &[f32], eps: f64) -> Vec<f32> {
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
