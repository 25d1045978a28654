//! NNBYOL: BYOL (Grill et al. 2020, arXiv:2006.07733) towards nearest neighbours, an ablation of Dwibedi et al. 2021,
//! arXiv:2104.14548, in the form of solo-learn.
//!
//! The student predicts not the teacher's projection of the other view but the nearest neighbour of that projection
//! among those of earlier batches:
//!
//! `L = [ 2 − 2·mean cos(p₁, NN(k₂)) ] + [ 2 − 2·mean cos(p₂, NN(k₁)) ]`
//!
//! with p the predictions and k the teacher's unit-length projections, of which those of the first view go into the queue.
//! The formula is in [`crate::objective::prediction`].

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{predicting::Student, teacher::TeacherAndQueue};
use crate::{
    backbone::Backbone,
    layers::{Init, Mlp},
    memory::Queue,
    method::{Loss, Method, Sizes, Views},
    objective::{cosine_similarity, figures, prediction, unit_rows},
    recipe::{Checker, Settings},
    schedule::{Momentum, Step},
};

/// Settings, the table `[nnbyol]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NnByol {
    /// Hidden width of the projector.
    pub projector_hidden: usize,
    /// Length of projections and predictions.
    pub dim: usize,
    /// Hidden width of the predictor.
    pub predictor_hidden: usize,
    /// Projections among which neighbours are looked for, a multiple of the images of a forward
    /// pass.
    pub queue: usize,
    /// Teacher's momentum τ, by cosine from `base` to `last`.
    pub momentum: Momentum,
}

impl Settings for NnByol {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.at_least("predictor_hidden", self.predictor_hidden as u64, 1);
        checker.at_least("queue", self.queue as u64, 1);
        checker.momentum(&self.momentum);
    }
}

impl Default for NnByol {
    fn default() -> Self {
        Self {
            projector_hidden: 4096,
            dim: 256,
            predictor_hidden: 4096,
            queue: 65536,
            momentum: Momentum { base: 0.99, last: 1.0 },
        }
    }
}

impl Method for NnByol {
    type Student = Student;
    /// With the projections of the first view of earlier batches.
    type Memory = TeacherAndQueue;
    /// The teacher's unit-length projections of the first view, `[n, dim]`.
    type Carry = Tensor<2>;

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("nnbyol")?;
        Queue::check("nnbyol.queue", self.queue, sizes.batch)
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student {
            backbone,
            projector: Mlp::new(dim, self.projector_hidden, self.dim, init),
            predictor: Mlp::new(self.dim, self.predictor_hidden, self.dim, init),
        }
    }

    fn memory(&self, student: &Student, _: &Sizes, init: &Init) -> TeacherAndQueue {
        let networks = (&student.backbone, &student.projector);
        TeacherAndQueue::of(networks, (self.queue, self.dim), init)
    }

    fn loss(
        &self,
        student: &Student,
        memory: &Self::Memory,
        views: &Views,
        at: &Step,
    ) -> Loss<Self::Carry> {
        let mode = views.mode();
        let keys = views.pair().map(|x| memory.teacher.project(x, mode));
        let [(h1, z1, p1), (h2, z2, p2)] = views.pair().map(|x| student.predict(x, mode));
        let (keys, predictions) = views.gather((keys, [p1, p2]));
        let keys = keys.map(unit_rows);
        let neighbours =
            keys.each_ref().map(|k| memory.queue.take(memory.queue.nearest(k.clone())));
        let total = prediction::byol(&predictions, &neighbours);
        let image_losses = at
            .image_losses
            .then(|| prediction::byol_rows(&predictions.clone().map(Tensor::detach), &neighbours));
        // Each of the two pairs is 2 − 2·cosine.
        let mut parts = vec![("cosine", total.clone().detach() / -4.0 + 1.0)];
        if at.watch {
            let found = cosine_similarity(keys[0].clone(), neighbours[0].clone()).mean();
            let projections = views.gather_detached(vec![z1, z2]);
            parts.push(("neighbour_cosine", found));
            parts.push(("projection_std", figures::unit_std(&projections)));
            parts.push(("teacher_std", figures::unit_std(&keys)));
            parts.push(("projection_norm", figures::mean_norm(projections[0].clone())));
        }
        let [first, _] = keys;
        Loss { total, parts, features: vec![h1, h2], image_losses, carry: first }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn teacher<'a>(&self, memory: &'a Self::Memory) -> Option<&'a Backbone> {
        Some(&memory.teacher.backbone)
    }

    fn remember(&self, memory: Self::Memory, keys: Tensor<2>, at: &Step) -> Self::Memory {
        memory.remember(keys, at.passes())
    }

    fn after_step(&self, memory: Self::Memory, student: &Student, at: &Step) -> Self::Memory {
        memory.follow(student, self.momentum.at(at))
    }
}
