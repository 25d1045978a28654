//! The von Mises–Fisher distribution on the unit sphere of ℝᴰ: `f(x; μ, κ) = C(κ)·exp(κ·μᵀx)` (Mardia and Jupp 2000,
//! *Directional Statistics*, section 9.3), with direction μ and concentration κ.
//!
//! [`sample`] draws by the rejection of Wood (1994, *Simulation of the von Mises Fisher distribution*) with the
//! reparametrised gradient of Davidson et al. (2018, arXiv:1804.00891, algorithm 1), and [`log_normaliser`] is log C(κ).
//! Called by `objective::probabilistic` and by methods whose embeddings are distributions on the sphere.

use std::f64::consts::PI;

use burn::tensor::{Bool, Int, Tensor};

use super::normalise::unit_rows;

/// The lower bound of `1 − w²`, and the square of the lower bound of `|e₁ − μ|`: roots stay differentiable.
const SMALLEST_SQUARE: f64 = 1e-14;

/// The random numbers that [`sample`] turns into draws; the distributions of all of them are independent of μ and κ.
#[derive(Clone, Debug)]
pub struct Draws {
    /// What the coordinate along μ is made of.
    pub heights: Heights,
    /// Normal numbers, `[samples, n, dim]`, for the direction that is orthogonal to μ. The first of the `dim` numbers
    /// is not used.
    pub normals: Tensor<3>,
}

/// The random numbers for the coordinate along μ.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "handles to tensors, and a batch has one of them")]
pub enum Heights {
    /// For `dim = 3`, where the distribution function can be inverted: uniform numbers, `[samples, n]`.
    Inversion(Tensor<2>),
    /// For every other `dim`: the first proposal that passes its test is taken, or the last proposal where none passes.
    Rejection {
        /// Proposals from Beta((dim−1)/2, (dim−1)/2), `[rounds, samples, n]`.
        proposals: Tensor<3>,
        /// Uniform numbers for the tests, `[rounds, samples, n]`.
        uniforms: Tensor<3>,
    },
}

/// Draws from the distributions of `n` images.
#[derive(Clone, Debug)]
pub struct Samples {
    /// The draws, `[samples, n, dim]`, of unit length.
    pub points: Tensor<3>,
    /// Their coordinates along μ, `[samples, n]`, from −1 to 1.
    pub heights: Tensor<2>,
    /// The round whose proposal was taken, `[samples, n]`; the number of rounds where no proposal passed its test.
    /// `None` without rejection.
    pub rounds: Option<Tensor<2, Int>>,
}

/// Draws from the distributions with the directions of the rows of `mean` and these concentrations.
///
/// Gradients flow to the concentrations through the coordinate along μ, and to `mean` through the reflection that turns
/// the first axis e₁ into μ. The choice of the proposal has no gradient.
///
/// # Shapes — `mean`: `[n, dim]`, of any length; `concentration`: `[n]`, positive.
///
/// # Panics
/// The numbers in `draws` have other shapes, or are for inversion where `dim` is not 3.
pub fn sample(mean: Tensor<2>, concentration: Tensor<1>, draws: &Draws) -> Samples {
    let [n, dim] = mean.dims();
    let samples = draws.normals.dims()[0];
    let concentration = concentration.reshape([1, n]).expand([samples, n]);
    let (w, rounds) = match &draws.heights {
        Heights::Inversion(uniforms) => {
            assert_eq!(dim, 3, "the distribution function is inverted on the sphere of ℝ³ only");
            (inverted(concentration, uniforms.clone()), None)
        }
        Heights::Rejection { proposals, uniforms } => {
            let bound = Envelope::of(concentration, dim);
            let (proposal, round) = bound.first_accepted(proposals, uniforms);
            (bound.height(proposal), Some(round))
        }
    };
    let height = w.clone().reshape([samples, n, 1]);
    let radius = (-height.clone().square() + 1.0).clamp_min(SMALLEST_SQUARE).sqrt();
    let tangent = draws.normals.clone().narrow(2, 1, dim - 1);
    let tangent = unit_rows(tangent.reshape([samples * n, dim - 1])).reshape([samples, n, dim - 1]);
    let x = Tensor::cat(vec![height, radius * tangent], 2); // [samples, n, dim]
    Samples { points: reflected(x, unit_rows(mean)), heights: w, rounds }
}

/// `w = 1 + ln(u + (1−u)·e^{−2κ})/κ`, the inverse of the distribution function for `dim = 3`.
fn inverted(concentration: Tensor<2>, u: Tensor<2>) -> Tensor<2> {
    let lowest = (concentration.clone() * -2.0).exp();
    let below = u.clone() + (-u + 1.0) * lowest;
    below.log() / concentration + 1.0
}

/// Wood's envelope of the density of w, each entry `[samples, n]`, with n = dim − 1 below.
struct Envelope {
    b: Tensor<2>,
    a: Tensor<2>,
    d: Tensor<2>,
    n: f64,
}

impl Envelope {
    /// `b = (√(4κ²+n²) − 2κ)/n`, which cancels for large κ and goes over into `n/(4κ)` between κ = 10 and κ = 11;
    /// `a = (n + 2κ + √(4κ²+n²))/4`; `d = 4ab/(1+b) − n·ln n`.
    fn of(concentration: Tensor<2>, dim: usize) -> Self {
        let n = (dim - 1) as f64;
        let twice = concentration.clone() * 2.0;
        let root = (twice.clone().square() + n * n).sqrt();
        let exact = (root.clone() - twice.clone()) / n;
        let limit = concentration.clone().recip() * (n / 4.0);
        let share = (concentration - 10.0).clamp(0.0, 1.0);
        let b = share.clone() * limit + (-share + 1.0) * exact;
        let a = ((root + twice + n) / 4.0).detach();
        let fixed = b.clone().detach();
        let d = a.clone() * fixed.clone() * 4.0 / (fixed + 1.0) - n * n.ln();
        Self { b, a, d, n }
    }

    /// The first proposal with `n·ln t − t + d > ln u`, where `t = 2ab/(1 − (1−b)·ε)`, and its round.
    fn first_accepted(
        &self,
        proposals: &Tensor<3>,
        uniforms: &Tensor<3>,
    ) -> (Tensor<2>, Tensor<2, Int>) {
        let [rounds, samples, n] = proposals.dims();
        let round = |x: &Tensor<3>, at| x.clone().narrow(0, at, 1).reshape([samples, n]).detach();
        let b = self.b.clone().detach();
        let mut waiting: Option<Tensor<2, Bool>> = None;
        let mut taken = round(proposals, 0);
        let mut number = Tensor::zeros([samples, n], &taken.device());
        for at in 0..rounds {
            let proposal = round(proposals, at);
            if let Some(waiting) = &waiting {
                taken = taken.mask_where(waiting.clone(), proposal.clone());
            }
            let t = self.a.clone() * b.clone() * 2.0 / self.denominator(&b, proposal);
            let level = t.clone().log() * self.n - t + self.d.clone();
            let refused = level.lower_equal(round(uniforms, at).log());
            let still = match waiting {
                Some(waiting) => waiting.bool_and(refused),
                None => refused,
            };
            number = number + still.clone().int();
            waiting = Some(still);
        }
        (taken, number)
    }

    fn denominator(&self, b: &Tensor<2>, proposal: Tensor<2>) -> Tensor<2> {
        -((-b.clone() + 1.0) * proposal) + 1.0
    }

    /// `w = (1 − (1+b)·ε)/(1 − (1−b)·ε)`.
    fn height(&self, proposal: Tensor<2>) -> Tensor<2> {
        let above = -((self.b.clone() + 1.0) * proposal.clone()) + 1.0;
        above / self.denominator(&self.b, proposal)
    }
}

/// Reflects the points so that the first axis e₁ becomes μ: `x − 2·(x·h)·h` with `h = (e₁ − μ)/|e₁ − μ|`. Where μ = e₁,
/// nothing is reflected.
fn reflected(x: Tensor<3>, mu: Tensor<2>) -> Tensor<3> {
    let [n, dim] = mu.dims();
    let device = mu.device();
    let first =
        Tensor::cat(vec![Tensor::ones([n, 1], &device), Tensor::zeros([n, dim - 1], &device)], 1);
    let difference = first - mu;
    let square = difference.clone().square().sum_dim(1); // [n, dim] -> [n, 1]
    let h = difference / square.clamp_min(SMALLEST_SQUARE * SMALLEST_SQUARE).sqrt();
    let h = h.reshape([1, n, dim]);
    let along = (x.clone() * h.clone()).sum_dim(2); // [samples, n, 1]
    x - along * h * 2.0
}

/// The logarithm of the normaliser, and its derivative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogNormaliser {
    /// log C(κ).
    pub value: f64,
    /// d log C / dκ, which is minus the mean resultant length `I_{D/2}(κ)/I_{D/2−1}(κ)`.
    pub slope: f64,
}

/// Returns `log C(κ) = (D/2−1)·ln κ − (D/2)·ln 2π − ln I_{D/2−1}(κ)` and its derivative (Mardia and Jupp 2000, eq. 9.3.4).
///
/// # Panics
/// κ is not positive and finite, or `dim` is below 2.
pub fn log_normaliser(concentration: f64, dim: usize) -> LogNormaliser {
    assert!(concentration > 0.0 && concentration.is_finite(), "κ is {concentration}");
    assert!(dim >= 2, "there is no sphere in {dim} dimensions");
    let half = dim as f64 / 2.0;
    let (log_bessel, ratio) = bessel(half - 1.0, concentration);
    let value = (half - 1.0) * concentration.ln() - half * (2.0 * PI).ln() - log_bessel;
    LogNormaliser { value, slope: -ratio }
}

/// `ln I_v(x)` and `I_{v+1}(x)/I_v(x)` of the modified Bessel function of the first kind, from its series
/// `Σ_k (x/2)^{2k+v} / (k!·Γ(k+v+1))`. All terms are positive. The sum begins at the largest term and goes outwards
/// until the terms no longer count, about √x of them on either side, so nothing overflows and nothing cancels.
fn bessel(v: f64, x: f64) -> (f64, f64) {
    let quarter = (x / 2.0).powi(2);
    let largest = ((v * v + x * x).sqrt() - v).max(0.0) / 2.0;
    let largest = largest.floor();
    let weight = |k: f64| (x / 2.0) / (k + v + 1.0);
    let (mut sum, mut next_order) = (1.0, weight(largest));
    let mut add = |k: f64, term: f64| {
        sum += term;
        next_order += term * weight(k);
        term > f64::EPSILON * 1e-3
    };
    let (mut k, mut term) = (largest, 1.0);
    loop {
        k += 1.0;
        term *= quarter / (k * (k + v));
        if !add(k, term) {
            break;
        }
    }
    (k, term) = (largest, 1.0);
    while k > 0.0 {
        term *= k * (k + v) / quarter;
        k -= 1.0;
        if !add(k, term) {
            break;
        }
    }
    let log_largest = (2.0 * largest + v) * (x / 2.0).ln()
        - log_gamma(largest + 1.0)
        - log_gamma(largest + v + 1.0);
    (log_largest + sum.ln(), next_order / sum)
}

/// `ln Γ(x)` for positive x: Stirling's series from 10 upwards, and the recurrence below.
fn log_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = 1.0 / 12.0
        - square
            * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0)));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * PI).ln() + inverse * series - shift
}

/// A log-normaliser that was fitted by its authors, `c(κ) = p + q·κ + r·κ^1.1`, for use where a derivative through
/// Bessel functions would cost too much (Kirchhof et al. 2023, arXiv:2307.03810, code of the URL benchmark). Its
/// constant is not the true one, which cancels where normalisers are subtracted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FittedNormaliser {
    p: f64,
    q: f64,
    r: f64,
}

impl FittedNormaliser {
    /// Returns the fit for embeddings of length `dim`; there is one for 4, 8, 10, 16, 32 and 64.
    pub fn of(dim: usize) -> Option<Self> {
        let (p, q, r) = match dim {
            4 => (-0.826604, -0.354357, -0.383723),
            8 => (-1.29737, 0.36841, -0.80936),
            10 => (-1.27184, 0.67365, -0.98726),
            16 => (-0.23773, 1.39146, -1.39819),
            32 => (8.07579, 2.28954, -1.86925),
            64 => (38.82967, 2.34269, -1.77425),
            _ => return None,
        };
        Some(Self { p, q, r })
    }

    /// Returns c(κ), element by element; κ is positive.
    pub fn log<const D: usize>(&self, concentration: Tensor<D>) -> Tensor<D> {
        concentration.clone() * self.q + concentration.powf_scalar(1.1) * self.r + self.p
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normaliser_is_exact_where_there_is_a_closed_form() {
        // On the sphere of ℝ³, C(κ) = κ/(4π·sinh κ), with slope 1/κ − coth κ.
        for kappa in [1e-6, 1e-3, 0.7, 3.0, 20.0, 700.0, 1e5_f64] {
            let got = log_normaliser(kappa, 3);
            // sinh κ = e^κ·(1 − e^{−2κ})/2.
            let log_sinh = kappa + (-(-2.0 * kappa).exp_m1() / 2.0).ln();
            let value = kappa.ln() - (4.0 * PI).ln() - log_sinh;
            assert!((got.value - value).abs() <= 1e-11 * value.abs().max(1.0), "{kappa}: {got:?}");
            let slope = if kappa < 1e-2 { -kappa / 3.0 } else { 1.0 / kappa - 1.0 / kappa.tanh() };
            assert!((got.slope - slope).abs() < 1e-6 * slope.abs(), "{kappa}: {got:?}");
        }
    }

    #[test]
    fn the_slope_is_the_derivative_in_every_dimension() {
        for dim in [2, 5, 16, 128, 2048] {
            for kappa in [0.3, 8.0, 150.0, 4000.0] {
                let step = kappa * 1e-5;
                let values = [kappa - step, kappa + step].map(|k| log_normaliser(k, dim).value);
                let numeric = (values[1] - values[0]) / (2.0 * step);
                let slope = log_normaliser(kappa, dim).slope;
                assert!((numeric - slope).abs() < 1e-6, "{dim}, {kappa}: {slope} and {numeric}");
            }
        }
    }
}
