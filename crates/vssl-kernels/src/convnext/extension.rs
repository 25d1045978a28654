//! The operations of ConvNeXt, of SwiGLU and of ResNet-D's shortcuts as an extension of Burn's back ends, and their fast
//! implementation on Flex.
//!
//! [`super::autodiff`] adds the backward passes. As in [`crate::extension`], only `f32` tensors on Flex come
//! here.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, TensorMetadata, backend_extension};

use crate::layout::{channels_last, channels_last_tensor, dense, sizes, tensor, vector};
use crate::raw::depthwise::{self, Depthwise};
use crate::raw::halving::{self, Halving};
use crate::raw::response_norm::{self, Other};
use crate::raw::simd::isa;
use crate::raw::{buffer, gated};

/// The operations. What a result is returned with has no gradient and is for the backward pass.
#[backend_extension(Flex, Autodiff)]
pub trait ConvNextOps: Backend {
    fn kernel_depthwise_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Returns the output, and the norm of each image and channel.
    fn kernel_response_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        images: usize,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    fn kernel_swiglu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn kernel_halved(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The gradients of [`ConvNextOps`], called by the backward passes only.
pub trait ConvNextGradients: Backend {
    fn depthwise_input_gradient(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Returns the gradients of weight and bias.
    fn depthwise_weight_gradient(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];

    /// Returns the gradients of `x`, γ and β.
    fn response_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        norms: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
    ) -> [FloatTensor<Self>; 3];

    fn swiglu_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    fn halved_backward(dy: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self>;
}

type FlexFloat = FloatTensor<Flex>;

/// The square of the smallest norm of a channel that has a gradient: see [`crate::reference`].
const SMALLEST: f32 = 1e-30;

fn depthwise(x: &FlexFloat) -> Depthwise {
    let [batch, channels, height, width] = sizes(x);
    Depthwise { batch, height, width, channels }
}

/// Returns the norm of each channel relative to the mean over the channels of an image, and that mean plus ε.
fn relative(norms: &[f32], eps: f64) -> (Vec<f32>, f64) {
    let mean = norms.iter().map(|norm| f64::from(*norm)).sum::<f64>() / norms.len() as f64 + eps;
    (norms.iter().map(|norm| (f64::from(*norm) / mean) as f32).collect(), mean)
}

impl ConvNextOps for Flex {
    fn kernel_depthwise_conv2d(x: FlexFloat, weight: FlexFloat, bias: FlexFloat) -> FlexFloat {
        let (of, shape) = (depthwise(&x), sizes::<4>(&x));
        let taps = depthwise::turned(dense(weight).floats(), of.channels, false);
        let (x, bias) = (channels_last(&x), dense(bias));
        let mut y = buffer::take(x.floats().len());
        depthwise::forward(isa(), of, x.floats(), &taps, Some(bias.floats()), &mut y);
        channels_last_tensor(y, shape)
    }

    fn kernel_response_norm(
        x: FlexFloat,
        gamma: FlexFloat,
        beta: FlexFloat,
        images: usize,
        eps: f64,
    ) -> (FlexFloat, FlexFloat) {
        let (shape, channels) = (x.shape(), sizes::<2>(&x)[1]);
        let (x, gamma, beta) = (dense(x), dense(gamma), dense(beta));
        let mut norms = vec![0.0; images * channels];
        response_norm::sums(isa(), x.floats(), Some(x.floats()), images, &mut norms);
        norms.iter_mut().for_each(|square| *square = square.max(SMALLEST).sqrt());
        let mut factors = Vec::with_capacity(norms.len());
        for norms in norms.chunks_exact(channels) {
            let (relative, _) = relative(norms, eps);
            factors.extend(relative.iter().zip(gamma.floats()).map(|(s, gamma)| 1.0 + gamma * s));
        }
        let mut y = buffer::take(x.floats().len());
        let shift = Other::Shift(beta.floats());
        response_norm::map(isa(), x.floats(), &factors, shift, images, &mut y);
        (tensor(y, shape), vector(norms))
    }

    fn kernel_swiglu(x: FlexFloat) -> FlexFloat {
        let [rows, columns] = sizes(&x);
        let mut y = buffer::take(rows * (columns / 2));
        gated::forward(isa(), dense(x).floats(), columns / 2, &mut y);
        tensor(y, [rows, columns / 2].into())
    }

    fn kernel_halved(x: FlexFloat) -> FlexFloat {
        let [batch, channels, height, width] = sizes(&x);
        let of = Halving { batch, height, width, channels };
        let shape = [batch, channels, of.out_height(), of.out_width()];
        let mut y = buffer::take(shape.iter().product());
        halving::forward(&of, channels_last(&x).floats(), &mut y);
        channels_last_tensor(y, shape)
    }
}

impl ConvNextGradients for Flex {
    fn depthwise_input_gradient(dy: FlexFloat, weight: FlexFloat) -> FlexFloat {
        let (of, shape) = (depthwise(&dy), sizes::<4>(&dy));
        let taps = depthwise::turned(dense(weight).floats(), of.channels, true);
        let dy = channels_last(&dy);
        let mut dx = buffer::take(dy.floats().len());
        depthwise::forward(isa(), of, dy.floats(), &taps, None, &mut dx);
        channels_last_tensor(dx, shape)
    }

    fn depthwise_weight_gradient(x: FlexFloat, dy: FlexFloat) -> [FlexFloat; 2] {
        let of = depthwise(&x);
        let mut dweight = buffer::take(of.channels * depthwise::TAPS);
        let mut dbias = vec![0.0; of.channels];
        let (x, dy) = (channels_last(&x), channels_last(&dy));
        let (x, dy) = (x.floats(), dy.floats());
        depthwise::weight_gradient(isa(), of, x, dy, &mut dweight, &mut dbias);
        let shape = [of.channels, 1, depthwise::SIDE, depthwise::SIDE];
        [tensor(dweight, shape.into()), vector(dbias)]
    }

    fn response_norm_backward(
        x: FlexFloat,
        gamma: FlexFloat,
        norms: FlexFloat,
        dy: FlexFloat,
        eps: f64,
    ) -> [FlexFloat; 3] {
        let (shape, channels) = (x.shape(), sizes::<2>(&x)[1]);
        let (x, gamma, norms, dy) = (dense(x), dense(gamma), dense(norms), dense(dy));
        let images = norms.floats().len() / channels;
        let (mut products, mut of_beta) =
            (vec![0.0; images * channels], vec![0.0; images * channels]);
        response_norm::sums(isa(), dy.floats(), Some(x.floats()), images, &mut products);
        response_norm::sums(isa(), dy.floats(), None, images, &mut of_beta);
        let (mut dgamma, mut dbeta) = (vec![0.0f32; channels], vec![0.0f32; channels]);
        // With s = g / m, m = mean(g) + ε and q = Σ dy·x: dg = (γ·q − Σ γ·q·s / channels) / m.
        let (mut own, mut along) = (Vec::new(), Vec::new());
        for (image, norms) in norms.floats().chunks_exact(channels).enumerate() {
            let part = image * channels..(image + 1) * channels;
            let (q, sums) = (&products[part.clone()], &of_beta[part]);
            let (s, mean) = relative(norms, eps);
            let wanted = |c: usize| f64::from(gamma.floats()[c]) * f64::from(q[c]);
            let joint = (0..channels).map(|c| wanted(c) * f64::from(s[c])).sum::<f64>();
            let joint = joint / channels as f64;
            for c in 0..channels {
                dgamma[c] += q[c] * s[c];
                dbeta[c] += sums[c];
                own.push(1.0 + gamma.floats()[c] * s[c]);
                let of_norm = (wanted(c) - joint) / mean;
                let is_zero = norms[c] <= SMALLEST.sqrt();
                along.push(if is_zero { 0.0 } else { (of_norm / f64::from(norms[c])) as f32 });
            }
        }
        let mut dx = buffer::take(x.floats().len());
        let other = Other::Scaled(x.floats(), &along);
        response_norm::map(isa(), dy.floats(), &own, other, images, &mut dx);
        [tensor(dx, shape), vector(dgamma), vector(dbeta)]
    }

    fn swiglu_backward(x: FlexFloat, dy: FlexFloat) -> FlexFloat {
        let (shape, columns) = (x.shape(), sizes::<2>(&x)[1] / 2);
        let (x, dy) = (dense(x), dense(dy));
        let mut dx = buffer::take(x.floats().len());
        gated::backward(isa(), x.floats(), dy.floats(), columns, &mut dx);
        tensor(dx, shape)
    }

    fn halved_backward(dy: FlexFloat, [height, width]: [usize; 2]) -> FlexFloat {
        let [batch, channels, ..] = sizes::<4>(&dy);
        let of = Halving { batch, height, width, channels };
        let mut dx = buffer::take(batch * channels * height * width);
        halving::backward(&of, channels_last(&dy).floats(), &mut dx);
        channels_last_tensor(dx, [batch, channels, height, width])
    }
}
