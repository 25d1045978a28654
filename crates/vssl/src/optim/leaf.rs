//! A parameter's tensor outside the graph, and the way back in.

use burn::tensor::{GradientCheckpointingStrategy, Tensor};

/// How a parameter takes part in the autodiff graph.
pub(super) struct Leaf {
    /// `None` on a device without autodiff.
    strategy: Option<GradientCheckpointingStrategy>,
    tracked: bool,
}

impl Leaf {
    /// The bare values of a parameter, and what [`Leaf::plant`] needs to put others in their place.
    pub(super) fn lift<const D: usize>(tensor: Tensor<D>) -> (Self, Tensor<D>) {
        let strategy = tensor.gradient_checkpointing_strategy();
        let leaf = Self { strategy, tracked: tensor.is_require_grad() };
        (leaf, tensor.inner())
    }

    /// New values as a leaf of the same kind. It keeps the checkpointing strategy: operations on
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
