//! VSSL: Variational Self-Supervised Learning (Yavuz and Yanıkoğlu 2025, arXiv:2504.04318).
//!
//! Student posterior `q_v = (μ̂, σ̂²)` and teacher prior `p_v = (μ, σ²)` for each view v; a latent
//! sample `z ~ q_v` is denoised to `r_v = (D_μ(z), D_σ(z))`;
//!
//! `L = Σ_v1 Σ_v2 [ kl_weight · KL(q_v1 ‖ p_v2) + nll_weight · NLL(r_v1 ‖ p_v2) ]`          (eq. 8)
//!
//! with v1 over all views and v2 over the global ones. The formulas are in
//! [`crate::objective::gaussian`].

mod settings;

use std::collections::BTreeMap;

use burn::{module::Module, tensor::Tensor};

use crate::{
    backbone::Backbone,
    layers::{Init, Mlp, Mode},
    method::{
        HeadOutput, Loss, Method, Posterior, PosteriorReader, PreparePosterior, Sizes, Views,
        teacher_of,
    },
    objective::{
        figures,
        gaussian::{self, Gaussian, clamp_log_variance, softplus_deviation},
        pair_sum::PairSum,
    },
    optim::ema,
    schedule::Step,
};

pub use settings::Vssl;
use settings::{LikelihoodSign, Objective, Pairs, Prior, Sampling};

/// A variance head with a spread below the first and a cosine between views above the second was seen to
/// collapse slowly.
const COLLAPSED_SPREAD: f64 = 0.3;
const COLLAPSED_COSINE: f64 = 0.97;

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

    fn has_image_losses(&self) -> bool {
        true
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
        let priors: Vec<_> = views.global.iter().map(|x| teacher.prior(x, views)).collect();
        let (mut features, mut posteriors) = (Vec::new(), Vec::new());
        let (mut kl, mut nll) = (PairSum::default(), PairSum::default());
        let mut image_losses = None;
        for (v1, x) in views.all().enumerate() {
            let h = student.backbone.forward(x.clone(), views.mode());
            let posterior = student.posterior(h.clone(), views.mode());
            let z = self.sample(&posterior, |like| views.standard_normal(like, v1, at));
            let denoised = student.denoise(z, views.mode());
            let [posterior, denoised] = views.gather([posterior, denoised]);
            for (v2, prior) in priors.iter().enumerate() {
                if v1 != v2 || self.pairs == Pairs::All {
                    let terms = (self.kl(&posterior, prior), self.nll(&denoised, prior));
                    kl.add(v1 == v2, terms.0);
                    nll.add(v1 == v2, terms.1);
                    if at.image_losses {
                        let rows = self.rows(&posterior, &denoised, prior);
                        image_losses = Some(match image_losses {
                            Some(sum) => sum + rows,
                            None => rows,
                        });
                    }
                }
            }
            features.push(h);
            posteriors.push(posterior.detach());
        }
        let terms = kl.weighted(self.kl_weight).chain(nll.weighted(self.signed_nll_weight()));
        let total = terms.reduce(|a, b| a + b).expect("check saw to it that there is a pair");
        let mut parts: Vec<_> = kl.means(["kl_cross", "kl_same"]).collect();
        parts.extend(nll.means(["nll_cross", "nll_same"]));
        if at.watch {
            parts.extend(figures::gaussians(&posteriors[0], &priors));
        }
        Loss { total, parts, features, image_losses, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn teacher<'a>(&self, teacher: &'a Teacher) -> Option<&'a Backbone> {
        Some(&teacher.backbone)
    }

    fn posterior(&self) -> Option<PreparePosterior<Self>> {
        Some(Self::prepare_posterior)
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
        Gaussian::of_halves(views.gather(output.detach()))
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

    fn prepare_posterior(&self, student: &Student, teacher: &Teacher) -> PosteriorReader {
        let [encoder, prior_encoder] =
            [&student.backbone, &teacher.backbone].map(|backbone| backbone.for_inference_among(2));
        let (method, student, teacher) = (self.clone(), student.clone(), teacher.clone());
        Box::new(move |x| {
            let features = [encoder.forward(x.clone()), prior_encoder.forward(x)];
            method.posterior_of(&student, &teacher, features)
        })
    }

    fn posterior_of(
        &self,
        student: &Student,
        teacher: &Teacher,
        [h, prior_h]: [Tensor<2>; 2],
    ) -> Posterior {
        let free_variance = self.objective == Objective::Cosine;
        let positive = |x: Gaussian| if free_variance { x } else { x.from_log() };
        let q = student.posterior(h.clone(), Mode::Eval);
        let p = Gaussian::of_halves(teacher.output(prior_h.clone(), Mode::Eval));
        Posterior {
            divergence: self.kl_rows(&q, &p),
            student: HeadOutput { features: h, gaussian: positive(q) },
            teacher: HeadOutput { features: prior_h, gaussian: positive(p) },
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

    /// KL(q ‖ p) of each row, `[n]`.
    fn kl_rows(&self, q: &Gaussian, p: &Gaussian) -> Tensor<1> {
        match self.objective {
            Objective::Cosine => gaussian::cosine_kl(q, p),
            Objective::Gaussian => {
                gaussian::gaussian_kl(&q.from_log(), &p.from_log()) / self.dim as f64
            }
        }
    }

    /// The weight of the likelihood term with the sign that the settings give it.
    fn signed_nll_weight(&self) -> f64 {
        match self.likelihood_sign {
            LikelihoodSign::Minimise => self.nll_weight,
            LikelihoodSign::Literal => -self.nll_weight,
        }
    }

    /// The terms of one pair of views for each image, weighted, without gradient, `[n]`.
    fn rows(&self, posterior: &Gaussian, denoised: &Gaussian, prior: &Gaussian) -> Tensor<1> {
        let [q, r, p] = [posterior, denoised, prior].map(|x| x.clone().detach());
        let nll = match self.objective {
            Objective::Cosine => gaussian::cosine_nll(&r, &p),
            Objective::Gaussian => {
                -gaussian::gaussian_ell(&p.from_log(), &r.from_log()) / self.dim as f64
            }
        };
        self.kl_rows(&q, &p) * self.kl_weight + nll * self.signed_nll_weight()
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
