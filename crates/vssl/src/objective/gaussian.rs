//! Distances between two Gaussians given by mean and variance: VSSL's cosine forms (Yavuz and
//! Yanıkoğlu, arXiv:2504.04318, eq. 9 and 10) and the closed forms they stand in for (eq. 4 and 6).
//!
//! `S_β(a, b) = softplus_β(−cos(a, b))`, `softplus_β(x) = log(1 + e^{βx}) / β`, one value a row.
//! In the cosine forms a "variance" is a free vector that may be negative: only its direction has an effect.
//! Called by `methods::vssl`.

use burn::tensor::{Tensor, activation};

use super::cosine::cosine_similarity;

/// A batch of diagonal Gaussians (for the cosine forms, of two vectors in place of mean and variance).
#[derive(Clone, Debug)]
pub struct Gaussian {
    /// The means, `[n, d]`.
    pub mean: Tensor<2>,
    /// The variances, `[n, d]`; positive for the closed forms, of any sign for the cosine forms.
    pub variance: Tensor<2>,
}

/// The bound of the absolute value of a log-variance.
const LOG_VARIANCE_BOUND: f64 = 6.0;

/// Clamps log-variances so that neither the variances nor their inverses overflow.
pub fn clamp_log_variance(x: Tensor<2>) -> Tensor<2> {
    x.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)
}

/// Returns the deviation σ of σ² = softplus(x), where the outputs x may be any numbers.
///
/// Below x = −104, softplus(x) is zero in single precision. Adding the smallest normal number keeps the
/// square root's derivative finite there; it has no effect on any softplus above 1e-31.
pub fn softplus_deviation(x: Tensor<2>) -> Tensor<2> {
    (softplus(x, 1.0) + f64::from(f32::MIN_POSITIVE)).sqrt()
}

impl Gaussian {
    /// Splits a head's output, `[n, 2d]`: the first d numbers are the mean, the last d the variance.
    pub fn of_halves(output: Tensor<2>) -> Self {
        let d = output.dims()[1] / 2;
        Self { mean: output.clone().narrow(1, 0, d), variance: output.narrow(1, d, d) }
    }

    /// Returns the Gaussian of outputs whose variances are log-variances.
    pub fn from_log(&self) -> Self {
        let variance = clamp_log_variance(self.variance.clone()).exp();
        Self { mean: self.mean.clone(), variance }
    }

    /// Returns the same numbers outside the graph: no gradient flows back through them.
    pub fn detach(self) -> Self {
        Self { mean: self.mean.detach(), variance: self.variance.detach() }
    }
}

/// Returns `log(1 + e^{βx}) / β`: a smooth version of the positive part of `x`, exact in both tails.
pub fn softplus<const D: usize>(x: Tensor<D>, beta: f64) -> Tensor<D> {
    activation::softplus(x, beta)
}

/// Returns `S_β(a, b) = softplus_β(−cos(a, b))`: the distance of two directions, between about 0 and 1.
///
/// # Shapes — `a`, `b`: `[n, d]`; returns `[n]`.
pub fn cosine_gap(a: Tensor<2>, b: Tensor<2>, beta: f64) -> Tensor<1> {
    softplus(-cosine_similarity(a, b), beta)
}

/// `½·[log S₃(σ_q, σ_p) + S₃(μ_q, μ_p)² + S₃(σ_q, σ_p) − 1]` (eq. 9) of each row, in
/// `[−2.553, 0.532]`.
///
/// # Shapes — all of `q` and `p`: `[n, d]`; returns `[n]`.
pub fn cosine_kl(q: &Gaussian, p: &Gaussian) -> Tensor<1> {
    let mean = cosine_gap(q.mean.clone(), p.mean.clone(), 3.0);
    let variance = cosine_gap(q.variance.clone(), p.variance.clone(), 3.0);
    cosine_kl_of_gaps(mean, variance)
}

/// Eq. 9 as a function of the two gaps `S₃(μ_q, μ_p)` and `S₃(σ_q, σ_p)`, element by element.
///
/// # Shapes — both `[n]`; returns `[n]`.
pub fn cosine_kl_of_gaps(mean: Tensor<1>, variance: Tensor<1>) -> Tensor<1> {
    (variance.clone().log() + mean.square() + variance - 1.0) * 0.5
}

/// `log S₁(σ_r, σ_p) + 4·S₁(σ_r, σ_p) + S₁(μ_r, μ_p)²·S₁(σ_r, σ_p)` (eq. 10) of each row, in
/// `[0.123, 7.790]`.
///
/// The paper calls it a log-likelihood, but it grows as the vectors part and its terms are those of
/// `−log N` up to scale: it is the *negative* log-likelihood, to be minimised.
///
/// # Shapes — all of `r` and `p`: `[n, d]`; returns `[n]`.
pub fn cosine_nll(r: &Gaussian, p: &Gaussian) -> Tensor<1> {
    let mean = cosine_gap(r.mean.clone(), p.mean.clone(), 1.0);
    let variance = cosine_gap(r.variance.clone(), p.variance.clone(), 1.0);
    cosine_nll_of_gaps(mean, variance)
}

/// Eq. 10 as a function of the two gaps `S₁(μ_r, μ_p)` and `S₁(σ_r, σ_p)`, element by element.
///
/// # Shapes — both `[n]`; returns `[n]`.
pub fn cosine_nll_of_gaps(mean: Tensor<1>, variance: Tensor<1>) -> Tensor<1> {
    variance.clone().log() + variance.clone() * 4.0 + mean.square() * variance
}

/// `KL(q ‖ p) = Σ_d ½·[log(σ²_p/σ²_q) + (σ²_q + (μ_q − μ_p)²)/σ²_p − 1]` of each row.
///
/// # Shapes — all of `q` and `p`: `[n, d]`, variances positive; returns `[n]`.
pub fn gaussian_kl(q: &Gaussian, p: &Gaussian) -> Tensor<1> {
    let log_ratio = p.variance.clone().log() - q.variance.clone().log();
    sum_rows(log_ratio + scaled_error(q, p) - 1.0) * 0.5
}

/// `E_{z∼q}[log N(z; p)] = −½·Σ_d [log(2πσ²_p) + (σ²_q + (μ_q − μ_p)²)/σ²_p]` of each row.
///
/// # Shapes — all of `q` and `p`: `[n, d]`, variances positive; returns `[n]`.
pub fn gaussian_ell(q: &Gaussian, p: &Gaussian) -> Tensor<1> {
    let normaliser = p.variance.clone().log() + (2.0 * std::f64::consts::PI).ln();
    sum_rows(normaliser + scaled_error(q, p)) * -0.5
}

/// `(σ²_q + (μ_q − μ_p)²)/σ²_p`, `[n, d]`.
fn scaled_error(q: &Gaussian, p: &Gaussian) -> Tensor<2> {
    let distance = (q.mean.clone() - p.mean.clone()).square();
    (q.variance.clone() + distance) / p.variance.clone()
}

fn sum_rows(x: Tensor<2>) -> Tensor<1> {
    let n = x.dims()[0];
    x.sum_dim(1).reshape([n]) // [n, d] -> [n]
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn pair(mean: [f32; 2], variance: [f32; 2]) -> Gaussian {
        let device = Device::flex();
        Gaussian {
            mean: Tensor::from_floats([mean], &device),
            variance: Tensor::from_floats([variance], &device),
        }
    }

    fn value(row: Tensor<1>) -> f64 {
        f64::from(row.into_scalar::<f32>())
    }

    #[test]
    fn the_cosine_forms_reach_their_bounds_when_aligned_and_when_opposed() {
        let p = pair([1.0, 2.0], [-3.0, 1.0]);
        let opposed = pair([-1.0, -2.0], [3.0, -1.0]);
        assert!((value(cosine_kl(&p, &p)) + 2.5533).abs() < 1e-4);
        assert!((value(cosine_kl(&opposed, &p)) - 0.5318).abs() < 1e-3);
        assert!((value(cosine_nll(&p, &p)) - 0.1231).abs() < 1e-4);
        assert!((value(cosine_nll(&opposed, &p)) - 7.7905).abs() < 1e-4);
    }

    #[test]
    fn the_deviation_and_its_gradient_stay_finite_at_extreme_outputs() {
        let outputs = [-1e30, -1e4, -200.0, -104.0, -80.0, -30.0, 0.0, 30.0, 1e4, 1e30_f32];
        let x = Tensor::<1>::from_floats(outputs, &Device::flex().autodiff()).require_grad();
        let deviation = softplus_deviation(x.clone().reshape([outputs.len(), 1]));
        let gradients = (deviation.clone().reshape([-1]) * 2.0).sum().backward();
        let gradient: Vec<f32> = x.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        let deviation: Vec<f32> = deviation.into_data().try_to_vec().unwrap();
        for ((x, deviation), gradient) in outputs.into_iter().zip(deviation).zip(gradient) {
            // √softplus(x) and, times two, its derivative in double precision.
            let x = f64::from(x);
            let softplus = if x > 30.0 { x } else { x.exp().ln_1p() };
            let sigmoid = 1.0 / (1.0 + (-x).exp());
            let expected =
                [softplus.sqrt(), if softplus > 0.0 { sigmoid / softplus.sqrt() } else { 0.0 }];
            for (got, expected) in [deviation, gradient].into_iter().zip(expected) {
                let error = (f64::from(got) - expected).abs();
                assert!(error <= 1e-6 * expected + 2e-19, "{x}: {got}, expected {expected}");
            }
        }
    }

    #[test]
    fn kl_of_a_gaussian_with_itself_is_zero() {
        let p = pair([0.3, -4.0], [0.01, 90.0]);
        assert!(value(gaussian_kl(&p, &p)).abs() < 1e-6);
    }

    #[test]
    fn expected_likelihood_differs_from_negative_kl_by_the_entropy_of_the_first() {
        let (q, p) = (pair([0.5, -1.0], [0.7, 1.9]), pair([0.1, 0.2], [1.5, 0.4]));
        let entropy: f64 = [0.7_f64, 1.9]
            .map(|v| 0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E * v).ln())
            .iter()
            .sum();
        let sum = value(gaussian_ell(&q, &p)) + value(gaussian_kl(&q, &p));
        assert!((sum + entropy).abs() < 1e-5, "{sum} against {entropy}");
    }
}
