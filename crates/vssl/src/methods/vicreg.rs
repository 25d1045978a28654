//! VICReg: variance, invariance, covariance (Bardes et al. 2022, arXiv:2105.04906).
//!
//! Embeddings of two views should be alike, vary over the batch in every dimension, and in every
//! dimension differently:
//!
//! `L = similarity_weight · s(a, b) + variance_weight · [v(a) + v(b)]
//!      + covariance_weight · [c(a) + c(b)]`                                              (eq. 6)
//!
//! The formulas are in [`crate::objective::redundancy`]. There is nothing to remember.

use burn::tensor::Tensor;
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

/// Settings, the table `[vicreg]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vicreg {
    /// Width of the projector's two hidden layers.
    pub projector_hidden: usize,
    /// Length of the embeddings.
    pub dim: usize,
    /// Weight of the distance between the views.
    pub similarity_weight: f64,
    /// Weight of the hinge on standard deviations below 1.
    pub variance_weight: f64,
    /// Weight of the covariances between dimensions.
    pub covariance_weight: f64,
}

impl Settings for Vicreg {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.not_negative("similarity_weight", self.similarity_weight);
        checker.not_negative("variance_weight", self.variance_weight);
        checker.not_negative("covariance_weight", self.covariance_weight);
    }
}

impl Default for Vicreg {
    fn default() -> Self {
        Self {
            projector_hidden: 2048,
            dim: 2048,
            similarity_weight: 25.0,
            variance_weight: 25.0,
            covariance_weight: 1.0,
        }
    }
}

/// The terms and figures that are logged, also those of VIbCReg.
///
/// # Shapes — `embeddings`: `[n, dim]` each.
pub(super) fn parts(
    terms: &redundancy::Vicreg,
    embeddings: [Tensor<2>; 2],
    at: &Step,
) -> Vec<(&'static str, Tensor<1>)> {
    let mut parts = vec![
        ("similarity", terms.similarity.clone()),
        ("variance", terms.variance.clone()),
        ("covariance", terms.covariance.clone()),
    ];
    if at.watch {
        let embeddings = embeddings.map(Tensor::detach);
        parts.push(("embedding_std", figures::unit_std(&embeddings)));
        parts.push(("embedding_norm", figures::mean_norm(embeddings[0].clone())));
    }
    parts
}

impl Method for Vicreg {
    type Student = Student;
    type Memory = Nothing;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("vicreg")
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
        let terms = redundancy::vicreg(a.clone(), b.clone());
        let parts = parts(&terms, [a, b], at);
        let total =
            terms.total(self.similarity_weight, self.variance_weight, self.covariance_weight);
        Loss { total, parts, features: vec![h1, h2], image_losses: None, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }
}
