//! SwAV: swapping assignments between views (Caron et al. 2020, arXiv:2006.09882).
//!
//! Unit-length embeddings z are compared with unit-length prototypes C. Sinkhorn's iterations turn
//! the scores of a global view, together with those of a queue of earlier embeddings, into balanced
//! assignments q, and every other view has to predict them:
//!
//! `L = mean_{a, b≠a} −mean_rows Σ_c q_a · log softmax(z_b·Cᵀ / T)`                      (eq. 1, 2)
//!
//! with a over the global views and b over all. The formulas are in [`crate::objective::clustering`]
//! and [`crate::objective::sinkhorn`].

use burn::{
    module::Module,
    tensor::{Tensor, activation},
};
use serde::{Deserialize, Serialize};
use vssl_kernels::linear;

use crate::{
    backbone::Backbone,
    layers::{Init, Mlp, Mode, WeightNormLinear},
    memory::Recent,
    method::{Loss, Method, Sizes, Views},
    objective::{clustering, figures, sinkhorn, unit_rows},
    recipe::{Checker, Settings},
    schedule::Step,
};

/// Settings, the table `[swav]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Swav {
    /// Hidden width of the projector.
    pub projector_hidden: usize,
    /// Length of embeddings and prototypes.
    pub dim: usize,
    /// Number of prototypes.
    pub prototypes: usize,
    /// What predictions are divided by.
    pub temperature: f64,
    /// ε of Sinkhorn's iterations: the smaller, the closer to one prototype for each image.
    pub epsilon: f64,
    /// Number of Sinkhorn's iterations.
    pub sinkhorn_iterations: usize,
    /// Earlier embeddings of each global view that are assigned along with the batch; 0 for none.
    pub queue: usize,
    /// First epoch, counted from 0, whose assignments use the queue.
    pub queue_starts_epoch: u64,
    /// Epochs at the start in which the prototypes stay as they are.
    pub freeze_prototypes_epochs: u64,
}

impl Settings for Swav {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.at_least("prototypes", self.prototypes as u64, 2);
        checker.positive("temperature", self.temperature);
        checker.positive("epsilon", self.epsilon);
        checker.at_least("sinkhorn_iterations", self.sinkhorn_iterations as u64, 1);
    }
}

impl Default for Swav {
    fn default() -> Self {
        Self {
            projector_hidden: 2048,
            dim: 128,
            prototypes: 3000,
            temperature: 0.1,
            epsilon: 0.05,
            sinkhorn_iterations: 3,
            queue: 3840,
            queue_starts_epoch: 50,
            freeze_prototypes_epochs: 2,
        }
    }
}

/// Backbone, projector, and the prototypes as rows of norm 1.
#[derive(Module, Debug)]
pub struct Student {
    backbone: Backbone,
    projector: Mlp,
    prototypes: WeightNormLinear,
}

impl Student {
    /// Features, `[n, features]`, and unit-length embedding, `[n, dim]`, of one view.
    fn embed(&self, x: &Tensor<4>, mode: Mode) -> (Tensor<2>, Tensor<2>) {
        let h = self.backbone.forward(x.clone(), mode);
        (h.clone(), unit_rows(self.projector.forward(h, mode)))
    }
}

/// Embeddings of earlier global views, if the recipe wants a queue.
#[derive(Module, Debug)]
pub struct Memory {
    queue: Option<Recent>,
}

/// What [`Swav::swap`] computed of the embeddings of all views.
pub struct Swap {
    /// The loss, `[1]`.
    pub loss: Tensor<1>,
    /// Scores of each view's embeddings with the prototypes, `[n, prototypes]`.
    pub scores: Vec<Tensor<2>>,
    /// Assignments of each global view, `[n, prototypes]`, without gradient.
    pub assignments: Vec<Tensor<2>>,
}

impl Swav {
    /// Whether the assignments of this step use the queue.
    pub fn uses_queue(&self, at: &Step) -> bool {
        self.queue > 0 && at.epoch >= self.queue_starts_epoch
    }

    /// Assignments of the first `globals` views, and the loss between them and the scores of all. The
    /// queue is used if it is there and [`Swav::uses_queue`] says so.
    ///
    /// # Shapes — `scores`: `[n, prototypes]` of every view, dot products of unit-length embeddings
    /// with `prototypes`: unit-length `[prototypes, dim]`.
    pub fn swap(
        &self,
        scores: Vec<Tensor<2>>,
        globals: usize,
        prototypes: &Tensor<2>,
        queue: Option<&Recent>,
        at: &Step,
    ) -> Swap {
        let fixed = prototypes.clone().detach();
        let queue = queue.filter(|_| self.uses_queue(at));
        let assignments: Vec<Tensor<2>> = scores[..globals]
            .iter()
            .enumerate()
            .map(|(view, scores)| {
                let n = scores.dims()[0];
                let mut all = vec![scores.clone().detach()];
                all.extend(queue.map(|queue| linear(queue.rows(view), fixed.clone(), None)));
                let all = Tensor::cat(all, 0); // [n + queue, prototypes]
                sinkhorn(all, self.epsilon, self.sinkhorn_iterations).narrow(0, 0, n)
            })
            .collect();
        let loss = clustering::swapped(&scores, &assignments, self.temperature);
        Swap { loss, scores, assignments }
    }
}

impl Method for Swav {
    type Student = Student;
    type Memory = Memory;
    /// Embeddings of the global views, each `[n, dim]`; empty without a queue.
    type Carry = Vec<Tensor<2>>;

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_two_global("swav")
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student {
            backbone,
            projector: Mlp::new(dim, self.projector_hidden, self.dim, init),
            prototypes: WeightNormLinear::unit(self.dim, self.prototypes, init),
        }
    }

    fn memory(&self, _: &Student, sizes: &Sizes, init: &Init) -> Memory {
        let empty = || Recent::empty(sizes.global_views, self.queue, self.dim, init.device());
        Memory { queue: (self.queue > 0).then(empty) }
    }

    fn frozen(&self, at: &Step) -> &'static [&'static str] {
        if at.epoch < self.freeze_prototypes_epochs { &["prototypes"] } else { &[] }
    }

    fn loss(
        &self,
        student: &Student,
        memory: &Memory,
        views: &Views,
        at: &Step,
    ) -> Loss<Self::Carry> {
        let (features, z): (Vec<_>, Vec<_>) =
            views.all().map(|x| student.embed(x, views.mode())).collect();
        let prototypes = student.prototypes.weight();
        // Scores and not embeddings: nothing behind the gathering may hold the prototypes' gradient.
        let scores = z.iter().map(|z| linear(z.clone(), prototypes.clone(), None));
        let scores = views.gather(scores.collect::<Vec<_>>());
        let globals = views.global.len();
        let swap = self.swap(scores, globals, &prototypes, memory.queue.as_ref(), at);
        let image_losses = at.image_losses.then(|| {
            let scores: Vec<_> = swap.scores.iter().map(|x| x.clone().detach()).collect();
            clustering::swapped_rows(&scores, &swap.assignments, self.temperature)
        });
        let z = views.gather_detached(z);
        let mut parts = vec![("assignment_entropy", figures::entropy(swap.assignments[0].clone()))];
        if at.watch {
            parts.push(("embedding_std", figures::unit_std(&z)));
            parts.extend(self.figures(&swap));
        }
        let carry = if memory.queue.is_some() { z } else { Vec::new() };
        Loss { total: swap.loss, parts, features, image_losses, carry }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn remember(&self, memory: Memory, carry: Self::Carry, _: &Step) -> Memory {
        Memory { queue: memory.queue.map(|queue| queue.push(carry)) }
    }
}

impl Swav {
    /// Whether the first two views agree, and whether predictions use all prototypes.
    fn figures(&self, swap: &Swap) -> [(&'static str, Tensor<1>); 2] {
        let [first, second] = [0, 1].map(|view: usize| swap.assignments[view].clone().argmax(1));
        let predicted = swap.scores[0].clone().detach() / self.temperature;
        let usage = figures::usage(activation::softmax(predicted, 1));
        [("same_prototype", first.equal(second).float().mean()), ("prototype_usage", usage)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prototypes_are_frozen_in_the_first_epochs_only() {
        let at = |epoch| Step { epoch, ..Step::default() };
        let method = Swav { freeze_prototypes_epochs: 2, ..Swav::default() };
        assert_eq!(method.frozen(&at(1)), ["prototypes"]);
        assert!(method.frozen(&at(2)).is_empty());
    }
}
