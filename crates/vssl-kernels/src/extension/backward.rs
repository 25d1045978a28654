//! The gradients of the operations on Flex. Where a tensor has no other holder, its memory becomes that of a result.

use burn::backend::{Flex, TensorMetadata};

use super::forward::{max_pool, norm_scale};
use super::{FlexFloat, KernelGradients, NormGradients, NormSaved};
use crate::joint::AcrossRanks;
use crate::layout::{
    Dense, channels_last, channels_last_tensor, dense, from_rows_of_channels, images_of_rows,
    rows_of_channels, sizes, tensor, vector,
};
use crate::raw::linear::{self, Linear};
use crate::raw::norm::Rectifier;
use crate::raw::norm_backward::{self, Gate};
use crate::raw::pooling;
use crate::raw::shape::Conv;
use crate::raw::simd::isa;
use crate::raw::{buffer, conv, norm, update};

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
