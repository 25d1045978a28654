//! Takes a parameter's tensor out of the autodiff graph, and puts a new value back into it.

use burn::tensor::{GradientCheckpointingStrategy, Tensor};

/// The part that a parameter has in the autodiff graph.
pub(super) struct Leaf {
    /// The checkpointing strategy; `None` on a device without autodiff.
    strategy: Option<GradientCheckpointingStrategy>,
    tracked: bool,
}

impl Leaf {
    /// Returns the values of a parameter outside the graph, and the leaf that [`Leaf::plant`] needs.
    pub(super) fn lift<const D: usize>(tensor: Tensor<D>) -> (Self, Tensor<D>) {
        let strategy = tensor.gradient_checkpointing_strategy();
        let leaf = Self { strategy, tracked: tensor.is_require_grad() };
        (leaf, tensor.inner())
    }

    /// Makes new values a leaf of the same kind. The checkpointing strategy stays, because operations on
    /// tensors of two strategies panic.
    pub(super) fn plant<const D: usize>(self, value: Tensor<D>) -> Tensor<D> {
        match self.strategy {
            Some(strategy) => Tensor::from_inner(value)
                .with_gradient_checkpointing_strategy(strategy)
                .set_require_grad(self.tracked),
            None => value,
        }
    }
}
