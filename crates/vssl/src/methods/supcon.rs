//! SupCon: supervised contrastive learning (Khosla et al. 2020, arXiv:2004.11362), in the form of solo-learn.
//!
//! SimCLR whose positives are all other rows of the same class: the one method that sees labels. It shows what a budget
//! gives where nothing has to be found out without them.
//!
//! `L = −mean_i log( Σ_P(i) s_ij / (Σ_P(i) s_ij + Σ_Q(i) s_ij) )`, `s_ij = exp(cos(zᵢ, zⱼ)/temperature)`
//!
//! with P(i) the other rows of the class of row i and Q(i) the rows of other classes; or, with `form = "outside"`, the
//! mean over P(i) of the logarithms. The formulas are in [`crate::objective::contrastive`].

use serde::{Deserialize, Serialize};

use super::{embedding::Student, simclr::contrasted};
use crate::{
    backbone::Backbone,
    layers::Init,
    method::{Loss, Method, Nothing, Sizes, Views},
    objective::contrastive,
    recipe::{Checker, Settings},
    schedule::Step,
};

/// Where the positives of a row are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Inside the logarithm, as in solo-learn.
    #[default]
    Inside,
    /// Outside, as in the paper's equation 2.
    Outside,
}

/// Settings, the table `[supcon]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupCon {
    /// Hidden width of the projector.
    pub projector_hidden: usize,
    /// Length of the embeddings.
    pub dim: usize,
    /// What cosines are divided by.
    pub temperature: f64,
    /// Where the positives of a row are added: `"inside"` or `"outside"` the logarithm.
    pub form: Form,
}

impl Settings for SupCon {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.positive("temperature", self.temperature);
    }
}

impl Default for SupCon {
    fn default() -> Self {
        Self { projector_hidden: 2048, dim: 256, temperature: 0.2, form: Form::Inside }
    }
}

impl Method for SupCon {
    type Student = Student;
    type Memory = Nothing;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_two_views("supcon")?;
        sizes.require_other_images("supcon")
    }

    fn sees_labels(&self) -> bool {
        true
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student::plain(backbone, dim, self.projector_hidden, self.dim, init)
    }

    fn memory(&self, _: &Student, _: &Sizes, _: &Init) -> Nothing {
        Nothing
    }

    fn loss(&self, student: &Student, _: &Nothing, views: &Views, at: &Step) -> Loss<()> {
        let labels = views.joint_labels();
        contrasted(student, views, &labels, at, |z, labels| match self.form {
            Form::Inside => contrastive::nt_xent_rows(z, labels, self.temperature),
            Form::Outside => contrastive::supcon_outside_rows(z, labels, self.temperature),
        })
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }
}
