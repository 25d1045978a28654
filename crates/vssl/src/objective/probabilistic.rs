//! Losses of embeddings that are distributions: MCInfoNCE (Kirchhof et al. 2023, arXiv:2302.02865, eq. 5), the hedged
//! instance embedding HIB (Oh et al. 2019, arXiv:1810.00319, eq. 3 to 5) and the expected likelihood kernel ELK (Kirchhof
//! et al. 2022, arXiv:2207.03784, eq. 8), in the form of the URL benchmark (Kirchhof et al. 2023, arXiv:2307.03810).
//!
//! The first two take draws from the distributions: see [`super::von_mises_fisher::sample`]. Without distributions,
//! MCInfoNCE of one draw, which is the unit embedding, is InfoNCE.

use burn::tensor::{Bool, Int, Tensor, activation::sigmoid};
use vssl_kernels::log_sum_exp;

use super::{
    contrastive::{Compared, compared_rows},
    normalise::unit_rows,
    von_mises_fisher::FittedNormaliser,
};

/// The value of a similarity that does not count.
const ABSENT: f64 = -1000.0;

/// HIB's probabilities keep this distance from 0.
const PROBABILITY_FLOOR: f64 = 1e-5;

/// What a row's comparison with itself adds to both sums of [`mc_info_nce`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnEntry {
    /// Nothing: the equation of the paper.
    Absent,
    /// exp(0) = 1, as in the published code, whose mask leaves a 0 there.
    One,
}

/// MCInfoNCE of each row i. With `s_ij = κ·zᵢ·zⱼ` of a draw, P(i) the other rows of the same number and Q(i) the rows of
/// other numbers:
///
/// `−log mean_draws [ Σ_P exp(s_ij) / Σ_Q exp(s_ij) ]`
///
/// The positives are not in the denominator, and the mean over draws is inside the logarithm. Every row needs a
/// positive and a negative.
///
/// # Shapes — `draws`: `[draws, n, d]`, of unit length; `numbers`: which image or class each row is of, n numbers;
/// `kappa`: `[1]`; returns `[n]`.
///
/// # Panics
/// The count of `numbers` is not n.
pub fn mc_info_nce(
    draws: Tensor<3>,
    numbers: &[usize],
    kappa: Tensor<1>,
    own: OwnEntry,
) -> Tensor<1> {
    let [count, n, _] = draws.dims();
    let Compared { itself, positive } = compared_rows(numbers, n, &draws.device());
    let other = positive.clone().bool_or(itself.clone()).bool_not();
    let similarities = similarities(draws, kappa);
    let sum = |wanted: Tensor<2, Bool>| {
        let own_value = if own == OwnEntry::One { 0.0 } else { ABSENT };
        let kept = similarities.clone().mask_fill(of_each(wanted, count).bool_not(), ABSENT);
        let kept = kept.mask_fill(of_each(itself.clone(), count), own_value);
        log_sum_exp(kept.reshape([count * n, n]), 1.0).reshape([count, n])
    };
    let likelihood = sum(positive) - sum(other);
    let mean = log_sum_exp(likelihood.transpose(), 1.0) - (count as f64).ln(); // [count, n] -> [n]
    -mean
}

/// HIB: the negative log-likelihood that a logistic regression on the similarities tells matching rows from others. With
/// `p_ij = mean over draws of sigmoid(κ·zᵢ·zⱼ + b) + 1e-5`:
///
/// `−mean_i [ mean_{j in P(i)} ln p_ij + mean_{j in Q(i)} ln(1 − p_ij) ]`
///
/// A row without positives, or without negatives, adds 0 for them.
///
/// # Shapes — `draws`: `[draws, n, d]`, of unit length; `numbers`: n; `kappa`, `bias`: `[1]`; returns `[1]`.
///
/// # Panics
/// The count of `numbers` is not n.
pub fn hib(draws: Tensor<3>, numbers: &[usize], kappa: Tensor<1>, bias: Tensor<1>) -> Tensor<1> {
    let n = draws.dims()[1];
    let Compared { itself, positive } = compared_rows(numbers, n, &draws.device());
    let other = positive.clone().bool_or(itself).bool_not();
    let logits = similarities(draws, kappa) + bias.reshape([1, 1, 1]);
    let p = sigmoid(logits).mean_dim(0).reshape([n, n]) + PROBABILITY_FLOOR; // [draws, n, n] -> [n, n]
    // A mean of 1 is above 1 with the floor; the logarithm stays a number there.
    let not = (-p.clone() + 1.0).clamp_min(f64::from(f32::MIN_POSITIVE));
    let mean = |values: Tensor<2>, wanted: Tensor<2, Bool>| {
        let count = wanted.clone().float().sum_dim(1).clamp_min(1.0); // [n, n] -> [n, 1]
        values.mask_fill(wanted.bool_not(), 0.0).sum_dim(1) / count
    };
    -(mean(p.log(), positive) + mean(not.log(), other)).mean()
}

/// The logarithm of the expected likelihood kernel of von Mises–Fisher distributions of images and classes, up to the
/// constant of the fit: `c(κ₁) + c(κ₂) − c(|κ₁μ₁ + κ₂μ₂|)`.
///
/// A class has the direction of its row, and the concentration `max(|row|, 1)·inverse_temperature`.
///
/// # Shapes — `mean`: `[n, d]`, of any length; `concentration`: `[n]`, positive; `classes`: `[classes, d]`; returns
/// `[n, classes]`.
pub fn expected_likelihood(
    mean: Tensor<2>,
    concentration: Tensor<1>,
    classes: Tensor<2>,
    inverse_temperature: f64,
    normaliser: &FittedNormaliser,
) -> Tensor<2> {
    let ([n, _], count) = (mean.dims(), classes.dims()[0]);
    let length = classes.clone().square().sum_dim(1).sqrt().clamp_min(1.0); // [classes, 1]
    let class = (length * inverse_temperature).reshape([1, count]);
    let image = concentration.reshape([n, 1]);
    let cosines = unit_rows(mean).matmul(unit_rows(classes).transpose()); // [n, classes]
    let product = cosines * image.clone() * class.clone() * 2.0;
    let square = image.clone().square() + class.clone().square() + product;
    let joint = square.clamp_min(f64::from(f32::MIN_POSITIVE)).sqrt();
    normaliser.log(image) + normaliser.log(class) - normaliser.log(joint)
}

/// Returns the cross entropy of each row's class, `[n]`.
///
/// # Shapes — `logits`: `[n, classes]`; `targets`: `[n]`, in `0..classes`.
pub fn cross_entropy_rows(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let n = logits.dims()[0];
    let own = logits.clone().gather(1, targets.reshape([n, 1])).reshape([n]); // [n, classes] -> [n]
    log_sum_exp(logits, 1.0) - own
}

/// The Jensen–Shannon divergence of the members of an ensemble, and what they say together.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// `log mean_members p`, `[n, classes]`.
    pub log_probabilities: Tensor<2>,
    /// `H(mean_members p) − mean_members H(p)` in nats, `[n]`: 0 where all members agree.
    pub divergence: Tensor<1>,
    /// The entropy of each member, `[members, n]`.
    pub entropies: Tensor<2>,
}

/// Measures how far the members of an ensemble disagree (Lakshminarayanan, Pritzel and Blundell 2017, arXiv:1612.01474,
/// section 2.4; as the uncertainty of the URL benchmark).
///
/// # Shapes — `logits`: `[members, n, classes]`.
pub fn disagreement(logits: Tensor<3>) -> Disagreement {
    let [members, n, classes] = logits.dims();
    let flat = logits.reshape([members * n, classes]);
    let normaliser = log_sum_exp(flat.clone(), 1.0).reshape([members * n, 1]);
    let log_p = flat - normaliser;
    let entropies = entropies(log_p.clone()).reshape([members, n]);
    let each = log_p.reshape([members, n, classes]);
    // [members, n, classes] -> [n·classes, members] -> [n, classes]
    let columns = each.reshape([members, n * classes]).transpose();
    let log_mean = log_sum_exp(columns, 1.0).reshape([n, classes]) - (members as f64).ln();
    let mean_entropy = entropies.clone().mean_dim(0).reshape([n]);
    let divergence = self::entropies(log_mean.clone()) - mean_entropy;
    Disagreement { log_probabilities: log_mean, divergence, entropies }
}

/// `−Σ p·log p` of each row of log-probabilities, `[n, classes]` to `[n]`.
fn entropies(log_p: Tensor<2>) -> Tensor<1> {
    let n = log_p.dims()[0];
    -(log_p.clone().exp() * log_p).sum_dim(1).reshape([n])
}

/// `κ·zᵢ·zⱼ`, `[draws, n, n]`.
fn similarities(draws: Tensor<3>, kappa: Tensor<1>) -> Tensor<3> {
    draws.clone().matmul(draws.swap_dims(1, 2)) * kappa.reshape([1, 1, 1])
}

/// `[n, n]` to `[count, n, n]`.
fn of_each(mask: Tensor<2, Bool>, count: usize) -> Tensor<3, Bool> {
    let [n, m] = mask.dims();
    mask.reshape([1, n, m]).expand([count, n, m])
}
