//! MoCo V2+: momentum contrast (Chen et al. 2020, arXiv:2003.04297) in both directions.
//!
//! Unit-length queries q of the student, keys k of the momentum teacher; for each view a queue of
//! the keys of earlier batches, which are the negatives:
//!
//! `L = ½·[ moco(q₁, k₂, queue₂) + moco(q₂, k₁, queue₁) ]`
//!
//! where `moco` is a cross entropy that picks the row's own key among the queue's. The formula is in
//! [`crate::objective::contrastive`].

use burn::{module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};

use super::{embedding::Student, teacher::Teacher};
use crate::{
    backbone::Backbone,
    layers::Init,
    memory::Queue,
    method::{Loss, Method, Sizes, Views},
    objective::{contrastive, figures, unit_rows},
    recipe::{Checker, Settings},
    schedule::{Momentum, Step},
};

/// Settings, the table `[mocov2plus]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MocoV2Plus {
    /// Hidden width of the projector.
    pub projector_hidden: usize,
    /// Length of queries and keys.
    pub dim: usize,
    /// What similarities are divided by.
    pub temperature: f64,
    /// Keys in each of the two queues, a multiple of the images of a forward pass.
    pub queue: usize,
    /// Teacher's momentum τ, by cosine from `base` to `last`.
    pub momentum: Momentum,
}

impl Settings for MocoV2Plus {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.positive("temperature", self.temperature);
        checker.at_least("queue", self.queue as u64, 1);
        checker.momentum(&self.momentum);
    }
}

impl Default for MocoV2Plus {
    fn default() -> Self {
        Self {
            projector_hidden: 2048,
            dim: 256,
            temperature: 0.2,
            queue: 32768,
            momentum: Momentum { base: 0.99, last: 0.999 },
        }
    }
}

/// The teacher, and the keys that it made of each view.
#[derive(Module, Debug)]
pub struct Memory {
    teacher: Teacher,
    queues: [Queue; 2],
}

impl Method for MocoV2Plus {
    type Student = Student;
    type Memory = Memory;
    /// The keys of both views, each `[n, dim]`.
    type Carry = [Tensor<2>; 2];

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("mocov2plus")?;
        Queue::check("mocov2plus.queue", self.queue, sizes.batch)
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student::plain(backbone, dim, self.projector_hidden, self.dim, init)
    }

    fn memory(&self, student: &Student, _: &Sizes, init: &Init) -> Memory {
        Memory {
            teacher: Teacher::of(&student.backbone, &student.projector),
            queues: std::array::from_fn(|_| Queue::random(self.queue, self.dim, init)),
        }
    }

    fn loss(
        &self,
        student: &Student,
        memory: &Memory,
        views: &Views,
        at: &Step,
    ) -> Loss<Self::Carry> {
        let (teacher, mode) = (&memory.teacher, views.mode());
        let keys = views.pair().map(|x| teacher.project(x, mode));
        let [(h1, z1), (h2, z2)] = views.pair().map(|x| student.embed(x, mode));
        let (keys, [z1, z2]) = views.gather((keys, [z1, z2]));
        let keys = keys.map(unit_rows);
        let queries = [unit_rows(z1.clone()), unit_rows(z2)];
        let queues = memory.queues.each_ref().map(Queue::rows);
        let mut parts = Vec::new();
        if at.watch {
            let queries = queries.clone().map(Tensor::detach);
            let [query, key, queue] = [&queries[0], &keys[1], &queues[1]].map(Tensor::clone);
            parts = figures::with_queue(query, key, queue).into();
            parts.push(("query_std", figures::unit_std(&queries)));
            parts.push(("key_std", figures::unit_std(&keys)));
            parts.push(("projection_norm", figures::mean_norm(z1.detach())));
        }
        let image_losses = at.image_losses.then(|| {
            let queries = queries.clone().map(Tensor::detach);
            let (keys, queues) = (keys.clone(), queues.clone());
            contrastive::mocov2plus_rows(queries, keys, queues, self.temperature)
        });
        let total = contrastive::mocov2plus(queries, keys.clone(), queues, self.temperature);
        Loss { total, parts, features: vec![h1, h2], image_losses, carry: keys }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn teacher<'a>(&self, memory: &'a Memory) -> Option<&'a Backbone> {
        Some(&memory.teacher.backbone)
    }

    fn remember(&self, memory: Memory, [k1, k2]: [Tensor<2>; 2], at: &Step) -> Memory {
        let [first, second] = memory.queues;
        let queues = [first.push(k1, at.passes()), second.push(k2, at.passes())];
        Memory { queues, ..memory }
    }

    fn after_step(&self, memory: Memory, student: &Student, at: &Step) -> Memory {
        let teacher = memory.teacher.follow(student, self.momentum.at(at));
        Memory { teacher, ..memory }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_and_queues_that_do_not_fit_are_refused_by_name() {
        let method = MocoV2Plus { queue: 96, ..MocoV2Plus::default() };
        let fits = Sizes { images: 200, batch: 32, global_views: 2, local_views: 0 };
        assert_eq!(Method::check(&method, &fits), Ok(()));
        for (sizes, named) in [
            (Sizes { batch: 40, ..fits }, "mocov2plus.queue is 96"),
            (Sizes { global_views: 3, ..fits }, "views.count"),
            (Sizes { local_views: 4, ..fits }, "views.local"),
        ] {
            let message = Method::check(&method, &sizes).unwrap_err();
            assert!(message.contains(named), "{message}");
        }
    }
}
