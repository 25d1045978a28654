//! Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230).
//!
//! The cross-correlation `C` of two views' embeddings, taken over the batch, should be the identity:
//!
//! `L = loss_scale · [ Σᵢ (Cᵢᵢ − 1)² + lambda · Σ_{i≠j} Cᵢⱼ² ]`                              (eq. 1)
//!
//! The formula is in [`crate::objective::redundancy`]. There is nothing to remember.

use serde::{Deserialize, Serialize};

use super::embedding::Student;
use crate::{
    backbone::Backbone,
    layers::Init,
    method::{Loss, Method, Nothing, Sizes, Views},
    objective::{figures, redundancy},
    recipe::{Checker, Settings},
    schedule::Step,
};

/// Settings, the table `[barlow]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Barlow {
    /// Width of the projector's two hidden layers.
    pub projector_hidden: usize,
    /// Length of the embeddings.
    pub dim: usize,
    /// Weight of the entries off the diagonal.
    pub lambda: f64,
    /// Factor on the whole loss.
    pub loss_scale: f64,
}

impl Settings for Barlow {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.not_negative("lambda", self.lambda);
        checker.positive("loss_scale", self.loss_scale);
    }
}

impl Default for Barlow {
    fn default() -> Self {
        Self { projector_hidden: 2048, dim: 2048, lambda: 0.0051, loss_scale: 0.1 }
    }
}

impl Method for Barlow {
    type Student = Student;
    type Memory = Nothing;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("barlow")
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student::new(backbone, dim, self.projector_hidden, self.dim, init)
    }

    fn memory(&self, _: &Student, _: &Sizes, _: &Init) -> Nothing {
        Nothing
    }

    fn loss(&self, student: &Student, _: &Nothing, views: &Views, at: &Step) -> Loss<()> {
        let [(h1, a), (h2, b)] = views.pair().map(|x| student.embed(x, views.mode()));
        let [a, b] = views.gather([a, b]);
        let terms = redundancy::barlow(a.clone(), b.clone());
        let mut parts = vec![
            ("invariance", terms.invariance.clone()),
            ("redundancy", terms.redundancy.clone()),
        ];
        if at.watch {
            let embeddings = [a.detach(), b.detach()];
            parts.push(("agreement", terms.agreement.clone()));
            parts.push(("embedding_std", figures::unit_std(&embeddings)));
            parts.push(("embedding_norm", figures::mean_norm(embeddings[0].clone())));
        }
        let total = terms.total(self.lambda, self.loss_scale);
        Loss { total, parts, features: vec![h1, h2], image_losses: None, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }
}
