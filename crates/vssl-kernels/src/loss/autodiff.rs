//! The backward passes of the operations of losses, for Burn's autodiff back end.

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::tensor::FloatTensor;

use super::extension::{LossGradients, LossOps, Targets};
use crate::autodiff::{constant, record};

#[derive(Debug)]
struct SoftmaxLossStep;

#[derive(Clone, Debug)]
struct SoftmaxSaved<T> {
    x: T,
    sums: T,
    targets: Option<Targets<T>>,
    scale: f64,
}

impl<B: LossGradients> Backward<B, 1> for SoftmaxLossStep {
    type State = SoftmaxSaved<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let SoftmaxSaved { x, sums, targets, scale } = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| {
            B::softmax_loss_backward(x, sums, targets, scale, dy)
        });
    }
}

#[derive(Debug)]
struct OffDiagonalStep;

impl<B: LossGradients> Backward<B, 2> for OffDiagonalStep {
    /// `a`, `b` and their product without its diagonal.
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (a, b, product) = ops.state;
        let [a_node, b_node] = ops.parents;
        if let Some(node) = a_node {
            let (product, dy) = (product.clone(), dy.clone());
            let gradient = B::off_diagonal_squares_backward(b, product, false, dy);
            grads.register::<B>(node.id, gradient);
        }
        if let Some(node) = b_node {
            let gradient = B::off_diagonal_squares_backward(a, product, true, dy);
            grads.register::<B>(node.id, gradient);
        }
    }
}

impl<B: LossOps + LossGradients, C: CheckpointStrategy> LossOps for Autodiff<B, C> {
    fn kernel_log_sum_exp(
        x: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let tracked = x.is_tracked();
        let (x, guard) = x.into_parts();
        let (y, sums) = B::kernel_log_sum_exp(x.clone(), scale);
        let saved = constant::<B, C>(sums.clone());
        if !tracked {
            return (constant::<B, C>(y), saved);
        }
        let state = SoftmaxSaved { x, sums, targets: None, scale };
        (record!(SoftmaxLossStep, [guard], state, y), saved)
    }

    fn kernel_cross_entropy(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let tracked = logits.is_tracked();
        let ((x, guard), targets) = (logits.into_parts(), targets.into_primitive());
        let (losses, sums, masses) = B::kernel_cross_entropy(x.clone(), targets.clone(), scale);
        let saved = (constant::<B, C>(sums.clone()), constant::<B, C>(masses.clone()));
        if !tracked {
            return (constant::<B, C>(losses), saved.0, saved.1);
        }
        let state = SoftmaxSaved { x, sums, targets: Some((targets, masses)), scale };
        (record!(SoftmaxLossStep, [guard], state, losses), saved.0, saved.1)
    }

    fn kernel_softmax(x: FloatTensor<Self>, scale: f64) -> FloatTensor<Self> {
        constant::<B, C>(B::kernel_softmax(x.into_primitive(), scale))
    }

    fn kernel_off_diagonal_squares(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let tracked = a.is_tracked() || b.is_tracked();
        let ((a, a_guard), (b, b_guard)) = (a.into_parts(), b.into_parts());
        let (sum, product) = B::kernel_off_diagonal_squares(a.clone(), b.clone());
        let saved = constant::<B, C>(product.clone());
        if !tracked {
            return (constant::<B, C>(sum), saved);
        }
        (record!(OffDiagonalStep, [a_guard, b_guard], (a, b, product), sum), saved)
    }
}
