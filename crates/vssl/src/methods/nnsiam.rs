//! NNSiam: SimSiam (Chen and He 2021, arXiv:2011.10566) towards nearest neighbours, an ablation of Dwibedi et al. 2021,
//! arXiv:2104.14548, in the form of solo-learn.
//!
//! Each view predicts the nearest neighbour of the other view's projection among those of earlier batches:
//!
//! `L = ½·[ −mean cos(p₁, NN(z₂)) − mean cos(p₂, NN(z₁)) ]`
//!
//! with z the unit-length projections, of which those of the first view go into the queue. The predictor reads the
//! projection as it is. The formula is in [`crate::objective::prediction`]. There is no teacher.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{nnclr::Memory, predicting::Student, simsiam};
use crate::{
    backbone::Backbone,
    layers::Init,
    memory::Queue,
    method::{Loss, Method, Sizes, Views},
    objective::{cosine_similarity, figures, prediction, unit_rows},
    recipe::{Checker, Settings},
    schedule::Step,
};

/// Settings, the table `[nnsiam]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NnSiam {
    /// Width of the projector's two hidden layers.
    pub projector_hidden: usize,
    /// Length of projections and predictions.
    pub dim: usize,
    /// Hidden width of the predictor.
    pub predictor_hidden: usize,
    /// Projections among which neighbours are looked for, a multiple of the images of a forward
    /// pass.
    pub queue: usize,
}

impl Settings for NnSiam {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.at_least("predictor_hidden", self.predictor_hidden as u64, 1);
        checker.at_least("queue", self.queue as u64, 1);
    }
}

impl Default for NnSiam {
    fn default() -> Self {
        Self { projector_hidden: 2048, dim: 2048, predictor_hidden: 4096, queue: 65536 }
    }
}

impl Method for NnSiam {
    type Student = Student;
    type Memory = Memory;
    /// The unit-length projections of the first view, `[n, dim]`.
    type Carry = Tensor<2>;

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("nnsiam")?;
        Queue::check("nnsiam.queue", self.queue, sizes.batch)
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        let widths = [self.projector_hidden, self.dim, self.predictor_hidden];
        simsiam::student(backbone, dim, widths, init)
    }

    fn memory(&self, _: &Student, _: &Sizes, init: &Init) -> Memory {
        Memory::random(self.queue, self.dim, init)
    }

    fn frozen(&self, _: &Step) -> &'static [&'static str] {
        simsiam::FROZEN
    }

    fn loss(
        &self,
        student: &Student,
        memory: &Memory,
        views: &Views,
        at: &Step,
    ) -> Loss<Self::Carry> {
        let [(h1, z1, p1), (h2, z2, p2)] = views.pair().map(|x| student.predict(x, views.mode()));
        let (projections, predictions) = views.gather(([z1.detach(), z2.detach()], [p1, p2]));
        let projections = projections.map(unit_rows);
        let neighbours =
            projections.each_ref().map(|z| memory.queue.take(memory.queue.nearest(z.clone())));
        let image_losses = at.image_losses.then(|| {
            let predictions = predictions.clone().map(Tensor::detach);
            prediction::simsiam_rows(predictions, neighbours.clone())
        });
        let total = prediction::simsiam(predictions, neighbours.clone());
        let mut parts = vec![("cosine", -total.clone().detach())];
        let [first, second] = projections;
        if at.watch {
            let [neighbours, _] = neighbours;
            parts.push(("neighbour_cosine", cosine_similarity(first.clone(), neighbours).mean()));
            parts.push(("projection_std", figures::unit_std(&[first.clone(), second])));
        }
        Loss { total, parts, features: vec![h1, h2], image_losses, carry: first }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn remember(&self, memory: Memory, projections: Tensor<2>, at: &Step) -> Memory {
        memory.remember(projections, at.passes())
    }

    fn symptom(&self, figures: &BTreeMap<String, f64>) -> Option<String> {
        simsiam::collapse(figures, "nnsiam", self.dim)
    }
}
