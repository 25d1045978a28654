//! The backward passes of a transformer's operations, for Burn's autodiff back end. The gradients that meet
//! at the residual stream are added where they lie.

use burn::backend::Backend;
use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::tensor::FloatTensor;

use super::extension::{NormedRows, TransformerGradients, TransformerOps};
use crate::accumulate;
use crate::autodiff::{constant, record};
use crate::extension::{KernelGradients, Maybe};

#[derive(Debug)]
struct GeluStep;

impl<B: TransformerGradients> Backward<B, 1> for GeluStep {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let x = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| B::exact_gelu_backward(x, dy));
    }
}

#[derive(Debug)]
struct AttentionStep;

impl<B: TransformerGradients> Backward<B, 1> for AttentionStep {
    /// The input, the sums, tokens and heads.
    type State = (FloatTensor<B>, FloatTensor<B>, usize, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (qkv, sums, tokens, heads) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| {
            B::attention_backward(qkv, sums, dy, tokens, heads)
        });
    }
}

#[derive(Debug)]
struct RotateStep;

impl<B: TransformerOps> Backward<B, 1> for RotateStep {
    /// The angles, tokens and heads, and whether the gradient is turned back.
    type State = (FloatTensor<B>, usize, usize, bool);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (angles, tokens, heads, back) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| {
            B::kernel_rotate(dy, angles, tokens, heads, back)
        });
    }
}

/// The number of a node and whether it is a leaf. Burn does not export the type of a node.
macro_rules! place {
    ($node:expr) => {
        ($node.id, $node.parents.is_empty())
    };
}

/// Registers the gradients of rows, γ and β that `made` makes of the earlier gradient of the rows, which
/// `earlier` takes out.
fn register_normed<B: Backend>(
    x: Option<(NodeId, bool)>,
    factors_of: [Option<NodeId>; 2],
    grads: &mut Gradients,
    earlier: impl FnOnce(&mut Gradients) -> FloatTensor<B>,
    made: impl FnOnce(Option<FloatTensor<B>>) -> [FloatTensor<B>; 3],
) {
    let mut factors = None;
    match x {
        Some(place) => {
            accumulate::merge::<B>(grads, place, earlier, |earlier| {
                let [dx, dgamma, dbeta] = made(earlier);
                factors = Some([dgamma, dbeta]);
                dx
            });
        }
        None => {
            let [_, dgamma, dbeta] = made(None);
            factors = Some([dgamma, dbeta]);
        }
    }
    register_all::<B>(factors_of, grads, factors);
}

/// Registers the gradients of the tracked ones of two inputs.
fn register_all<B: Backend>(
    nodes: [Option<NodeId>; 2],
    grads: &mut Gradients,
    gradients: Option<[FloatTensor<B>; 2]>,
) {
    for (node, gradient) in nodes.into_iter().zip(gradients.into_iter().flatten()) {
        if let Some(node) = node {
            grads.register::<B>(node, gradient);
        }
    }
}

#[derive(Debug)]
struct LayerNormStep;

impl<B: TransformerGradients> Backward<B, 3> for LayerNormStep {
    type State = NormedRows<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let [x, gamma, beta] = ops.parents;
        let factors = [gamma, beta].map(|node| node.map(|node| node.id));
        let place = x.as_ref().map(|node| place!(node));
        let earlier = |grads: &mut Gradients| grads.consume::<B>(&x.expect("a tracked input"));
        register_normed::<B>(place, factors, grads, earlier, |earlier| {
            B::layer_norm_backward(ops.state, dy, earlier)
        });
    }
}

/// The inputs are the rows, γ, β, the weight, and the bias where there is one.
#[derive(Debug)]
struct NormLinearStep<const N: usize>;

impl<B: TransformerGradients, const N: usize> Backward<B, N> for NormLinearStep<N> {
    /// The rows, and the weight where the rows or their factors are tracked.
    type State = (NormedRows<FloatTensor<B>>, Option<FloatTensor<B>>);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (saved, weight) = ops.state;
        let parent = |index: usize| ops.parents.get(index).and_then(Option::as_ref);
        let id = |index: usize| parent(index).map(|node| node.id);
        if id(3).or(id(4)).is_some() {
            let gradients = B::norm_linear_weight_gradient(saved.clone(), dy.clone());
            register_all::<B>([id(3), id(4)], grads, Some(gradients));
        }
        if let Some(weight) = weight {
            let place = parent(0).map(|node| place!(node));
            let earlier =
                |grads: &mut Gradients| grads.consume::<B>(parent(0).expect("a tracked input"));
            register_normed::<B>(place, [id(1), id(2)], grads, earlier, |earlier| {
                B::norm_linear_backward(saved, weight, dy, earlier)
            });
        }
    }
}

/// The inputs are `x`, the weight, the residual, and the bias where there is one.
#[derive(Debug)]
struct LinearAddedStep<const N: usize>;

impl<B: TransformerGradients + KernelGradients, const N: usize> Backward<B, N>
    for LinearAddedStep<N>
{
    /// What the gradients of tracked inputs need of `x` and the weight, and whether `x` goes through a GELU.
    type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>, bool);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight, with_gelu) = ops.state;
        let parent = |index: usize| ops.parents.get(index).and_then(Option::as_ref);
        let id = |index: usize| parent(index).map(|node| node.id);
        if id(1).or(id(3)).is_some()
            && let Some(x) = x.clone()
        {
            let gradients = B::linear_added_weight_gradient(x, with_gelu, dy.clone());
            register_all::<B>([id(1), id(3)], grads, Some(gradients));
        }
        if let (Some(node), Some(weight)) = (parent(0), weight) {
            let x = x.filter(|_| with_gelu);
            let gradient = B::linear_added_input_gradient(x, weight, dy.clone());
            grads.register::<B>(node.id, gradient);
        }
        // The last holder of `dy` hands it on, so what is added to it is added in place.
        if let Some(node) = parent(2) {
            let place = place!(node);
            let earlier = |grads: &mut Gradients| grads.consume::<B>(node);
            accumulate::merge::<B>(grads, place, earlier, |earlier| match earlier {
                Some(earlier) => B::sum_of_images(earlier, dy),
                None => dy,
            });
        }
    }
}

impl<B: TransformerOps + TransformerGradients + KernelGradients, C: CheckpointStrategy>
    TransformerOps for Autodiff<B, C>
{
    fn kernel_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let tracked = x.is_tracked() || gamma.is_tracked() || beta.is_tracked();
        let ((x, x_guard), (gamma, gamma_guard)) = (x.into_parts(), gamma.into_parts());
        let (beta, beta_guard) = beta.into_parts();
        let (y, mean, factor) = B::kernel_layer_norm(x.clone(), gamma.clone(), beta.clone(), eps);
        let statistics = (constant::<B, C>(mean.clone()), constant::<B, C>(factor.clone()));
        if !tracked {
            return (constant::<B, C>(y), statistics.0, statistics.1);
        }
        let state = NormedRows { x, gamma, beta, mean, factor };
        let y = record!(LayerNormStep, [x_guard, gamma_guard, beta_guard], state, y);
        (y, statistics.0, statistics.1)
    }

    fn kernel_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let tracked = x.is_tracked();
        let (x, guard) = x.into_parts();
        let y = B::kernel_gelu(x.clone());
        if !tracked {
            return constant::<B, C>(y);
        }
        record!(GeluStep, [guard], x, y)
    }

    fn kernel_attention(
        qkv: FloatTensor<Self>,
        tokens: usize,
        heads: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let tracked = qkv.is_tracked();
        let (qkv, guard) = qkv.into_parts();
        let (y, sums) = B::kernel_attention(qkv.clone(), tokens, heads);
        let kept = constant::<B, C>(sums.clone());
        if !tracked {
            return (constant::<B, C>(y), kept);
        }
        (record!(AttentionStep, [guard], (qkv, sums, tokens, heads), y), kept)
    }

    fn kernel_rotate(
        qkv: FloatTensor<Self>,
        angles: FloatTensor<Self>,
        tokens: usize,
        heads: usize,
        back: bool,
    ) -> FloatTensor<Self> {
        let tracked = qkv.is_tracked();
        let ((qkv, guard), angles) = (qkv.into_parts(), angles.into_primitive());
        let y = B::kernel_rotate(qkv, angles.clone(), tokens, heads, back);
        if !tracked {
            return constant::<B, C>(y);
        }
        record!(RotateStep, [guard], (angles, tokens, heads, !back), y)
    }

    fn kernel_norm_linear(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Maybe<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let bias = bias.into_option();
        let rows_tracked = [&x, &gamma, &beta].into_iter().any(|t| t.is_tracked());
        let tracked = rows_tracked || [&weight].into_iter().chain(&bias).any(|t| t.is_tracked());
        let ((x, x_guard), (gamma, gamma_guard)) = (x.into_parts(), gamma.into_parts());
        let ((beta, beta_guard), (weight, weight_guard)) = (beta.into_parts(), weight.into_parts());
        let (bias, bias_guard) = bias.map(|bias| bias.into_parts()).unzip();
        let (y, mean, factor) = B::kernel_norm_linear(
            x.clone(),
            gamma.clone(),
            beta.clone(),
            weight.clone(),
            bias.into(),
            eps,
        );
        let statistics = (constant::<B, C>(mean.clone()), constant::<B, C>(factor.clone()));
        if !tracked {
            return (constant::<B, C>(y), statistics.0, statistics.1);
        }
        let weight = Some(weight).filter(|_| rows_tracked);
        let state = (NormedRows { x, gamma, beta, mean, factor }, weight);
        let guards = [x_guard, gamma_guard, beta_guard, weight_guard];
        let y = match bias_guard {
            Some(guard) => {
                let [x, gamma, beta, weight] = guards;
                record!(NormLinearStep::<5>, [x, gamma, beta, weight, guard], state, y)
            }
            None => record!(NormLinearStep::<4>, guards, state, y),
        };
        (y, statistics.0, statistics.1)
    }

    fn kernel_linear_added(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        bias: Maybe<Self>,
        with_gelu: bool,
    ) -> FloatTensor<Self> {
        let bias = bias.into_option();
        let x_tracked = x.is_tracked();
        let weight_tracked = [&weight].into_iter().chain(&bias).any(|t| t.is_tracked());
        let tracked = x_tracked || weight_tracked || residual.is_tracked();
        let ((x, x_guard), (weight, weight_guard)) = (x.into_parts(), weight.into_parts());
        let (residual, residual_guard) = residual.into_parts();
        let (bias, bias_guard) = bias.map(|bias| bias.into_parts()).unzip();
        let x_kept = Some(x.clone()).filter(|_| weight_tracked || x_tracked && with_gelu);
        let state = (x_kept, Some(weight.clone()).filter(|_| x_tracked), with_gelu);
        let y = B::kernel_linear_added(x, weight, residual, bias.into(), with_gelu);
        if !tracked {
            return constant::<B, C>(y);
        }
        match bias_guard {
            Some(guard) => record!(
                LinearAddedStep::<4>,
                [x_guard, weight_guard, residual_guard, guard],
                state,
                y
            ),
            None => {
                record!(LinearAddedStep::<3>, [x_guard, weight_guard, residual_guard], state, y)
            }
        }
    }
}
