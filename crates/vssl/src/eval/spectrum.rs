//! How much of the feature space is used: signs of collapse that need no labels.
//!
//! Effective rank (RankMe: Garrido et al. 2023, arXiv:2210.02885, eq. 1): the exponential of the
//! entropy of the normalised singular values, from the eigenvalues of the smaller of `XᵀX` and
//! `XXᵀ`, uncentred, in double precision (in single precision a rank of one would read as several).
//! Spread and cosine: of rows at length 1, in closed form.

use burn::tensor::{DType, Device, Tensor, TensorData};
use nalgebra::DMatrix;

use super::EvalError;
use crate::features::Features;

/// Figures of one set of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// From 1 (all features on one line) to `min(rows, dim)`; 0 if all features are zero.
    pub effective_rank: f64,
    /// Standard deviation of rows at length 1, mean over the columns, times `√dim`: about 1 for
    /// directions all around, 0 when all agree.
    pub spread: f64,
    /// Mean cosine between the features of two different images; 0 for a single image.
    pub mean_cosine: f64,
    /// Singular values, largest first.
    pub singular_values: Vec<f64>,
}

/// Rows of one partial product.
const BLOCK: usize = 4096;

/// Below this norm a row is not stretched to length 1.
const NORM_FLOOR: f64 = 1e-12;

/// Computes the figures; time grows with `rows·dim²` and with `dim³`.
///
/// # Errors
/// Features that are empty, of the wrong length or not finite.
pub fn spectrum(features: &Features) -> Result<Spectrum, EvalError> {
    features.check("features")?;
    let singular_values = singular_values(features);
    let effective_rank = effective_rank(&singular_values);
    let (spread, mean_cosine) = directions(features);
    Ok(Spectrum { effective_rank, spread, mean_cosine, singular_values })
}

/// `exp(−Σ p ln p)`, `p = σ / Σσ`. (The paper adds 1e-7 to each `p`; here `0·ln 0` is 0.)
fn effective_rank(singular_values: &[f64]) -> f64 {
    let total: f64 = singular_values.iter().sum();
    if total == 0.0 {
        return 0.0;
    }
    let shares = singular_values.iter().map(|s| s / total).filter(|&p| p > 0.0);
    shares.map(|p| -p * p.ln()).sum::<f64>().exp()
}

/// Returns the `min(rows, dim)` singular values of the features, largest first.
pub(super) fn singular_values(features: &Features) -> Vec<f64> {
    let squares = eigenvalues(features, &vec![0.0; features.dim]);
    squares.into_iter().map(f64::sqrt).collect()
}

/// Returns the `min(rows, dim)` eigenvalues of `(X − c)ᵀ(X − c)`, largest first, where each row of X has `centre`
/// taken off. Those that are only rounding are 0.
pub(super) fn eigenvalues(features: &Features, centre: &[f64]) -> Vec<f64> {
    let Features { rows, dim, ref values, .. } = *features;
    // Squares of extreme features would leave the range of the products.
    let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    if largest == 0.0 {
        return vec![0.0; rows.min(dim)];
    }
    let largest = f64::from(largest);
    let block = |values: &[f32]| -> Tensor<2> {
        let count = values.len() / dim;
        let centred = values.iter().zip(centre.iter().cycle());
        let values: Vec<f64> = centred.map(|(&x, c)| (f64::from(x) - c) / largest).collect();
        let data = TensorData::new(values, [count, dim]);
        Tensor::from_data(data, (&Device::flex(), DType::F64))
    };
    let gram = if rows < dim {
        let x = block(values);
        x.clone().matmul(x.transpose()) // [rows, dim]·[dim, rows]
    } else {
        let products = values.chunks(BLOCK * dim).map(|values| {
            let x = block(values);
            x.clone().transpose().matmul(x) // [dim, block]·[block, dim]
        });
        products.reduce(|sum, product| sum + product).expect("checked: there are rows")
    };
    let size = gram.dims()[0];
    let gram = gram.into_data().try_into_vec::<f64>().expect("a product of f64 matrices is f64");
    let mut eigenvalues: Vec<f64> =
        DMatrix::from_vec(size, size, gram).symmetric_eigenvalues().iter().copied().collect();
    eigenvalues.sort_by(|a, b| b.total_cmp(a));
    // What is left of a zero eigenvalue is rounding of this size, of either sign.
    let noise = eigenvalues[0] * size as f64 * f64::EPSILON;
    let kept = |&e: &f64| if e > noise { e * largest * largest } else { 0.0 };
    eigenvalues.iter().map(kept).collect()
}

/// Spread and mean cosine of the rows at length 1: with their sum `S` and sum of squares,
/// `Σ_{i≠j} u_i·u_j = |S|² − Σ|u_i|²`.
fn directions(features: &Features) -> (f64, f64) {
    let Features { rows, dim, ref values, .. } = *features;
    if rows < 2 {
        return (0.0, 0.0);
    }
    let unit = |row: &[f32]| -> Vec<f64> {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(NORM_FLOOR);
        row.iter().map(|&x| f64::from(x) / norm).collect()
    };
    let mut sum = vec![0.0; dim];
    let mut square = 0.0;
    for row in values.chunks_exact(dim) {
        for (sum, u) in sum.iter_mut().zip(unit(row)) {
            *sum += u;
            square += u * u;
        }
    }
    let n = rows as f64;
    let cosine = (sum.iter().map(|s| s * s).sum::<f64>() - square) / (n * (n - 1.0));
    // Around the mean in a second pass: squares minus squared means would lose small spreads.
    let mut deviation = vec![0.0; dim];
    for row in values.chunks_exact(dim) {
        for ((into, u), sum) in deviation.iter_mut().zip(unit(row)).zip(&sum) {
            *into += (u - sum / n).powi(2);
        }
    }
    let spread = deviation.iter().map(|d| (d / (n - 1.0)).sqrt()).sum::<f64>() / dim as f64;
    (spread * (dim as f64).sqrt(), cosine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(dim: usize, values: Vec<f32>) -> Features {
        Features { rows: values.len() / dim, dim, values, labels: None }
    }

    fn near(got: f64, expected: f64) {
        assert!((got - expected).abs() < 1e-9, "{got}, expected {expected}");
    }

    #[test]
    fn axes_of_equal_length_have_full_rank_and_right_angles() {
        for copies in [1, 3] {
            let identity =
                (0..4 * 4 * copies).map(|i| if i % 4 == (i / 4) % 4 { 2.0 } else { 0.0 });
            let got = spectrum(&features(4, identity.collect())).unwrap();
            near(got.effective_rank, 4.0);
            assert_eq!(got.singular_values.len(), 4);
            let n = 4.0 * copies as f64;
            near(got.mean_cosine, (n * copies as f64 - n) / (n * (n - 1.0)));
        }
    }

    #[test]
    fn collapsed_features_have_rank_one_and_no_spread() {
        let row = [0.3_f32, -1.0, 2.0, 1e-3, 5.0];
        let values = (0..1000).flat_map(|i| row.map(|x| x * (1.0 + (i % 7) as f32))).collect();
        let got = spectrum(&features(5, values)).unwrap();
        assert!((got.effective_rank - 1.0).abs() < 1e-4, "{got:?}");
        assert!(got.spread < 1e-6 && (got.mean_cosine - 1.0).abs() < 1e-9, "{got:?}");
    }

    #[test]
    fn fewer_rows_than_columns_give_the_same_singular_values_as_the_transpose() {
        let wide: Vec<f32> = (0..3 * 8).map(|i| (i as f32 * 1.3).sin()).collect();
        let tall = (0..24).map(|i| wide[(i % 3) * 8 + i / 3]).collect();
        let (wide, tall) =
            (spectrum(&features(8, wide)).unwrap(), spectrum(&features(3, tall)).unwrap());
        assert_eq!(wide.singular_values.len(), 3);
        for (a, b) in wide.singular_values.iter().zip(&tall.singular_values) {
            near(*a, *b);
        }
    }

    #[test]
    fn two_singular_values_give_the_rank_of_their_entropy() {
        let got = spectrum(&features(2, vec![3.0, 0.0, 0.0, 1.0])).unwrap();
        let p = [0.75_f64, 0.25];
        near(got.effective_rank, (-p[0] * p[0].ln() - p[1] * p[1].ln()).exp());
        near(got.singular_values[0], 3.0);
    }

    #[test]
    fn opposite_rows_and_signs_show_in_cosine_and_spread() {
        let got = spectrum(&features(2, vec![1.0, 0.0, -5.0, 0.0])).unwrap();
        near(got.mean_cosine, -1.0);
        near(got.spread, 2.0_f64.sqrt() / 2.0 * 2.0_f64.sqrt());
    }

    #[test]
    fn zero_single_and_huge_features_are_no_trouble() {
        let got = spectrum(&features(3, vec![0.0; 12])).unwrap();
        assert_eq!((got.effective_rank, got.spread, got.mean_cosine), (0.0, 0.0, 0.0));
        let got = spectrum(&features(3, vec![1.0, 2.0, 3.0])).unwrap();
        near(got.effective_rank, 1.0);
        let got = spectrum(&features(2, vec![3e38, 0.0, 0.0, 3e38])).unwrap();
        near(got.effective_rank, 2.0);
    }

    #[test]
    fn features_that_are_not_finite_are_named() {
        let error = spectrum(&features(2, vec![1.0, 2.0, f32::NAN, 0.0])).unwrap_err();
        let expected = "features: row 1, column 0 is NaN";
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(spectrum(&features(2, vec![])).is_err());
    }
}
