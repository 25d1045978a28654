//! BYOL: Bootstrap Your Own Latent (Grill et al. 2020, arXiv:2006.07733).
//!
//! The student predicts, from view b, the teacher's projection of another view a:
//!
//! `L = Σ_a Σ_{b≠a} [ 2 − 2·mean cos(predictor(projector(f(x_b))), teacher(x_a)) ]`
//!
//! with a over the global views and b over all. The formula is in
//! [`crate::objective::prediction`]; the teacher is the student's moving average.

use serde::{Deserialize, Serialize};

use super::{predicting::Student, teacher::Teacher};
use crate::{
    backbone::Backbone,
    layers::{Init, Mlp},
    method::{Loss, Method, Sizes, Views},
    objective::{figures, prediction},
    recipe::{Checker, Settings},
    schedule::{Momentum, Step},
};

/// Settings, the table `[byol]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Byol {
    /// Hidden width of the projector.
    pub projector_hidden: usize,
    /// Length of projections and predictions.
    pub dim: usize,
    /// Hidden width of the predictor.
    pub predictor_hidden: usize,
    /// Teacher's momentum τ, by cosine from `base` to `last`.
    pub momentum: Momentum,
}

impl Settings for Byol {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.at_least("predictor_hidden", self.predictor_hidden as u64, 1);
        checker.momentum(&self.momentum);
    }
}

impl Default for Byol {
    fn default() -> Self {
        Self {
            projector_hidden: 4096,
            dim: 256,
            predictor_hidden: 4096,
            momentum: Momentum { base: 0.99, last: 1.0 },
        }
    }
}

impl Method for Byol {
    type Student = Student;
    type Memory = Teacher;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_two_global("byol")
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student {
            backbone,
            projector: Mlp::new(dim, self.projector_hidden, self.dim, init),
            predictor: Mlp::new(self.dim, self.predictor_hidden, self.dim, init),
        }
    }

    fn memory(&self, student: &Student, _: &Sizes, _: &Init) -> Teacher {
        Teacher::of(&student.backbone, &student.projector)
    }

    fn loss(&self, student: &Student, teacher: &Teacher, views: &Views, at: &Step) -> Loss<()> {
        let mode = views.mode();
        let targets: Vec<_> = views.global.iter().map(|x| teacher.project(x, mode)).collect();
        let (features, projections, predictions): (Vec<_>, Vec<_>, Vec<_>) =
            views.all().map(|x| student.predict(x, mode)).collect();
        let (targets, predictions) = views.gather((targets, predictions));
        let total = prediction::byol(&predictions, &targets);
        let image_losses = at.image_losses.then(|| {
            prediction::byol_rows(
                &predictions.iter().map(|p| p.clone().detach()).collect::<Vec<_>>(),
                &targets,
            )
        });
        // Each pair is 2 − 2·cosine.
        let pairs = targets.len() * (predictions.len() - 1);
        let cosine = total.clone().detach() / (-2.0 * pairs as f64) + 1.0;
        let mut parts = vec![("cosine", cosine)];
        if at.watch {
            let projections = views.gather_detached(projections);
            parts.push(("projection_std", figures::unit_std(&projections)));
            parts.push(("teacher_std", figures::unit_std(&targets)));
            parts.push(("projection_norm", figures::mean_norm(projections[0].clone())));
        }
        Loss { total, parts, features, image_losses, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn teacher<'a>(&self, teacher: &'a Teacher) -> Option<&'a Backbone> {
        Some(&teacher.backbone)
    }

    fn after_step(&self, teacher: Teacher, student: &Student, at: &Step) -> Teacher {
        teacher.follow(student, self.momentum.at(at))
    }
}
