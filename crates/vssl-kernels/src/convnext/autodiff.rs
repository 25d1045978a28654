//! The backward passes of [`super::extension`], for Burn's autodiff back end.

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::{TensorMetadata, tensor::FloatTensor};

use super::extension::{ConvNextGradients, ConvNextOps};
use crate::autodiff::{constant, record};

#[derive(Debug)]
struct DepthwiseStep;

impl<B: ConvNextGradients> Backward<B, 3> for DepthwiseStep {
    /// The images and the weight.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (images, filter) = ops.state;
        let [x, weight, bias] = ops.parents;
        if weight.is_some() || bias.is_some() {
            let [dweight, dbias] = B::depthwise_weight_gradient(images, dy.clone());
            if let Some(node) = weight {
                grads.register::<B>(node.id, dweight);
            }
            if let Some(node) = bias {
                grads.register::<B>(node.id, dbias);
            }
        }
        if let Some(node) = x {
            grads.register::<B>(node.id, B::depthwise_input_gradient(dy, filter));
        }
    }
}

#[derive(Debug)]
struct ResponseNormStep;

impl<B: ConvNextGradients> Backward<B, 3> for ResponseNormStep {
    /// The rows, γ, the norms, and ε.
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, gamma, norms, eps) = ops.state;
        let gradients = B::response_norm_backward(x, gamma, norms, dy, eps);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct SwigluStep;

impl<B: ConvNextGradients> Backward<B, 1> for SwigluStep {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let x = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| B::swiglu_backward(x, dy));
    }
}

#[derive(Debug)]
struct HalvedStep;

impl<B: ConvNextGradients> Backward<B, 1> for HalvedStep {
    /// The rows and columns of the larger image.
    type State = [usize; 2];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let size = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| B::halved_backward(dy, size));
    }
}

impl<B: ConvNextOps + ConvNextGradients, C: CheckpointStrategy> ConvNextOps for Autodiff<B, C> {
    fn kernel_depthwise_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let tracked = x.is_tracked() || weight.is_tracked() || bias.is_tracked();
        let ((x, x_guard), (weight, weight_guard)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_guard) = bias.into_parts();
        let y = B::kernel_depthwise_conv2d(x.clone(), weight.clone(), bias);
        if !tracked {
            return constant::<B, C>(y);
        }
        record!(DepthwiseStep, [x_guard, weight_guard, bias_guard], (x, weight), y)
    }

    fn kernel_response_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        images: usize,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let tracked = x.is_tracked() || gamma.is_tracked() || beta.is_tracked();
        let ((x, x_guard), (gamma, gamma_guard)) = (x.into_parts(), gamma.into_parts());
        let (beta, beta_guard) = beta.into_parts();
        let (y, norms) = B::kernel_response_norm(x.clone(), gamma.clone(), beta, images, eps);
        let kept = constant::<B, C>(norms.clone());
        if !tracked {
            return (constant::<B, C>(y), kept);
        }
        let state = (x, gamma, norms, eps);
        (record!(ResponseNormStep, [x_guard, gamma_guard, beta_guard], state, y), kept)
    }

    fn kernel_swiglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let tracked = x.is_tracked();
        let (x, guard) = x.into_parts();
        let y = B::kernel_swiglu(x.clone());
        if !tracked {
            return constant::<B, C>(y);
        }
        record!(SwigluStep, [guard], x, y)
    }

    fn kernel_halved(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let tracked = x.is_tracked();
        let (x, guard) = x.into_parts();
        let [_, _, height, width] = x.shape().dims();
        let y = B::kernel_halved(x);
        if !tracked {
            return constant::<B, C>(y);
        }
        record!(HalvedStep, [guard], [height, width], y)
    }
}
