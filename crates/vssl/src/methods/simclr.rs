//! SimCLR: a simple framework for contrastive learning (Chen et al. 2020, arXiv:2002.05709).
//!
//! Each row of the batch has to find the other views of its image among all other rows:
//!
//! `L = −mean_i log( Σ_P(i) s_ij / (Σ_P(i) s_ij + Σ_Q(i) s_ij) )`, `s_ij = exp(cos(zᵢ, zⱼ)/temperature)`
//!
//! with P(i) the other views of the image of row i and Q(i) all views of other images. The formula
//! is in [`crate::objective::contrastive`]. There is no teacher and nothing to remember.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::embedding::Student;
use crate::{
    backbone::Backbone,
    layers::Init,
    method::{Loss, Method, Nothing, Sizes, Views},
    objective::{contrastive, figures, loss_prediction::over_views},
    recipe::{Checker, Settings},
    schedule::Step,
};

/// Settings, the table `[simclr]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimClr {
    /// Hidden width of the projector.
    pub projector_hidden: usize,
    /// Length of the embeddings.
    pub dim: usize,
    /// What cosines are divided by.
    pub temperature: f64,
}

impl Settings for SimClr {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.positive("temperature", self.temperature);
    }
}

impl Default for SimClr {
    fn default() -> Self {
        Self { projector_hidden: 2048, dim: 256, temperature: 0.2 }
    }
}

/// Contrasts all views of the joint batch by `formula`, which turns `[views·n, d]` embeddings and a number for each row
/// into the loss of each row, `[views·n]`: rows of one number are positives. `numbers` has one for each of the n images. SupCon's pass, too.
pub(super) fn contrasted(
    student: &Student,
    views: &Views,
    numbers: &[usize],
    at: &Step,
    formula: impl FnOnce(Tensor<2>, &[usize]) -> Tensor<1>,
) -> Loss<()> {
    let (features, embeddings): (Vec<_>, Vec<_>) =
        views.all().map(|x| student.embed(x, views.mode())).collect();
    let embeddings = views.gather(embeddings);
    let z = Tensor::cat(embeddings.clone(), 0); // views × [n, d] -> [views·n, d]
    let rows = formula(z, &numbers.repeat(embeddings.len()));
    let image_losses = at.image_losses.then(|| over_views(rows.clone().detach(), embeddings.len()));
    let mut parts = Vec::new();
    if at.watch {
        let embeddings: Vec<_> = embeddings.into_iter().map(Tensor::detach).collect();
        parts = figures::pair(&embeddings[0], &embeddings[1]).into();
        parts.push(("embedding_std", figures::unit_std(&embeddings)));
        parts.push(("embedding_norm", figures::mean_norm(embeddings[0].clone())));
    }
    Loss { total: rows.mean(), parts, features, image_losses, carry: () }
}

impl Method for SimClr {
    type Student = Student;
    type Memory = Nothing;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_two_views("simclr")?;
        sizes.require_other_images("simclr")
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
        let images = views.joint_images();
        contrasted(student, views, &images, at, |z, images| {
            contrastive::nt_xent_rows(z, images, self.temperature)
        })
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }
}
