//! The momentum teacher of backbone and projector: moving averages of the student's networks of the
//! same names (`methods::{all4one, byol, mocov2plus, mocov3, nnbyol, ressl}`).

use burn::{module::Module, tensor::Tensor};

use crate::{
    backbone::Backbone,
    layers::{Mlp, Mode},
    method::teacher_of,
    optim::ema,
};

/// Moving average of a student's backbone and projector.
#[derive(Module, Debug)]
pub struct Teacher {
    pub(super) backbone: Backbone,
    projector: Mlp,
}

impl Teacher {
    /// Copies of the student's networks.
    pub(super) fn of(backbone: &Backbone, projector: &Mlp) -> Self {
        Self { backbone: teacher_of(backbone), projector: teacher_of(projector) }
    }

    /// Moves towards `student`, whose networks it was made of, and keeps the share `tau` of itself.
    pub(super) fn follow(self, student: &impl Module, tau: f64) -> Self {
        ema(self, student, tau).expect("the teacher was made of the student's networks")
    }

    /// The projection of one view: batch statistics, no gradient.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, dim]`.
    pub(super) fn project(&self, x: &Tensor<4>, mode: Mode) -> Tensor<2> {
        let h = self.backbone.forward(x.clone(), mode);
        self.projector.forward(h, mode).detach()
    }
}
