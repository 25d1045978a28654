//! How good features are, judged without labels: RankMe (Garrido et al. 2023, arXiv:2210.02885, eq. 1), α-ReQ (Agrawal et
//! al. 2022, *α-ReQ: Assessing Representation Quality in Self-Supervised Learning by Measuring Eigenspectrum Decay*,
//! section 3) and LiDAR (Thilak et al. 2024, arXiv:2312.04000, eq. 1 to 3). All in double precision.

use std::ops::Range;

use nalgebra::DMatrix;

use super::{
    EvalError,
    spectrum::{eigenvalues, singular_values},
};
use crate::features::Features;

/// The ε that RankMe's paper adds to each share; stable-pretraining adds 1e-5.
pub const RANK_ME_EPS: f64 = 1e-7;

/// The places of the spectrum that the published figures of α-ReQ are fitted to, counted from 0.
pub const PUBLISHED_RANGE: Range<usize> = 3..100;

/// Returns `exp(−Σ p ln p)` with `p = σ/Σσ + 1e-7` over the singular values σ of the features, which are neither centred
/// nor normalised; from about 1 to `min(rows, dim)`.
///
/// # Errors
/// Features that are empty, of the wrong length or not finite.
pub fn rank_me(features: &Features) -> Result<f64, EvalError> {
    rank_me_with(features, RANK_ME_EPS)
}

/// Returns RankMe with another ε than the paper's.
///
/// # Errors
/// The errors of [`rank_me`].
pub fn rank_me_with(features: &Features, eps: f64) -> Result<f64, EvalError> {
    features.check("features")?;
    Ok(rank_me_of(&singular_values(features), eps))
}

/// Returns RankMe of features whose singular values are known; 0 if all of these are 0.
pub fn rank_me_of(singular_values: &[f64], eps: f64) -> f64 {
    let total: f64 = singular_values.iter().sum();
    if total == 0.0 {
        return 0.0;
    }
    singular_values.iter().map(|s| s / total + eps).map(|p| -p * p.ln()).sum::<f64>().exp()
}

/// Returns the eigenvalues of the features' covariance as shares of their sum, largest first; all 0 for features that
/// are all equal.
///
/// # Errors
/// Features that are empty, of the wrong length or not finite.
pub fn covariance_spectrum(features: &Features) -> Result<Vec<f64>, EvalError> {
    features.check("features")?;
    let mut shares = eigenvalues(features, &mean(features));
    let total: f64 = shares.iter().sum();
    if total > 0.0 {
        shares.iter_mut().for_each(|share| *share /= total);
    }
    Ok(shares)
}

/// The exponent α of a spectrum that decays as `n^−α`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlphaReq {
    /// Of a fit whose n-th point has the weight 1/n, as for the published figures.
    pub weighted: f64,
    /// Of ordinary least squares on the same points.
    pub unweighted: f64,
}

/// Fits `ln λ_n = const − α ln n` to the eigenvalues at the places of `range`, counted from 0, so that the first has
/// n = `range.start` + 1. Places beyond the last positive eigenvalue are left out; α is 0 with fewer than two points.
pub fn alpha_req(spectrum: &[f64], range: Range<usize>) -> AlphaReq {
    let positive = spectrum.iter().take_while(|&&value| value > 0.0).count();
    let points: Vec<[f64; 2]> = (range.start..range.end.min(positive))
        .map(|place| [((place + 1) as f64).ln(), spectrum[place].ln()])
        .collect();
    let slope = |weight: &dyn Fn(f64) -> f64| {
        let weighted = |value: &dyn Fn(&[f64; 2]) -> f64| -> f64 {
            points.iter().map(|point| weight(point[0].exp()) * value(point)).sum()
        };
        let total = weighted(&|_| 1.0);
        let (x, y) = (weighted(&|p| p[0]) / total, weighted(&|p| p[1]) / total);
        let spread = weighted(&|p| (p[0] - x).powi(2));
        let slope = weighted(&|p| (p[0] - x) * (p[1] - y)) / spread;
        if points.len() < 2 { 0.0 } else { -slope }
    };
    AlphaReq { weighted: slope(&|n| 1.0 / n), unweighted: slope(&|_| 1.0) }
}

/// What LiDAR says of features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lidar {
    /// The effective number of directions that tell images apart, from 1 to the length of the features.
    pub lidar: f64,
    /// Its logarithm.
    pub entropy: f64,
    /// The largest eigenvalue.
    pub top_eigenvalue: f64,
}

/// The settings of [`lidar`]; the defaults are stable-pretraining's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LidarSettings {
    /// What is added to the diagonal of the scatter within an image's views.
    pub delta: f64,
    /// What is added to each eigenvalue.
    pub epsilon: f64,
}

impl Default for LidarSettings {
    fn default() -> Self {
        Self { delta: 1e-4, epsilon: 1e-8 }
    }
}

/// Returns the exponential of the entropy of the eigenvalues of `Σ_w^−½ Σ_b Σ_w^−½`. Rows are views of images, image after
/// image, `views` each; rows left over at the end are ignored. `Σ_b` is the covariance of the images' means, `Σ_w` the
/// mean covariance of an image's views plus δ·I.
///
/// # Errors
/// Features that are empty, of the wrong length or not finite; fewer than two images of two views.
pub fn lidar(
    features: &Features,
    views: usize,
    settings: LidarSettings,
) -> Result<Lidar, EvalError> {
    features.check("features")?;
    let Features { rows, dim, ref values, .. } = *features;
    let mut scatter = ViewScatter::new(views, dim);
    let used = rows / views.max(1) * views;
    scatter.push(&values[..used * dim]);
    scatter.lidar(settings)
}

/// How far views of images lie apart, collected block by block: LiDAR without all views in memory.
pub struct ViewScatter {
    views: usize,
    dim: usize,
    /// The mean of each image's views, image after image.
    means: Vec<f64>,
    /// The sum over all views of the products of their deviations from their image's mean, `dim × dim`.
    within: DMatrix<f64>,
}

/// The images whose views are multiplied at once.
const IMAGES_AT_ONCE: usize = 256;

impl ViewScatter {
    /// Returns the scatter of no images yet, each of which will have `views` views with features of `dim` numbers.
    pub fn new(views: usize, dim: usize) -> Self {
        Self { views, dim, means: Vec::new(), within: DMatrix::zeros(dim, dim) }
    }

    /// Returns the number of images.
    pub fn images(&self) -> usize {
        self.means.len() / self.dim.max(1)
    }

    /// Adds the views of images, image after image.
    ///
    /// `values`: `images · views · dim`.
    pub fn push(&mut self, values: &[f32]) {
        let (views, dim) = (self.views, self.dim);
        for block in values.chunks((IMAGES_AT_ONCE * views * dim).max(1)) {
            let first = self.means.len();
            for image in block.chunks_exact((views * dim).max(1)) {
                let mean = |column| image[column..].iter().step_by(dim).map(|&x| f64::from(x));
                self.means.extend((0..dim).map(|column| mean(column).sum::<f64>() / views as f64));
            }
            let means = &self.means[first..];
            let deviations = DMatrix::from_fn(block.len() / dim, dim, |row, column| {
                f64::from(block[row * dim + column]) - means[row / views * dim + column]
            });
            self.within.gemm_tr(1.0, &deviations, &deviations, 1.0);
        }
    }

    /// Returns what [`lidar`] says of these views.
    ///
    /// # Errors
    /// Fewer than two images, or fewer than two views; δ is too small for a scatter that is not of full rank.
    pub fn lidar(&self, settings: LidarSettings) -> Result<Lidar, EvalError> {
        let (views, dim, images) = (self.views, self.dim, self.images());
        if views < 2 || images < 2 {
            return Err(EvalError::Setting {
                field: "views of an image",
                got: views as f64,
                expected: "at least 2, and rows for at least 2 images",
            });
        }
        let means = DMatrix::from_row_slice(images, dim, &self.means);
        let centre = means.row_mean();
        let between = DMatrix::from_fn(images, dim, |i, j| means[(i, j)] - centre[j]);
        let between = between.tr_mul(&between) / (images - 1) as f64;
        let within = &self.within / (images * (views - 1)) as f64
            + DMatrix::identity(dim, dim) * settings.delta;
        // With Σ_w = L·Lᵀ, the matrix L⁻¹ Σ_b L⁻ᵀ has the same eigenvalues.
        let factor = within.cholesky().ok_or(EvalError::Setting {
            field: "delta",
            got: settings.delta,
            expected: "large enough that the scatter within the images' views is positive definite",
        })?;
        let half = factor
            .l()
            .solve_lower_triangular(&between)
            .expect("a Cholesky factor has no zero on its diagonal");
        let whole = factor.l().solve_lower_triangular(&half.transpose()).expect("as above");
        let whole = (&whole + whole.transpose()) * 0.5;
        let eigenvalues: Vec<f64> =
            whole.symmetric_eigenvalues().iter().map(|&value| value.max(0.0)).collect();
        let total: f64 = eigenvalues.iter().map(|value| value + settings.epsilon).sum();
        let shares = eigenvalues.iter().map(|value| (value + settings.epsilon) / total);
        let entropy: f64 = shares.map(|p| -p * p.ln()).sum();
        let top_eigenvalue = eigenvalues.iter().copied().fold(0.0, f64::max);
        Ok(Lidar { lidar: entropy.exp(), entropy, top_eigenvalue })
    }
}

/// The mean of each column.
fn mean(features: &Features) -> Vec<f64> {
    let mut mean = vec![0.0; features.dim];
    for row in features.values.chunks_exact(features.dim) {
        mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    mean.iter_mut().for_each(|sum| *sum /= features.rows as f64);
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(dim: usize, values: Vec<f32>) -> Features {
        Features { rows: values.len() / dim, dim, values, labels: None }
    }

    #[test]
    fn a_power_law_has_its_exponent() {
        let spectrum: Vec<f64> = (1..=50).map(|n| f64::from(n).powf(-1.3)).collect();
        let AlphaReq { weighted, unweighted } = alpha_req(&spectrum, PUBLISHED_RANGE);
        assert!((weighted - 1.3).abs() < 1e-9 && (unweighted - 1.3).abs() < 1e-9, "{weighted}");
        assert_eq!(alpha_req(&[1.0, 0.0, 0.0], 0..3).weighted, 0.0);
    }

    #[test]
    fn features_that_are_all_equal_have_no_spectrum_and_no_rank() {
        let equal = features(2, vec![3.0; 8]);
        assert_eq!(covariance_spectrum(&equal).unwrap(), [0.0, 0.0]);
        assert_eq!(rank_me(&features(2, vec![0.0; 8])).unwrap(), 0.0);
        assert!((rank_me(&equal).unwrap() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_scatter_that_is_collected_in_parts_is_that_of_the_whole() {
        let values: Vec<f32> = (0..600 * 3 * 5).map(|i| ((i * 37 % 101) as f32).sin()).collect();
        let whole = lidar(&features(5, values.clone()), 3, LidarSettings::default()).unwrap();
        let mut parts = ViewScatter::new(3, 5);
        values.chunks(7 * 3 * 5).for_each(|part| parts.push(part));
        assert_eq!(parts.images(), 600);
        let parts = parts.lidar(LidarSettings::default()).unwrap();
        assert!((parts.lidar - whole.lidar).abs() < 1e-9, "{parts:?}, {whole:?}");
    }

    #[test]
    fn images_told_apart_along_two_axes_have_a_lidar_of_two() {
        let mut values = Vec::new();
        for (x, y) in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)] {
            for noise in [0.01_f32, -0.01] {
                values.extend([x + noise, y - noise, noise]);
            }
        }
        let found = lidar(&features(3, values), 2, LidarSettings::default()).unwrap();
        assert!((found.lidar - 2.0).abs() < 0.2, "{found:?}");
        let error = lidar(&features(1, vec![1.0, 2.0]), 2, LidarSettings::default()).unwrap_err();
        assert!(error.to_string().contains("at least 2 images"), "{error}");
    }
}
