//! LeJEPA: latent Euclidean joint-embedding prediction (Balestriero and LeCun 2025, arXiv:2511.08544).
//!
//! Views of an image lie close together, and the embeddings of each view are distributed like an isotropic Gaussian;
//! that alone prevents collapse, without a teacher, a predictor or a stopped gradient:
//!
//! `L = λ · SIGReg + (1 − λ) · mean ‖z − centre‖²`
//!
//! with the centre of an image's global views. The formulas are in [`crate::objective::sigreg`]; the random directions
//! are new in every step, and the same on all ranks.

use burn::tensor::{Tensor, TensorData};
use rand::Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};
use vssl_data::rng::{Stream, rng};

use super::embedding::Student;
use crate::{
    backbone::Backbone,
    layers::{Init, budget},
    method::{Loss, Method, Nothing, Sizes, Views},
    objective::{
        figures,
        sigreg::{Quadrature, Sketch, Total, clipped, invariance},
    },
    recipe::{Checker, Settings},
    schedule::Step,
};

/// The largest knot: beyond it the window is 0 in double precision.
const MOST_T: f64 = 38.0;

/// Over which knots the characteristic functions are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Range {
    /// On 0 to `t_max`, which stand for both signs: the package lejepa, lightly, stable-pretraining.
    #[default]
    Half,
    /// On −`t_max` to `t_max`: the paper's listing, with `t_max = 5`.
    Full,
}

/// Settings, the table `[lejepa]` of a recipe. Defaults are those of lightly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeJepa {
    /// Width of the projector's two hidden layers.
    pub projector_hidden: usize,
    /// Length of the embeddings.
    pub dim: usize,
    /// Weight λ of SIGReg.
    pub lambda: f64,
    /// Number of random directions a step.
    pub slices: usize,
    /// Number of knots.
    pub knots: usize,
    /// The last knot.
    pub t_max: f64,
    /// Where the knots lie: `"half"` or `"full"`.
    pub range: Range,
    /// Whether the statistic has the factor n; eb_jepa leaves it out.
    pub times_rows: bool,
    /// Whether the rows of all views are one sample, as in stable-pretraining.
    pub pooled: bool,
    /// Below this a statistic counts as 0 and has no gradient.
    pub clip: f64,
    /// How the two terms are added: `"mixture"` is `λ·sigreg + (1 − λ)·invariance`, `"sum"` is `invariance + λ·sigreg`.
    pub total: Total,
}

impl Settings for LeJepa {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        match self.total {
            Total::Mixture => checker.share("lambda", self.lambda),
            Total::Sum => checker.not_negative("lambda", self.lambda),
        }
        checker.at_least("slices", self.slices as u64, 1);
        checker.at_least("knots", self.knots as u64, 2);
        checker.positive("t_max", self.t_max);
        let within = self.t_max <= MOST_T;
        checker.require("t_max", within, self.t_max, format_args!("at most {MOST_T}"));
        checker.not_negative("clip", self.clip);
    }
}

impl Default for LeJepa {
    fn default() -> Self {
        Self {
            projector_hidden: 2048,
            dim: 64,
            lambda: 0.05,
            slices: 1024,
            knots: 17,
            t_max: 3.0,
            range: Range::Half,
            times_rows: true,
            pooled: false,
            clip: 0.0,
            total: Total::Mixture,
        }
    }
}

impl LeJepa {
    /// The settings of SIGReg.
    pub fn sketch(&self) -> Sketch {
        let quadrature = match self.range {
            Range::Half => Quadrature::half_range(self.t_max, self.knots),
            Range::Full => Quadrature::full_range(self.t_max, self.knots),
        };
        Sketch { quadrature, times_rows: self.times_rows, pooled: self.pooled }
    }

    /// Normal numbers, of which each column is a direction of this step, `[dim, slices]`.
    fn directions(&self, like: &Tensor<2>, at: &Step) -> Tensor<2> {
        let (shape, mut rng) =
            ([self.dim, self.slices], rng(at.seed, Stream::Directions, at.index, at.micro));
        let values: Vec<f32> =
            (0..self.dim * self.slices).map(|_| rng.sample(StandardNormal)).collect();
        Tensor::from_data(TensorData::new(values, shape), &like.device())
    }
}

impl Method for LeJepa {
    type Student = Student;
    type Memory = Nothing;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_other_images("lejepa")?;
        let views = sizes.global_views.saturating_add(sizes.local_views) as u64;
        let rows = (sizes.batch as u64).saturating_mul(views).saturating_mul(self.knots as u64);
        let numbers = rows.saturating_add(self.dim as u64).saturating_mul(self.slices as u64);
        budget::check_memory(numbers.saturating_mul(4)).map_err(|space| {
            format!(
                "lejepa.slices = {} and lejepa.knots = {} take {space}: lower one of them",
                self.slices, self.knots
            )
        })?;
        if sizes.global_views >= 1 && sizes.global_views + sizes.local_views >= 2 {
            return Ok(());
        }
        Err(format!(
            "views.count adds up to {} global and {} local views; lejepa compares the views of an image: expected \
             at least 2, one of them global (views.local = false)",
            sizes.global_views, sizes.local_views
        ))
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student::new(backbone, dim, self.projector_hidden, self.dim, init)
    }

    fn memory(&self, _: &Student, _: &Sizes, _: &Init) -> Nothing {
        Nothing
    }

    fn loss(&self, student: &Student, _: &Nothing, views: &Views, at: &Step) -> Loss<()> {
        let (features, embeddings): (Vec<_>, Vec<_>) =
            views.all().map(|x| student.embed(x, views.mode())).unzip();
        let embeddings = views.gather(embeddings);
        let directions = self.directions(&embeddings[0], at);
        let (global, local) = embeddings.split_at(views.global.len());
        let statistics = self.sketch().statistics(&embeddings, directions);
        let sigreg =
            if self.clip > 0.0 { clipped(statistics, self.clip) } else { statistics }.mean();
        let invariance = invariance(global, local);
        let mut parts = vec![("sigreg", sigreg.clone()), ("invariance", invariance.clone())];
        if at.watch {
            let global: Vec<_> = global.iter().map(|z| z.clone().detach()).collect();
            parts.push(("embedding_std", figures::unit_std(&global)));
            parts.push(("embedding_norm", figures::mean_norm(global[0].clone())));
        }
        let total = self.total.of(sigreg, invariance, self.lambda);
        Loss { total, parts, features, image_losses: None, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }
}
