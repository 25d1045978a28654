//! Backbone, projector and predictor: the student of the methods in which one view predicts another
//! (`methods::{byol, mocov3, nnclr, simsiam}`).

use burn::{module::Module, tensor::Tensor};

use crate::{
    backbone::Backbone,
    layers::{Mlp, Mode},
};

/// Backbone and two heads.
#[derive(Module, Debug)]
pub struct Student {
    pub(super) backbone: Backbone,
    pub(super) projector: Mlp,
    pub(super) predictor: Mlp,
}

/// What one view's forward pass puts out.
pub(super) struct Predicted {
    /// Backbone features, `[n, features]`, without gradient.
    pub(super) features: Tensor<2>,
    /// `[n, dim]`.
    pub(super) projection: Tensor<2>,
    /// `[n, dim]`.
    pub(super) prediction: Tensor<2>,
}

impl Student {
    /// # Shapes — `[n, 3, h, w]`.
    pub(super) fn predict(&self, x: &Tensor<4>, mode: Mode) -> Predicted {
        let h = self.backbone.forward(x.clone(), mode);
        let projection = self.projector.forward(h.clone(), mode);
        let prediction = self.predictor.forward(projection.clone(), mode);
        Predicted { features: h.detach(), projection, prediction }
    }
}
