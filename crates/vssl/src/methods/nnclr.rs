//! NNCLR: nearest-neighbour contrastive learning (Dwibedi et al. 2021, arXiv:2104.14548).
//!
//! The positive of a view is not the other view itself but its nearest neighbour among embeddings of
//! earlier batches:
//!
//! `L = ½·ctr(NN(z₁), p₂) + ½·ctr(NN(z₂), p₁)`, `ctr(a, p) = CE(cos(a, pᵀ)/temperature, i to i)`
//!
//! with z the unit-length projections and p the predictions. The formula is in
//! [`crate::objective::contrastive`].

use burn::{module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};

use super::predicting::Student;
use crate::{
    backbone::Backbone,
    layers::{Init, Mlp, MlpStyle, OutputNorm},
    memory::Queue,
    method::{Loss, Method, Sizes, Views},
    objective::{contrastive, cosine_similarity, figures, unit_rows},
    recipe::{Checker, Settings},
    schedule::Step,
};

/// Settings, the table `[nnclr]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nnclr {
    /// Width of the projector's two hidden layers.
    pub projector_hidden: usize,
    /// Length of projections and predictions.
    pub dim: usize,
    /// Hidden width of the predictor.
    pub predictor_hidden: usize,
    /// What cosines are divided by.
    pub temperature: f64,
    /// Projections among which neighbours are looked for, a multiple of the images of a forward
    /// pass.
    pub queue: usize,
}

impl Settings for Nnclr {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.at_least("predictor_hidden", self.predictor_hidden as u64, 1);
        checker.positive("temperature", self.temperature);
        checker.at_least("queue", self.queue as u64, 1);
    }
}

impl Default for Nnclr {
    fn default() -> Self {
        Self {
            projector_hidden: 2048,
            dim: 256,
            predictor_hidden: 4096,
            temperature: 0.2,
            queue: 65536,
        }
    }
}

/// Unit-length projections of the first view of earlier batches. The memory of NNSiam, too.
#[derive(Module, Debug)]
pub struct Memory {
    pub(super) queue: Queue,
}

impl Memory {
    /// A queue of `length` random directions of `dim` numbers.
    pub(super) fn random(length: usize, dim: usize, init: &Init) -> Self {
        Self { queue: Queue::random(length, dim, init) }
    }

    /// Takes the projections of a batch into the queue; `passes` batches went in before.
    ///
    /// # Shapes — `projections`: `[n, dim]`.
    pub(super) fn remember(self, projections: Tensor<2>, passes: u64) -> Self {
        Self { queue: self.queue.push(projections, passes) }
    }
}

impl Method for Nnclr {
    type Student = Student;
    type Memory = Memory;
    /// The unit-length projections of the first view, `[n, dim]`.
    type Carry = Tensor<2>;

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("nnclr")?;
        sizes.require_other_images("nnclr")?;
        Queue::check("nnclr.queue", self.queue, sizes.batch)
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        let style = MlpStyle { output_norm: OutputNorm::Affine, ..MlpStyle::default() };
        let hidden = [self.projector_hidden; 2];
        Student {
            backbone,
            projector: Mlp::styled(dim, &hidden, self.dim, style, init),
            predictor: Mlp::new(self.dim, self.predictor_hidden, self.dim, init),
        }
    }

    fn memory(&self, _: &Student, _: &Sizes, init: &Init) -> Memory {
        Memory::random(self.queue, self.dim, init)
    }

    fn loss(
        &self,
        student: &Student,
        memory: &Memory,
        views: &Views,
        at: &Step,
    ) -> Loss<Self::Carry> {
        let [(h1, z1, p1), (h2, z2, p2)] = views.pair().map(|x| student.predict(x, views.mode()));
        let [z1, z2, p1, p2] = views.gather([z1.detach(), z2.detach(), p1, p2]);
        // The predictor reads the projection as it is, the queue its direction.
        let (z1, z2) = (unit_rows(z1), unit_rows(z2));
        let neighbours = [&z1, &z2].map(|z| memory.queue.take(memory.queue.nearest(z.clone())));
        let mut parts = Vec::new();
        if at.watch {
            let found = cosine_similarity(z1.clone(), neighbours[0].clone()).mean();
            parts = figures::pair(&neighbours[0], &p2.clone().detach()).into();
            parts.push(("neighbour_cosine", found));
            parts.push(("projection_std", figures::unit_std(&[z1.clone(), z2])));
            parts.push(("prediction_norm", figures::mean_norm(p1.clone().detach())));
        }
        let image_losses = at.image_losses.then(|| {
            let predictions = [p1.clone().detach(), p2.clone().detach()];
            contrastive::nnclr_rows(neighbours.clone(), predictions, self.temperature)
        });
        let total = contrastive::nnclr(neighbours, [p1, p2], self.temperature);
        Loss { total, parts, features: vec![h1, h2], image_losses, carry: z1 }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn remember(&self, memory: Memory, projections: Tensor<2>, at: &Step) -> Memory {
        memory.remember(projections, at.passes())
    }
}
