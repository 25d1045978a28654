//! Backbone and projector, nothing else: the student of the methods that compare the embeddings of
//! views without a predictor (`methods::{barlow, deepclusterv2, lejepa, mocov2plus, ressl, simclr, supcon, vicreg, wmse}`).

use burn::{module::Module, tensor::Tensor};

use crate::{
    backbone::Backbone,
    layers::{Init, Mlp, MlpStyle, Mode},
};

/// Backbone and projector.
#[derive(Module, Debug)]
pub struct Student {
    pub(super) backbone: Backbone,
    pub(super) projector: Mlp,
}

impl Student {
    /// The projector is `features → hidden → hidden → dim`, batch norm and ReLU between.
    pub(super) fn new(
        backbone: Backbone,
        features: usize,
        hidden: usize,
        dim: usize,
        init: &Init,
    ) -> Self {
        let style = MlpStyle::default();
        let projector = Mlp::styled(features, &[hidden, hidden], dim, style, init);
        Self { backbone, projector }
    }

    /// The projector is `features → hidden → dim`, ReLU between and no batch norm.
    pub(super) fn plain(
        backbone: Backbone,
        features: usize,
        hidden: usize,
        dim: usize,
        init: &Init,
    ) -> Self {
        let style = MlpStyle { hidden_norm: false, ..MlpStyle::default() };
        Self { backbone, projector: Mlp::styled(features, &[hidden], dim, style, init) }
    }

    /// Features and embedding of one view.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, features]` and `[n, dim]`.
    pub(super) fn embed(&self, x: &Tensor<4>, mode: Mode) -> (Tensor<2>, Tensor<2>) {
        let h = self.backbone.forward(x.clone(), mode);
        (h.clone(), self.projector.forward(h, mode))
    }
}
