//! Losses that pull two views together and the dimensions of the embedding apart: Barlow Twins
//! (Zbontar et al. 2021, arXiv:2103.03230, eq. 1), VICReg (Bardes et al. 2022, arXiv:2105.04906,
//! eq. 1 to 6) and VIbCReg (Lee and Aune 2021, arXiv:2109.00783, section 3). Called by
//! `methods::{barlow, vibcreg, vicreg}`.
//!
//! All sum the squares of a d × d matrix `aᵀb` off its diagonal.

use burn::tensor::{Tensor, activation};
use vssl_kernels::{batch_norm_train, linear, off_diagonal_squares};

use super::normalise::unit_rows;

/// The number that is added to the variance of a column that Barlow Twins standardises, as in batch
/// normalisation.
pub const BARLOW_EPS: f64 = 1e-5;
/// The number that is added to a variance before VICReg takes its square root.
pub const VICREG_EPS: f64 = 1e-4;

/// The two terms of Barlow Twins, which depend on the cross-correlation `C = âᵀb̂ / n` of standardised
/// columns.
#[derive(Clone, Debug)]
pub struct Barlow {
    /// The invariance term, `Σᵢ (Cᵢᵢ − 1)²`, `[1]`.
    pub invariance: Tensor<1>,
    /// The redundancy term, `Σ_{i≠j} Cᵢⱼ²`, `[1]`.
    pub redundancy: Tensor<1>,
    /// The mean of the diagonal, `[1]`, without gradient: 1 when the views agree.
    pub agreement: Tensor<1>,
}

/// Computes the terms from the cross-correlation of two views over the batch. Columns are standardised by
/// their mean and biased variance, and gradients flow through both.
///
/// # Shapes — `a`, `b`: `[n, d]`.
pub fn barlow(a: Tensor<2>, b: Tensor<2>) -> Barlow {
    let n = a.dims()[0] as f64;
    let (a, b) = (standardise(a), standardise(b));
    let diagonal = (a.clone() * b.clone()).mean_dim(0); // [n, d] -> [1, d]
    Barlow {
        invariance: (diagonal.clone() - 1.0).square().sum(),
        redundancy: off_diagonal_of_standardised(a, b, &diagonal) / (n * n),
        agreement: diagonal.detach().mean(),
    }
}

impl Barlow {
    /// Returns `scale · [ invariance + λ · redundancy ]`, `[1]`.
    pub fn total(&self, lambda: f64, scale: f64) -> Tensor<1> {
        (self.invariance.clone() + self.redundancy.clone() * lambda) * scale
    }
}

/// The three terms of VICReg and of VIbCReg.
#[derive(Clone, Debug)]
pub struct Vicreg {
    /// The similarity term: the mean over all n·d entries of `(a − b)²`, `[1]`.
    pub similarity: Tensor<1>,
    /// The variance term: the sum over both views of `meanⱼ relu(1 − √(varⱼ + 1e-4))`, with unbiased
    /// variances, `[1]`.
    pub variance: Tensor<1>,
    /// The covariance term of VICReg: the sum over both views of `1/d · Σ_{i≠j} Covᵢⱼ²`, with unbiased
    /// covariances, `[1]`. That of VIbCReg has correlations in their place and the factor `1/d²`.
    pub covariance: Tensor<1>,
}

/// Computes the invariance, variance and covariance terms of two views. Gradients flow to both views.
///
/// # Shapes — `a`, `b`: `[n, d]`, n at least 2.
pub fn vicreg(a: Tensor<2>, b: Tensor<2>) -> Vicreg {
    let similarity = (a.clone() - b.clone()).square().mean();
    let ([variance_a, covariance_a], [variance_b, covariance_b]) = (spread(a), spread(b));
    Vicreg {
        similarity,
        variance: variance_a + variance_b,
        covariance: covariance_a + covariance_b,
    }
}

/// Computes the terms of VIbCReg: as those of [`vicreg`], but the third is of correlations, which lie between −1 and
/// 1, and is the mean over all d² entries. A constant column has no correlation with any other. Gradients flow to
/// both views.
///
/// # Shapes — `a`, `b`: `[n, d]`, n at least 2.
pub fn vibcreg(a: Tensor<2>, b: Tensor<2>) -> Vicreg {
    let similarity = (a.clone() - b.clone()).square().mean();
    let [a, b] = [a, b].map(|x| x.clone() - x.mean_dim(0)); // [n, d] − [1, d]
    let correlation = |centred: Tensor<2>| {
        let d = centred.dims()[1] as f64;
        let unit = unit_rows(centred.transpose()).transpose(); // columns of norm 1
        off_diagonal_squares(unit.clone(), unit) / (d * d)
    };
    Vicreg {
        similarity,
        variance: hinge(a.clone()) + hinge(b.clone()),
        covariance: correlation(a) + correlation(b),
    }
}

impl Vicreg {
    /// Returns the weighted sum of the terms, `[1]`.
    pub fn total(&self, similarity: f64, variance: f64, covariance: f64) -> Tensor<1> {
        self.similarity.clone() * similarity
            + self.variance.clone() * variance
            + self.covariance.clone() * covariance
    }
}

/// Returns the variance and covariance terms of one view.
fn spread(x: Tensor<2>) -> [Tensor<1>; 2] {
    let [n, d] = x.dims();
    let pairs = n.saturating_sub(1) as f64;
    let centred = x.clone() - x.mean_dim(0); // [n, d] − [1, d]
    let variance = hinge(centred.clone());
    let covariance = off_diagonal_squares(centred.clone(), centred) / (pairs * pairs * d as f64);
    [variance, covariance]
}

/// Returns `meanⱼ relu(1 − √(varⱼ + 1e-4))` over columns whose mean is 0, with unbiased variances.
fn hinge(centred: Tensor<2>) -> Tensor<1> {
    let pairs = centred.dims()[0].saturating_sub(1) as f64;
    let variances = centred.square().sum_dim(0) / pairs; // [n, d] -> [1, d]
    activation::relu(-(variances + VICREG_EPS).sqrt() + 1.0).mean()
}

/// Returns the columns with mean 0 and biased variance 1.
fn standardise(x: Tensor<2>) -> Tensor<2> {
    let d = x.dims()[1];
    let constant = |value: f32| Tensor::full([d], value, &x.device());
    let (scale, shift) = (constant(1.0), constant(0.0));
    batch_norm_train(x, scale, shift, None, false, BARLOW_EPS).output
}

/// Returns `Σ_{i≠j} (aᵀb)ᵢⱼ²` of standardised columns, whose mean products are `diagonal`.
///
/// With fewer rows than columns the sum is `‖aᵀb‖² − Σᵢ(aᵀb)ᵢᵢ²` with `‖aᵀb‖² = Σ (aaᵀ)∘(bbᵀ)`, from two n ×
/// n matrices instead of one d × d matrix. The difference is exact enough only when the columns have equal
/// scales: a column with a variance a million times that of the others, which VICReg has to expect, would
/// leave no correct digit.
///
/// # Shapes — `a`, `b`: `[n, d]`; `diagonal`: `[1, d]`; returns `[1]`.
fn off_diagonal_of_standardised(a: Tensor<2>, b: Tensor<2>, diagonal: &Tensor<2>) -> Tensor<1> {
    let [n, d] = a.dims();
    if n >= d {
        return off_diagonal_squares(a, b);
    }
    let gram = |x: Tensor<2>| linear(x.clone(), x, None); // [n, d] -> [n, n]
    (gram(a) * gram(b)).sum() - (diagonal.clone() * n as f64).square().sum()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// Numbers without a pattern that a matrix of low rank would have.
    fn rows(n: usize, d: usize, seed: u64) -> Tensor<2> {
        let value = |i: usize| ((i as f32 + 1.7) * (seed as f32 + 12.9)).sin() * 1.3;
        let values: Vec<f32> = (0..n * d).map(value).collect();
        let data = TensorData::new(values, [n, d]);
        Tensor::from_data(data, &Device::flex().autodiff()).require_grad()
    }

    fn value(x: Tensor<1>) -> f64 {
        f64::from(x.into_scalar::<f32>())
    }

    fn gradient(x: &Tensor<2>, loss: &Tensor<1>) -> Vec<f32> {
        x.grad(&loss.backward()).unwrap().into_data().try_to_vec().unwrap()
    }

    #[test]
    fn both_ways_to_the_sum_agree_in_value_and_gradient() {
        for (n, d) in [(2, 1), (5, 5), (5, 6), (3, 40), (40, 3), (64, 100)] {
            // A graph of its own for each way: a backward pass uses it up.
            let sides = || {
                let (a, b) = (rows(n, d, 1), rows(n, d, 2));
                (a.clone(), standardise(a), standardise(b))
            };
            let (a, x, y) = sides();
            let plain = off_diagonal_squares(x, y);
            let (again, x, y) = sides();
            let diagonal = (x.clone() * y.clone()).mean_dim(0);
            let got = off_diagonal_of_standardised(x, y, &diagonal);
            let scale = (n * n * d) as f64; // the diagonal's own share, at most
            let difference = value(got.clone()) - value(plain.clone());
            assert!(difference.abs() <= 1e-5 * scale, "{n} x {d}: {difference}");
            let plain = gradient(&a, &plain);
            let largest = plain.iter().fold(1.0_f32, |m, g| m.max(g.abs()));
            for (got, expected) in gradient(&again, &got).iter().zip(plain) {
                assert!((got - expected).abs() <= 1e-4 * largest, "{n} x {d}: {got} {expected}");
            }
        }
    }

    #[test]
    fn one_column_of_another_scale_does_not_drown_the_covariances() {
        let (x, scale) = (rows(12, 20, 5), 1e3);
        let factors = Tensor::<2>::ones([1, 20], &x.device());
        let factors = factors.slice_fill([0..1, 3..4], scale);
        let terms = vicreg(x.clone() * factors, rows(12, 20, 6));
        let values: Vec<f32> = x.into_data().try_to_vec().unwrap();
        let column = |j: usize| -> Vec<f64> {
            let factor = if j == 3 { scale } else { 1.0 };
            let column: Vec<f64> =
                (0..12).map(|i| f64::from(values[i * 20 + j]) * factor).collect();
            let mean = column.iter().sum::<f64>() / 12.0;
            column.iter().map(|x| x - mean).collect()
        };
        let mut expected = 0.0;
        for (i, j) in (0..20).flat_map(|i| (0..20).map(move |j| (i, j))).filter(|(i, j)| i != j) {
            let products: f64 = column(i).iter().zip(column(j)).map(|(a, b)| a * b).sum();
            expected += (products / 11.0).powi(2) / 20.0;
        }
        let [_, other] = spread(rows(12, 20, 6));
        let got = value(terms.covariance) - value(other);
        assert!((got - expected).abs() <= 1e-5 * expected, "{got} against {expected}");
    }

    #[test]
    fn a_view_with_itself_has_a_diagonal_of_ones() {
        let a = rows(64, 6, 3);
        let terms = barlow(a.clone(), a);
        assert!(value(terms.invariance) < 1e-6);
        assert!((value(terms.agreement) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn constant_embeddings_have_no_covariance_and_the_whole_hinge() {
        let device = Device::flex().autodiff();
        let constant = || Tensor::<2>::full([8, 16], 3.0, &device).require_grad();
        let (a, b) = (constant(), constant());
        let terms = vicreg(a.clone(), b);
        assert_eq!(value(terms.similarity.clone()), 0.0);
        assert_eq!(value(terms.covariance.clone()), 0.0);
        assert!((value(terms.variance.clone()) - 2.0 * 0.99).abs() < 1e-6);
        let finite = gradient(&a, &terms.total(25.0, 25.0, 1.0)).iter().all(|g| g.is_finite());
        assert!(finite, "the root's derivative");
    }
}
