//! What the methods share in which a student predicts a teacher's distribution over prototypes (`methods::{dino, dinov2,
//! ibot}`): the head, and the figures that show a collapse.

use burn::tensor::{Tensor, activation};

use crate::{
    layers::{Init, Mlp, MlpStyle, PrototypeHead},
    objective::figures,
};

/// The sizes of a head (Caron et al. 2021, arXiv:2104.14294, appendix C).
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadShape {
    /// Width of the projector's two hidden layers.
    pub hidden: usize,
    /// Length of the unit vectors that are compared with the prototypes.
    pub dim: usize,
    /// Number of prototypes.
    pub prototypes: usize,
    /// Whether batch norm follows the hidden layers.
    pub hidden_norm: bool,
    /// Whether the norms of the prototypes are learned; they are 1 otherwise.
    pub learned_norms: bool,
}

impl HeadShape {
    /// Makes a head for features of this length.
    pub(super) fn head(&self, features: usize, init: &Init) -> PrototypeHead {
        let style = MlpStyle { hidden_norm: self.hidden_norm, gelu: true, ..MlpStyle::default() };
        let projector = Mlp::styled(features, &[self.hidden; 2], self.dim, style, init);
        PrototypeHead::new(projector, self.prototypes, self.learned_norms, init)
    }
}

/// Figures of the first view's targets and predictions, and of the embeddings of all global views.
pub(super) fn figures(
    target: &Tensor<2>,
    logits: &Tensor<2>,
    temperature: f64,
    embeddings: &[Tensor<2>],
) -> Vec<(&'static str, Tensor<1>)> {
    let predicted = logits.clone().detach() / temperature;
    vec![
        ("target_usage", figures::usage(target.clone())),
        ("prototype_usage", figures::usage(activation::softmax(predicted, 1))),
        ("embedding_std", figures::unit_std(embeddings)),
    ]
}
