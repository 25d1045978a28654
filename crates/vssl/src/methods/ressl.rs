//! ReSSL: relational self-supervised learning (Zheng et al. 2021, arXiv:2107.09282).
//!
//! How a strongly augmented view relates to a queue of earlier images has to agree with how a weakly
//! augmented view of the same image does. **The first global view is the strong one, the student's;
//! the second is the weak one, the teacher's:** the order of `views` in the recipe is part of the
//! method.
//!
//! `L = mean_i −Σ_j softmax(k·queueᵀ/t_teacher)_j · log softmax(q·queueᵀ/t_student)_j`
//!
//! with unit-length q and k. The formula is in [`crate::objective::contrastive`].

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{embedding::Student, teacher::TeacherAndQueue};
use crate::{
    backbone::Backbone,
    layers::Init,
    memory::Queue,
    method::{Loss, Method, Sizes, Views},
    objective::{contrastive, cosine_similarity, figures, unit_rows},
    recipe::{Checker, Settings},
    schedule::{Momentum, Step},
};

/// Settings, the table `[ressl]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ressl {
    /// Hidden width of the projector.
    pub projector_hidden: usize,
    /// Length of the embeddings.
    pub dim: usize,
    /// What the student's similarities are divided by.
    pub student_temperature: f64,
    /// What the teacher's similarities are divided by: lower than the student's, so that the
    /// target is the sharper distribution.
    pub teacher_temperature: f64,
    /// Embeddings that relations are measured against, a multiple of the images of a forward pass.
    pub queue: usize,
    /// Teacher's momentum τ, by cosine from `base` to `last`.
    pub momentum: Momentum,
}

impl Settings for Ressl {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.positive("student_temperature", self.student_temperature);
        checker.positive("teacher_temperature", self.teacher_temperature);
        checker.at_least("queue", self.queue as u64, 1);
        checker.momentum(&self.momentum);
    }
}

impl Default for Ressl {
    fn default() -> Self {
        Self {
            projector_hidden: 4096,
            dim: 256,
            student_temperature: 0.1,
            teacher_temperature: 0.04,
            queue: 65536,
            momentum: Momentum { base: 0.99, last: 1.0 },
        }
    }
}

impl Method for Ressl {
    type Student = Student;
    /// With the embeddings of earlier weak views.
    type Memory = TeacherAndQueue;
    /// The teacher's unit-length embeddings, `[n, dim]`.
    type Carry = Tensor<2>;

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("ressl").map_err(|message| {
            format!("{message}; the first is the strong view, the second the weak one")
        })?;
        Queue::check("ressl.queue", self.queue, sizes.batch)
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student::plain(backbone, dim, self.projector_hidden, self.dim, init)
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
        let ([strong, weak], mode) = (views.pair(), views.mode());
        let k = memory.teacher.project(weak, mode);
        let (strong_features, z) = student.embed(strong, mode);
        // Not for the loss: the running statistics that evaluation uses, and the probe, are of both
        // views in the reference.
        let weak_features = student.backbone.forward(weak.clone(), mode);
        let [k, z] = views.gather([k, z]);
        let k = unit_rows(k);
        let q = unit_rows(z.clone());
        let queue = memory.queue.rows();
        let Self { student_temperature, teacher_temperature, .. } = *self;
        let rows = contrastive::ressl_rows(
            q.clone(),
            k.clone(),
            queue.clone(),
            student_temperature,
            teacher_temperature,
        );
        let image_losses = at.image_losses.then(|| rows.clone().detach());
        let total = rows.mean();
        let mut parts = Vec::new();
        if at.watch {
            let q = q.detach();
            let target = contrastive::relations(k.clone(), queue, teacher_temperature);
            let entropy = figures::entropy(target);
            // The cross entropy is the target's entropy and, above it, the divergence.
            parts.push(("divergence", total.clone().detach() - entropy.clone()));
            parts.push(("target_entropy", entropy));
            parts.push(("pair_cosine", cosine_similarity(q.clone(), k.clone()).mean()));
            parts.push(("embedding_std", figures::unit_std(&[q])));
            parts.push(("teacher_std", figures::unit_std(std::slice::from_ref(&k))));
            parts.push(("embedding_norm", figures::mean_norm(z.detach())));
        }
        Loss {
            total,
            parts,
            features: vec![strong_features, weak_features],
            image_losses,
            carry: k,
        }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn teacher<'a>(&self, memory: &'a Self::Memory) -> Option<&'a Backbone> {
        Some(&memory.teacher.backbone)
    }

    fn remember(&self, memory: Self::Memory, embeddings: Tensor<2>, at: &Step) -> Self::Memory {
        memory.remember(embeddings, at.passes())
    }

    fn after_step(&self, memory: Self::Memory, student: &Student, at: &Step) -> Self::Memory {
        memory.follow(student, self.momentum.at(at))
    }
}
