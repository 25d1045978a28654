//! SimSiam: simple siamese learning (Chen and He 2021, arXiv:2011.10566).
//!
//! Each view predicts the other view's projection, whose gradient is stopped:
//!
//! `L = ½·[ −mean cos(p₁, sg z₂) − mean cos(p₂, sg z₁) ]`
//!
//! The formula is in [`crate::objective::prediction`]. There is no teacher and nothing to remember.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::predicting::Student;
use crate::{
    backbone::Backbone,
    layers::{Init, Mlp, MlpStyle, OutputNorm},
    method::{Loss, Method, Nothing, Sizes, Views},
    objective::{figures, prediction},
    recipe::{Checker, Settings},
    schedule::Step,
};

/// Projections whose standard deviation is below this share of `1/√dim` point nearly the same way.
const COLLAPSED_SHARE: f64 = 0.1;

/// The batch normalisation that follows takes this bias out again; the reference has it and leaves it at its
/// initial value.
pub(super) const FROZEN: &[&str] = &["projector.output.bias"];

/// Settings, the table `[simsiam]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimSiam {
    /// Width of the projector's two hidden layers.
    pub projector_hidden: usize,
    /// Length of projections and predictions.
    pub dim: usize,
    /// Hidden width of the predictor, a bottleneck.
    pub predictor_hidden: usize,
}

impl Settings for SimSiam {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.at_least("predictor_hidden", self.predictor_hidden as u64, 1);
    }
}

impl Default for SimSiam {
    fn default() -> Self {
        Self { projector_hidden: 2048, dim: 2048, predictor_hidden: 512 }
    }
}

impl Method for SimSiam {
    type Student = Student;
    type Memory = Nothing;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("simsiam")
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        student(backbone, dim, [self.projector_hidden, self.dim, self.predictor_hidden], init)
    }

    fn memory(&self, _: &Student, _: &Sizes, _: &Init) -> Nothing {
        Nothing
    }

    fn frozen(&self, _: &Step) -> &'static [&'static str] {
        FROZEN
    }

    fn loss(&self, student: &Student, _: &Nothing, views: &Views, at: &Step) -> Loss<()> {
        let [(h1, z1, p1), (h2, z2, p2)] = views.pair().map(|x| student.predict(x, views.mode()));
        let (predictions, projections) = views.gather(([p1, p2], [z1, z2]));
        let image_losses = at.image_losses.then(|| {
            let predictions = predictions.clone().map(Tensor::detach);
            prediction::simsiam_rows(predictions, projections.clone())
        });
        let total = prediction::simsiam(predictions, projections.clone());
        let mut parts = vec![("cosine", -total.clone().detach())];
        if at.watch {
            let projections = projections.map(|z| z.detach());
            parts.push(("projection_std", figures::unit_std(&projections)));
            parts.push(("projection_norm", figures::mean_norm(projections[0].clone())));
        }
        Loss { total, parts, features: vec![h1, h2], image_losses, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn symptom(&self, figures: &BTreeMap<String, f64>) -> Option<String> {
        collapse(figures, "simsiam", self.dim)
    }
}

/// Makes the networks of SimSiam and of NNSiam around a backbone with features of length `features`. The widths are
/// those of the projector's two hidden layers, of projections and predictions, and of the predictor's hidden layer.
pub(super) fn student(
    backbone: Backbone,
    features: usize,
    [hidden, dim, predictor_hidden]: [usize; 3],
    init: &Init,
) -> Student {
    let no_hidden_bias = MlpStyle { hidden_bias: false, ..MlpStyle::default() };
    let normalised = MlpStyle { output_norm: OutputNorm::Plain, ..no_hidden_bias };
    Student {
        backbone,
        projector: Mlp::styled(features, &[hidden, hidden], dim, normalised, init),
        predictor: Mlp::styled(dim, &[predictor_hidden], dim, no_hidden_bias, init),
    }
}

/// Returns a warning where the projections of `method`, of length `dim`, point nearly the same way.
pub(super) fn collapse(
    figures: &BTreeMap<String, f64>,
    method: &str,
    dim: usize,
) -> Option<String> {
    let std = *figures.get("projection_std")?;
    let healthy = 1.0 / (dim as f64).sqrt();
    (std < COLLAPSED_SHARE * healthy).then(|| {
        format!(
            "the projections are collapsing: projection_std {std:.2e}, spread projections of \
             {method}.dim = {dim} have {healthy:.2e}; a lower optimizer.lr may help"
        )
    })
}
