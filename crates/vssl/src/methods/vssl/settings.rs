//! Settings of VSSL, the table `[vssl]` of a recipe.

use serde::{Deserialize, Serialize};

use crate::{
    recipe::{Checker, Settings},
    schedule::Momentum,
};

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
