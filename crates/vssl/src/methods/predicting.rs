//! Backbone, projector and predictor: the student of the methods in which one view predicts another
//! (`methods::{byol, mocov3, nnbyol, nnclr, nnsiam, simsiam}`).

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

impl Student {
    /// Features, projection and prediction of one view.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, features]`, `[n, dim]` and `[n, dim]`.
    pub(super) fn predict(&self, x: &Tensor<4>, mode: Mode) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
        let h = self.backbone.forward(x.clone(), mode);
        let projection = self.projector.forward(h.clone(), mode);
        let prediction = self.predictor.forward(projection.clone(), mode);
        (h, projection, prediction)
    }
}
