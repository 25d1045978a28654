//! Backbone and projector, nothing else: the student of the methods that compare the embeddings of
//! two views (`methods::barlow`, `methods::vicreg`).

use burn::{module::Module, tensor::Tensor};

use crate::{
    backbone::Backbone,
    layers::{Init, Mlp, MlpStyle, Mode},
    method::Views,
};

/// Backbone and a projector of three linear layers.
#[derive(Module, Debug)]
pub struct Student {
    pub(super) backbone: Backbone,
    projector: Mlp,
}

/// What [`Student::pair`] puts out for two views.
pub(super) struct Pair {
    /// Backbone features, each `[n, features]`, without gradient.
    pub(super) features: Vec<Tensor<2>>,
    /// Embeddings, each `[n, dim]`.
    pub(super) embeddings: [Tensor<2>; 2],
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

    /// The two global views, each in a forward pass of its own.
    pub(super) fn pair(&self, views: &Views) -> Pair {
        let mut features = Vec::new();
        let embeddings = [0, 1].map(|view: usize| {
            let h = self.backbone.forward(views.global[view].clone(), Mode::Train);
            features.push(h.clone().detach());
            self.projector.forward(h, Mode::Train)
        });
        Pair { features, embeddings }
    }
}
