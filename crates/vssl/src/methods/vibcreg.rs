//! VIbCReg: variance, invariance, better covariance (Lee and Aune 2021, arXiv:2109.00783).
//!
//! VICReg with correlations in place of covariances, and with iterative normalisation at the end of the projector:
//!
//! `L = similarity_weight · s(a, b) + variance_weight · [v(a) + v(b)]
//!      + covariance_weight · [c(a) + c(b)]`
//!
//! The formulas are in [`crate::objective::redundancy`], the normalisation in [`crate::layers::IterNorm`]. There is
//! nothing to remember.

use burn::{module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};

use super::vicreg::parts;
use crate::{
    backbone::Backbone,
    layers::{Init, IterNorm, Mlp, MlpStyle, Mode},
    method::{Loss, Method, Nothing, Sizes, Views},
    objective::redundancy,
    recipe::{Checker, Settings},
    schedule::Step,
};

/// About how many groups the normalisation makes of the embedding's columns.
const GROUPS: usize = 64;

/// Settings, the table `[vibcreg]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vibcreg {
    /// Width of the projector's two hidden layers.
    pub projector_hidden: usize,
    /// Length of the embeddings.
    pub dim: usize,
    /// Weight of the distance between the views.
    pub similarity_weight: f64,
    /// Weight of the hinge on standard deviations below 1.
    pub variance_weight: f64,
    /// Weight of the correlations between dimensions.
    pub covariance_weight: f64,
    /// Whether the projector ends with an iterative normalisation, in 64 groups of columns.
    pub iternorm: bool,
}

impl Settings for Vibcreg {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.not_negative("similarity_weight", self.similarity_weight);
        checker.not_negative("variance_weight", self.variance_weight);
        checker.not_negative("covariance_weight", self.covariance_weight);
    }
}

impl Default for Vibcreg {
    fn default() -> Self {
        Self {
            projector_hidden: 2048,
            dim: 2048,
            similarity_weight: 25.0,
            variance_weight: 25.0,
            covariance_weight: 200.0,
            iternorm: true,
        }
    }
}

/// Backbone, projector and normalisation.
#[derive(Module, Debug)]
pub struct Student {
    backbone: Backbone,
    projector: Mlp,
    iter_norm: Option<IterNorm>,
}

impl Student {
    /// Features of one view, and what the normalisation is given.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, features]` and `[n, dim]`.
    fn embed(&self, x: &Tensor<4>, mode: Mode) -> (Tensor<2>, Tensor<2>) {
        let h = self.backbone.forward(x.clone(), mode);
        (h.clone(), self.projector.forward(h, mode))
    }
}

impl Method for Vibcreg {
    type Student = Student;
    type Memory = Nothing;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("vibcreg")?;
        sizes.require_other_images("vibcreg")
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        let (hidden, style) =
            (self.projector_hidden, MlpStyle { gelu: true, ..MlpStyle::default() });
        let projector = Mlp::styled(dim, &[hidden, hidden], self.dim, style, init);
        let channels = IterNorm::channels(self.dim, GROUPS);
        let normalised = || IterNorm::new(self.dim / channels, channels, init);
        Student { backbone, projector, iter_norm: self.iternorm.then(normalised) }
    }

    fn memory(&self, _: &Student, _: &Sizes, _: &Init) -> Nothing {
        Nothing
    }

    fn loss(&self, student: &Student, _: &Nothing, views: &Views, at: &Step) -> Loss<()> {
        let [(h1, a), (h2, b)] = views.pair().map(|x| student.embed(x, views.mode()));
        // The whitening needs the joint batch, so it comes behind the gathering, with a share of its parameters.
        let [a, b] = views.gather([a, b]).map(|x| match &student.iter_norm {
            Some(norm) => norm.forward(x, views.group.world()),
            None => x,
        });
        let terms = redundancy::vibcreg(a.clone(), b.clone());
        let parts = parts(&terms, [a, b], at);
        let total =
            terms.total(self.similarity_weight, self.variance_weight, self.covariance_weight);
        Loss { total, parts, features: vec![h1, h2], image_losses: None, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }
}
