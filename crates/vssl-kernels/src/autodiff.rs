//! The backward passes of the operations, for Burn's autodiff back end.
//!
//! An operation without a tracked input, such as a teacher's, is not recorded in the graph. Any other
//! operation keeps only what the gradients of its tracked inputs need, and of that only what cannot be
//! computed again at little cost: see [`crate::recompute`].

use std::sync::Arc;

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};

use crate::accumulate;
use crate::extension::{KernelGradients, KernelOps, Maybe, NormSaved};
use crate::joint::AcrossRanks;
use crate::raw::norm::Rectifier;
use crate::recompute::{self, Kept, Recomputed};

/// Makes a tensor of the graph without gradient.
pub(crate) fn constant<B: Backend, C: CheckpointStrategy>(
    tensor: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    <Autodiff<B, C> as burn::backend::AutodiffBackend>::from_inner(tensor)
}

/// Finishes an operation that may be tracked; `state` is only built if it is tracked.
macro_rules! record {
    ($step:expr, $guards:expr, $state:expr, $output:expr) => {
        match $step.prepare::<C>($guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish($state, $output),
            OpsKind::UnTracked(prep) => prep.finish($output),
        }
    };
}

pub(crate) use record;

#[derive(Clone, Copy, Debug)]
struct Window {
    /// The rows and columns of the image.
    image: [usize; 2],
    /// The rows and columns of the filter or window.
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
}

#[derive(Debug)]
struct ConvStep;

impl<B: KernelGradients> Backward<B, 2> for ConvStep {
    /// The state is `x` if the weight is tracked, and the weight if `x` is tracked.
    type State = (Option<Kept<B>>, Option<FloatTensor<B>>, Window);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight, window) = ops.state;
        let Window { image, kernel, stride, padding } = window;
        let [x_node, weight_node] = ops.parents;
        if let (Some(node), Some(x)) = (weight_node, x) {
            let gradient =
                B::conv2d_weight_gradient(x.tensor(), dy.clone(), kernel, stride, padding);
            drop(x);
            grads.register::<B>(node.id, gradient);
        }
        if let (Some(node), Some(weight)) = (x_node, weight) {
            let place = (node.id, node.parents.is_empty());
            let earlier = |grads: &mut Gradients| grads.consume::<B>(&node);
            accumulate::merge::<B>(grads, place, earlier, |earlier| {
                B::conv2d_input_gradient(dy, weight, earlier, image, stride, padding)
            });
        }
    }
}

#[derive(Debug)]
struct NormStep<const N: usize>;

/// What the backward pass of a normalisation needs.
#[derive(Clone, Debug)]
enum NormState<B: KernelGradients> {
    /// The output is computed again where it is needed.
    Recomputed(Arc<Recomputed<B>>),
    /// There was a residual, so the output is stored.
    Stored(NormSaved<FloatTensor<B>>, FloatTensor<B>),
}

impl<B: KernelGradients> NormState<B> {
    /// Returns the values of the forward pass, and the output if it is stored.
    fn into_parts(self) -> (NormSaved<FloatTensor<B>>, Option<FloatTensor<B>>) {
        match self {
            Self::Stored(saved, output) => (saved, Some(output)),
            Self::Recomputed(state) => match Arc::try_unwrap(state) {
                Ok(Recomputed(saved)) => (saved, None),
                Err(shared) => (shared.0.clone(), None),
            },
        }
    }
}

impl<B: KernelGradients, const N: usize> Backward<B, N> for NormStep<N> {
    type State = NormState<B>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        // Without a rectifier the residual's gradient is `dy` itself.
        let wanted = ops.parents.get(3).is_some_and(Option::is_some);
        let (saved, y) = ops.state.into_parts();
        let gated = saved.rectifier != Rectifier::None;
        let through = (wanted && !gated).then(|| dy.clone());
        let given = B::batch_norm_backward(saved, y.filter(|_| gated), dy, wanted && gated);
        if let (Some(Some(node)), Some(gradient)) = (ops.parents.get(3), given.residual.or(through))
        {
            let place = (node.id, node.parents.is_empty());
            accumulate::register::<B>(grads, place, gradient, |grads| grads.consume::<B>(node));
        }
        let gradients = [Some(given.x), Some(given.gamma), Some(given.beta)];
        for (parent, gradient) in ops.parents.iter().zip(gradients) {
            if let (Some(node), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct AddBiasStep<const N: usize>;

impl<B: KernelGradients, const N: usize> Backward<B, N> for AddBiasStep<N> {
    type State = ();

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        if let Some(node) = &ops.parents[1] {
            grads.register::<B>(node.id, B::sum_of_pixels(dy.clone()));
        }
        for parent in [ops.parents.get(2), ops.parents.first()] {
            if let Some(Some(node)) = parent {
                let place = (node.id, node.parents.is_empty());
                accumulate::register::<B>(grads, place, dy.clone(), |grads| {
                    grads.consume::<B>(node)
                });
            }
        }
    }
}

#[derive(Debug)]
struct MaxPoolStep;

impl<B: KernelGradients> Backward<B, 1> for MaxPoolStep {
    type State = (Kept<B>, Window);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, Window { kernel: [kernel, _], stride, padding, .. }) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| {
            B::max_pool2d_backward(x.tensor(), dy, kernel, stride, padding)
        });
    }
}

#[derive(Debug)]
struct AveragePoolStep;

impl<B: KernelGradients> Backward<B, 1> for AveragePoolStep {
    type State = [usize; 2];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let size = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| B::average_pool_backward(dy, size));
    }
}

#[derive(Debug)]
struct LinearStep<const N: usize>;

impl<B: KernelGradients, const N: usize> Backward<B, N> for LinearStep<N> {
    /// The state is `x` if the weight is tracked, and the weight if `x` is tracked.
    type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        if let Some(Some(node)) = ops.parents.get(2) {
            grads.register::<B>(node.id, B::linear_bias_gradient(dy.clone()));
        }
        if let (Some(node), Some(x)) = (&ops.parents[1], x) {
            let gradient = B::linear_weight_gradient(x, dy.clone());
            grads.register::<B>(node.id, gradient);
        }
        if let (Some(node), Some(weight)) = (&ops.parents[0], weight) {
            grads.register::<B>(node.id, B::linear_input_gradient(dy, weight));
        }
    }
}

impl<B: KernelOps + KernelGradients, C: CheckpointStrategy> KernelOps for Autodiff<B, C> {
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        let [.., height, width] = x.primitive().shape().dims::<4>();
        let [.., r, s] = weight.primitive().shape().dims::<4>();
        let window = Window { image: [height, width], kernel: [r, s], stride, padding };
        let (keep_x, keep_weight) = (weight.is_tracked(), x.is_tracked());
        let kept = keep_x.then(|| Kept::new::<C>(&x));
        let ((x, x_guard), (weight, weight_guard)) = (x.into_parts(), weight.into_parts());
        let state = (kept, keep_weight.then(|| weight.clone()), window);
        let y = B::kernel_conv2d(x, weight, stride, padding);
        if !keep_x && !keep_weight {
            return constant::<B, C>(y);
        }
        record!(ConvStep, [x_guard, weight_guard], state, y)
    }

    fn kernel_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: Maybe<Self>,
        rectifier: Rectifier,
        eps: f64,
        ranks: AcrossRanks,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let residual = residual.into_option();
        let tracked = x.is_tracked()
            || gamma.is_tracked()
            || beta.is_tracked()
            || residual.as_ref().is_some_and(|residual| residual.is_tracked());
        let ((x, x_guard), (gamma, gamma_guard)) = (x.into_parts(), gamma.into_parts());
        let (beta, beta_guard) = beta.into_parts();
        let (residual, residual_guard) = residual.map(|residual| residual.into_parts()).unzip();
        let (y, mean, variance) = B::kernel_batch_norm(
            x.clone(),
            gamma.clone(),
            beta.clone(),
            residual.into(),
            rectifier,
            eps,
            ranks.clone(),
        );
        let statistics = (constant::<B, C>(mean.clone()), constant::<B, C>(variance.clone()));
        if !tracked {
            return (constant::<B, C>(y), statistics.0, statistics.1);
        }
        let saved = NormSaved { x, gamma, beta, mean, variance, eps, rectifier, ranks };
        if let Some(guard) = residual_guard {
            let state = NormState::Stored(saved, y.clone());
            let y = record!(NormStep::<4>, [x_guard, gamma_guard, beta_guard, guard], state, y);
            return (y, statistics.0, statistics.1);
        }
        let output = Arc::new(Recomputed::<B>(saved));
        let state = NormState::Recomputed(output.clone());
        let y = record!(NormStep::<3>, [x_guard, gamma_guard, beta_guard], state, y);
        recompute::remember(y.id(), &output);
        (y, statistics.0, statistics.1)
    }

    fn kernel_affine(
        x: FloatTensor<Self>,
        centre: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        residual: Maybe<Self>,
        rectifier: Rectifier,
    ) -> FloatTensor<Self> {
        let residual = residual.into_option().map(|residual| residual.into_primitive());
        let (centre, scale) = (centre.into_primitive(), scale.into_primitive());
        let (x, shift) = (x.into_primitive(), shift.into_primitive());
        constant::<B, C>(B::kernel_affine(x, centre, scale, shift, residual.into(), rectifier))
    }

    fn kernel_add_bias(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: Maybe<Self>,
    ) -> FloatTensor<Self> {
        let residual = residual.into_option();
        let tracked = x.is_tracked()
            || bias.is_tracked()
            || residual.as_ref().is_some_and(|residual| residual.is_tracked());
        let ((x, x_guard), (bias, bias_guard)) = (x.into_parts(), bias.into_parts());
        let (residual, residual_guard) = residual.map(|residual| residual.into_parts()).unzip();
        let y = B::kernel_add_bias(x, bias, residual.into());
        if !tracked {
            return constant::<B, C>(y);
        }
        match residual_guard {
            Some(guard) => record!(AddBiasStep::<3>, [x_guard, bias_guard, guard], (), y),
            None => record!(AddBiasStep::<2>, [x_guard, bias_guard], (), y),
        }
    }

    fn kernel_max_pool2d(
        x: FloatTensor<Self>,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        let [.., height, width] = x.primitive().shape().dims::<4>();
        let window = Window { image: [height, width], kernel: [kernel; 2], stride, padding };
        let kept = x.is_tracked().then(|| Kept::new::<C>(&x));
        let (x, guard) = x.into_parts();
        let y = B::kernel_max_pool2d(x, kernel, stride, padding);
        match kept {
            Some(x) => record!(MaxPoolStep, [guard], (x, window), y),
            None => constant::<B, C>(y),
        }
    }

    fn kernel_average_pool(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let [.., height, width] = x.primitive().shape().dims::<4>();
        let tracked = x.is_tracked();
        let (x, guard) = x.into_parts();
        let y = B::kernel_average_pool(x);
        if !tracked {
            return constant::<B, C>(y);
        }
        record!(AveragePoolStep, [guard], [height, width], y)
    }

    fn kernel_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Maybe<Self>,
    ) -> FloatTensor<Self> {
        let (keep_x, keep_weight) = (weight.is_tracked(), x.is_tracked());
        let bias = bias.into_option();
        let tracked = keep_x || keep_weight || bias.as_ref().is_some_and(|bias| bias.is_tracked());
        let ((x, x_guard), (weight, weight_guard)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_guard) = bias.map(|bias| bias.into_parts()).unzip();
        let state = (keep_x.then(|| x.clone()), keep_weight.then(|| weight.clone()));
        let y = B::kernel_linear(x, weight, bias.into());
        if !tracked {
            return constant::<B, C>(y);
        }
        match bias_guard {
            Some(guard) => record!(LinearStep::<3>, [x_guard, weight_guard, guard], state, y),
            None => record!(LinearStep::<2>, [x_guard, weight_guard], state, y),
        }
    }
}
