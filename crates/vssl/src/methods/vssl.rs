//! VSSL: Variational Self-Supervised Learning (Yavuz and Yanıkoğlu 2025, arXiv:2504.04318).
//!
//! Student posterior `q_v = (μ̂, σ̂²)` and teacher prior `p_v = (μ, σ²)` for each view v; a latent
//! sample `z ~ q_v` is denoised to `r_v = (D_μ(z), D_σ(z))`;
//!
//! `L = Σ_v1 Σ_v2 [ kl_weight · KL(q_v1 ‖ p_v2) + nll_weight · NLL(r_v1 ‖ p_v2) ]`          (eq. 8)
//!
//! with v1 over all views and v2 over the global ones. The formulas are in
//! [`crate::objective::gaussian`].

use std::collections::BTreeMap;

use burn::{module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    backbone::Backbone,
    layers::{Init, Mlp, Mode},
    method::{Belief, Loss, Method, Posterior, ReadPosterior, Sizes, Views, teacher_of},
    objective::{
        cosine::cosine_similarity,
        gaussian::{self, Gaussian, clamp_log_variance, softplus_deviation},
        watch,
    },
    optim::ema,
    recipe::{Checker, Settings},
    schedule::{Momentum, Step},
};

/// A variance head this narrow, with views this alike, was seen to collapse slowly.
const COLLAPSED_SPREAD: f64 = 0.3;
const COLLAPSED_COSINE: f64 = 0.97;

/// Settings, the table `[vssl]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vssl {
    /// Hidden width of every head.
    pub hidden: usize,
    /// Length d of mean and variance.
    pub dim: usize,
    /// Which of the teacher's outputs is the prior.
    pub prior: Prior,
    /// How z is drawn.
    pub sampling: Sampling,
    /// Which formulas.
    pub objective: Objective,
    /// Which pairs of views: eq. 8 has all four of two views.
    pub pairs: Pairs,
    /// Eq. 10 is called a log-likelihood in the paper and subtracted, but grows as vectors part:
    /// it is minimised unless this says `literal`.
    pub likelihood_sign: LikelihoodSign,
    /// Weight of the KL terms.
    pub kl_weight: f64,
    /// Weight of the likelihood terms.
    pub nll_weight: f64,
    /// Teacher's momentum τ, by cosine from `base` to `last`.
    pub momentum: Momentum,
}

/// See [`Vssl::prior`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prior {
    /// `projector` with the cosine objective, `predictor` with the Gaussian one: each was measured
    /// to learn better with its own.
    Auto,
    /// The teacher has no predictor.
    Projector,
    /// The teacher predicts as well (Algorithm 1 of the paper).
    Predictor,
}

/// See [`Vssl::sampling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// z = μ̂ + σ̂²·|ε|: the paper's approximation of the re-parametrisation.
    HalfNormal,
    /// z = μ̂ + σ·ε with σ² = softplus(variance output).
    Normal,
    /// z = μ̂.
    Mean,
}

/// See [`Vssl::objective`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Eq. 9 and 10, on cosines; the variance is a free vector.
    Cosine,
    /// Eq. 4 and 6 in closed form; the variance outputs are log-variances.
    Gaussian,
}

/// See [`Vssl::pairs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairs {
    /// A view with every global view, itself included.
    All,
    /// Only different views.
    Cross,
}

/// See [`Vssl::likelihood_sign`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LikelihoodSign {
    /// Add the negative log-likelihood.
    Minimise,
    /// Subtract it, as the paper's text has it.
    Literal,
}

impl Settings for Vssl {
    fn check(&self, checker: &mut Checker) {
        checker.require("hidden", self.hidden > 0, self.hidden, "at least 1");
        checker.require("dim", self.dim > 0, self.dim, "at least 1");
        checker.not_negative("kl_weight", self.kl_weight);
        checker.not_negative("nll_weight", self.nll_weight);
        checker.momentum(&self.momentum);
    }
}

impl Default for Vssl {
    fn default() -> Self {
        Self {
            hidden: 4096,
            dim: 256,
            prior: Prior::Auto,
            sampling: Sampling::HalfNormal,
            objective: Objective::Cosine,
            pairs: Pairs::All,
            likelihood_sign: LikelihoodSign::Minimise,
            kl_weight: 1.0,
            nll_weight: 1.0,
            momentum: Momentum { base: 0.99, last: 1.0 },
        }
    }
}

/// Backbone and four heads.
#[derive(Module, Debug)]
pub struct Student {
    backbone: Backbone,
    projector: Mlp,
    predictor: Mlp,
    denoise_mean: Mlp,
    denoise_variance: Mlp,
}

/// Moving average of the student's networks of the same names.
#[derive(Module, Debug)]
pub struct Teacher {
    backbone: Backbone,
    projector: Mlp,
    predictor: Option<Mlp>,
}

impl Method for Vssl {
    type Student = Student;
    type Memory = Teacher;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        if self.pairs == Pairs::Cross && sizes.global_views + sizes.local_views < 2 {
            return Err("vssl.pairs = \"cross\" compares different views; expected at least two \
                        views (views.count)"
                .to_owned());
        }
        Ok(())
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        let (hidden, d) = (self.hidden, self.dim);
        Student {
            backbone,
            projector: Mlp::new(dim, hidden, 2 * d, init),
            predictor: Mlp::new(2 * d, hidden, 2 * d, init),
            denoise_mean: Mlp::new(d, hidden, d, init),
            denoise_variance: Mlp::new(d, hidden, d, init),
        }
    }

    fn memory(&self, student: &Student, _: &Sizes, _: &Init) -> Teacher {
        Teacher {
            backbone: teacher_of(&student.backbone),
            projector: teacher_of(&student.projector),
            predictor: self.has_teacher_predictor().then(|| teacher_of(&student.predictor)),
        }
    }

    fn loss(&self, student: &Student, teacher: &Teacher, views: &Views, at: &Step) -> Loss<()> {
        let priors = views.global.iter().map(|x| teacher.prior(x, views));
        let priors: Vec<Gaussian> = priors.collect();
        let (mut features, mut posteriors) = (Vec::new(), Vec::new());
        let mut terms = Terms::default();
        for (v1, x) in views.all().enumerate() {
            let h = student.backbone.forward(x.clone(), views.mode());
            let posterior = student.posterior(h.clone(), views.mode());
            let z = self.sample(&posterior, |like| views.standard_normal(like, v1, at));
            let denoised = student.denoise(z, views.mode());
            let [posterior, denoised] = joint([posterior, denoised], views);
            for (v2, prior) in priors.iter().enumerate() {
                if v1 != v2 || self.pairs == Pairs::All {
                    terms.add(v1 == v2, self.kl(&posterior, prior), self.nll(&denoised, prior));
                }
            }
            features.push(h.detach());
            posteriors.push(posterior.detach());
        }
        features.truncate(views.global.len());
        let sign = match self.likelihood_sign {
            LikelihoodSign::Minimise => 1.0,
            LikelihoodSign::Literal => -1.0,
        };
        let total = terms.total(self.kl_weight, sign * self.nll_weight);
        let mut parts = terms.means();
        if at.watch {
            parts.extend(figures(&posteriors, &priors));
        }
        Loss { total, parts, features, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn teacher<'a>(&self, teacher: &'a Teacher) -> Option<&'a Backbone> {
        Some(&teacher.backbone)
    }

    fn posterior(&self) -> Option<ReadPosterior<Self>> {
        Some(Self::read_posterior)
    }

    fn after_step(&self, teacher: Teacher, student: &Student, at: &Step) -> Teacher {
        ema(teacher, student, self.momentum.at(at))
            .expect("the teacher was made of the student's networks")
    }

    fn symptom(&self, figures: &BTreeMap<String, f64>) -> Option<String> {
        let spread = *figures.get("prior_variance_spread")?;
        let cosine = *figures.get("prior_variance_cosine")?;
        (spread < COLLAPSED_SPREAD && cosine > COLLAPSED_COSINE).then(|| {
            format!(
                "the teacher's variance head is collapsing: spread {spread:.3} (below \
                 {COLLAPSED_SPREAD}), cosine between views {cosine:.3} (above {COLLAPSED_COSINE}); \
                 prior = \"projector\" with pairs = \"all\" resists this best"
            )
        })
    }
}

impl Student {
    fn posterior(&self, h: Tensor<2>, mode: Mode) -> Gaussian {
        let z = self.projector.forward(h, mode);
        Gaussian::of_halves(self.predictor.forward(z, mode))
    }

    fn denoise(&self, z: Tensor<2>, mode: Mode) -> Gaussian {
        Gaussian {
            mean: self.denoise_mean.forward(z.clone(), mode),
            variance: self.denoise_variance.forward(z, mode),
        }
    }
}

impl Teacher {
    /// Batch statistics, no gradient: the one stop-gradient of the method.
    fn prior(&self, x: &Tensor<4>, views: &Views) -> Gaussian {
        let output = self.output(self.backbone.forward(x.clone(), views.mode()), views.mode());
        let [output] = views.gather([output.detach()]);
        Gaussian::of_halves(output)
    }

    fn output(&self, h: Tensor<2>, mode: Mode) -> Tensor<2> {
        let z = self.projector.forward(h, mode);
        match &self.predictor {
            Some(predictor) => predictor.forward(z, mode),
            None => z,
        }
    }
}

impl Vssl {
    fn has_teacher_predictor(&self) -> bool {
        match self.prior {
            Prior::Projector => false,
            Prior::Predictor => true,
            Prior::Auto => self.objective == Objective::Gaussian,
        }
    }

    fn read_posterior(&self, student: &Student, teacher: &Teacher, x: Tensor<4>) -> Posterior {
        let free_variance = self.objective == Objective::Cosine;
        let positive = |x: Gaussian| if free_variance { x } else { x.from_log() };
        let h = student.backbone.forward(x.clone(), Mode::Eval);
        let q = student.posterior(h.clone(), Mode::Eval);
        let prior_h = teacher.backbone.forward(x, Mode::Eval);
        let p = Gaussian::of_halves(teacher.output(prior_h.clone(), Mode::Eval));
        Posterior {
            divergence: self.kl_rows(&q, &p),
            student: Belief { features: h, gaussian: positive(q) },
            teacher: Belief { features: prior_h, gaussian: positive(p) },
            free_variance,
        }
    }

    /// One latent sample an image, `[n, d]`; `noise` is ε ~ N(0, I) in the shape of its argument.
    fn sample(&self, q: &Gaussian, noise: impl Fn(&Tensor<2>) -> Tensor<2>) -> Tensor<2> {
        let (mean, output) = (q.mean.clone(), q.variance.clone());
        let noise = || noise(&mean);
        match (self.sampling, self.objective) {
            (Sampling::Mean, _) => mean,
            (_, Objective::Gaussian) => {
                mean.clone() + (clamp_log_variance(output) * 0.5).exp() * noise()
            }
            (Sampling::HalfNormal, Objective::Cosine) => mean.clone() + output * noise().abs(),
            (Sampling::Normal, Objective::Cosine) => {
                mean.clone() + softplus_deviation(output) * noise()
            }
        }
    }

    /// KL(q ‖ p), mean over the batch, `[1]`.
    fn kl(&self, q: &Gaussian, p: &Gaussian) -> Tensor<1> {
        self.kl_rows(q, p).mean()
    }

    /// The same of each row, `[n]`.
    fn kl_rows(&self, q: &Gaussian, p: &Gaussian) -> Tensor<1> {
        match self.objective {
            Objective::Cosine => gaussian::cosine_kl(q, p),
            Objective::Gaussian => {
                gaussian::gaussian_kl(&q.from_log(), &p.from_log()) / self.dim as f64
            }
        }
    }

    /// Negative log-likelihood of the prior under what was denoised, mean over the batch, `[1]`.
    fn nll(&self, r: &Gaussian, p: &Gaussian) -> Tensor<1> {
        match self.objective {
            Objective::Cosine => gaussian::cosine_nll(r, p).mean(),
            Objective::Gaussian => {
                -gaussian::gaussian_ell(&p.from_log(), &r.from_log()).mean() / self.dim as f64
            }
        }
    }
}

/// What both say of the joint batch.
fn joint([a, b]: [Gaussian; 2], views: &Views) -> [Gaussian; 2] {
    let all = views.gather([a.mean, a.variance, b.mean, b.variance]);
    let [a_mean, a_variance, b_mean, b_variance] = all;
    [
        Gaussian { mean: a_mean, variance: a_variance },
        Gaussian { mean: b_mean, variance: b_variance },
    ]
}

/// Sums over the pairs of views, cross-view pairs first, same-view pairs second.
#[derive(Default)]
struct Terms {
    kl: [Option<Tensor<1>>; 2],
    nll: [Option<Tensor<1>>; 2],
    pairs: [usize; 2],
}

impl Terms {
    fn add(&mut self, same: bool, kl: Tensor<1>, nll: Tensor<1>) {
        let kind = usize::from(same);
        let sum =
            |a: Option<Tensor<1>>, b| Some(a.map_or_else(|| Tensor::clone(&b), |a| a + b.clone()));
        self.kl[kind] = sum(self.kl[kind].take(), kl);
        self.nll[kind] = sum(self.nll[kind].take(), nll);
        self.pairs[kind] += 1;
    }

    fn total(&self, kl_weight: f64, nll_weight: f64) -> Tensor<1> {
        let weigh = |terms: &[Option<Tensor<1>>; 2], weight: f64| {
            terms.iter().flatten().map(|x| x.clone() * weight).collect::<Vec<_>>()
        };
        let mut terms = weigh(&self.kl, kl_weight);
        terms.extend(weigh(&self.nll, nll_weight));
        terms.into_iter().reduce(|a, b| a + b).expect("check saw to it that there is a pair")
    }

    fn means(&self) -> Vec<(&'static str, Tensor<1>)> {
        let names = [["kl_cross", "kl_same"], ["nll_cross", "nll_same"]];
        let mut parts = Vec::new();
        for (terms, names) in [&self.kl, &self.nll].into_iter().zip(names) {
            for kind in 0..2 {
                if let Some(sum) = &terms[kind] {
                    parts.push((names[kind], sum.clone().detach() / self.pairs[kind] as f64));
                }
            }
        }
        parts
    }
}

/// What the loss does not show: whether heads stay spread and norms stay put.
fn figures(posteriors: &[Gaussian], priors: &[Gaussian]) -> Vec<(&'static str, Tensor<1>)> {
    let (q, p) = (&posteriors[0], &priors[0]);
    let other = priors.last().expect("there is a global view");
    let cosine = |a: &Tensor<2>, b: &Tensor<2>| cosine_similarity(a.clone(), b.clone()).mean();
    let positive = q.variance.clone().greater_elem(0.0).float().mean();
    vec![
        ("cosine_mean", cosine(&q.mean, &other.mean)),
        ("cosine_variance", cosine(&q.variance, &other.variance)),
        ("norm_mean", watch::mean_norm(q.mean.clone())),
        ("norm_variance", watch::mean_norm(q.variance.clone())),
        ("variance_mean", q.variance.clone().mean()),
        ("variance_deviation", watch::deviation(q.variance.clone())),
        ("positive_variance", positive),
        ("prior_mean_spread", watch::spread(p.mean.clone())),
        ("prior_mean_cosine", cosine(&p.mean, &other.mean)),
        ("prior_variance_spread", watch::spread(p.variance.clone())),
        ("prior_variance_cosine", cosine(&p.variance, &other.variance)),
    ]
}
