//! The momentum teacher of backbone and projector: moving averages of the student's networks of the
//! same names (`methods::{all4one, byol, mocov2plus, mocov3, nnbyol, ressl}`); and the same teacher beside a queue of its
//! projections of earlier batches (`methods::{all4one, nnbyol, ressl}`).

use burn::{module::Module, tensor::Tensor};

use crate::{
    backbone::Backbone,
    layers::{Init, Mlp, Mode},
    memory::Queue,
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

/// A teacher, and a queue of unit-length projections that it made of earlier batches.
#[derive(Module, Debug)]
pub struct TeacherAndQueue {
    pub(super) teacher: Teacher,
    pub(super) queue: Queue,
}

impl TeacherAndQueue {
    /// Copies of the student's networks, and a queue of `length` random directions of `dim` numbers.
    pub(super) fn of(
        (backbone, projector): (&Backbone, &Mlp),
        (length, dim): (usize, usize),
        init: &Init,
    ) -> Self {
        let teacher = Teacher::of(backbone, projector);
        Self { teacher, queue: Queue::random(length, dim, init) }
    }

    /// Takes the projections of a batch into the queue; `passes` batches went in before.
    ///
    /// # Shapes — `projections`: `[n, dim]`.
    pub(super) fn remember(self, projections: Tensor<2>, passes: u64) -> Self {
        Self { queue: self.queue.push(projections, passes), ..self }
    }

    /// Moves the teacher as [`Teacher::follow`] does.
    pub(super) fn follow(self, student: &impl Module, tau: f64) -> Self {
        Self { teacher: self.teacher.follow(student, tau), ..self }
    }
}
