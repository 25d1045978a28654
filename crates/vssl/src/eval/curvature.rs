//! A rough inverse of the second derivatives of a logistic regression, to make its minimisation quick.
//!
//! The matrix of second derivatives with respect to the weights of class k is `Σ_i p_ik·(1 − p_ik)·x_i·x_iᵀ / n
//! + λ·I`. With one mean share α for all `p·(1 − p)` it is `α·(G + r·I)`, where `G = XᵀX / n` and `r = λ / α`:
//! one matrix for all classes, exact where all classes are equally likely, which is where a fit begins. The
//! block-diagonal bound of Böhning (1992, doi:10.1007/BF00048682) has the same form with another constant.
//! Called by `logistic`.

use vssl_kernels::{add_gram, add_product, products_of_rows};

/// Columns up to which there is a matrix.
const WIDEST: usize = 8192;
/// Numbers in single precision for each entry of the matrix while its inverse is computed, at most: the matrix with
/// its ridge added and without, the inverse, and the parts of which the inverse is put together.
const PER_ENTRY: u64 = 6;
/// Rows for each column that the matrix is computed from.
/// PERF: of 50,000 rows of 2,048 columns this takes two thirds; a fit needs as many iterations as with all.
const ROWS_PER_COLUMN: usize = 16;
/// Rows that are gathered at a time.
const GATHERED: usize = 4096;
/// The smallest ridge, as a share of the largest eigenvalue: the inverse is computed in single precision.
const LEAST_RIDGE: f64 = 1e-4;
/// The smallest mean share: below it every image is certain.
const LEAST_SHARE: f64 = 1e-9;
/// Steps of the power iteration for the largest eigenvalue.
const POWER_STEPS: usize = 12;
/// Sides up to which a matrix is inverted directly, in double precision.
const DIRECT: usize = 64;

/// The Gram matrix of some rows, and its largest eigenvalue, roughly.
pub(super) struct Gram {
    width: usize,
    matrix: Vec<f32>,
    largest: f64,
}

impl Gram {
    /// Returns the bytes that the matrix of rows of `width` numbers and its inverse take, from above.
    pub(super) fn bytes(width: u64) -> u64 {
        if width > WIDEST as u64 { 0 } else { PER_ENTRY * width * width * size_of::<f32>() as u64 }
    }

    /// From rows of `width` numbers, or from evenly spread ones where there are many; `None` where the rows are
    /// too long.
    pub(super) fn of(rows: &[f32], width: usize) -> Option<Self> {
        if width > WIDEST {
            return None;
        }
        let count = rows.len() / width;
        let used = count.min(ROWS_PER_COLUMN * width);
        let mut matrix = vec![0.0; width * width];
        let mut gathered = Vec::new();
        for first in (0..used).step_by(GATHERED) {
            gathered.clear();
            for row in first..used.min(first + GATHERED) {
                let row = row * count / used;
                gathered.extend_from_slice(&rows[row * width..][..width]);
            }
            add_gram(&gathered, width, &mut matrix);
        }
        let scale = 1.0 / used.max(1) as f32;
        matrix.iter_mut().for_each(|x| *x *= scale);
        let largest = largest_eigenvalue(&matrix, width);
        Some(Self { width, matrix, largest })
    }

    /// The inverse of `share · (G + penalty / share · I)`; `None` where rounding makes it useless.
    pub(super) fn inverse(&self, share: f64, penalty: f64) -> Option<Vec<f32>> {
        let share = share.max(LEAST_SHARE);
        let ridge = (penalty / share).max(LEAST_RIDGE * self.largest).max(f64::MIN_POSITIVE);
        let mut matrix = self.matrix.clone();
        for diagonal in matrix.iter_mut().step_by(self.width + 1) {
            *diagonal = (f64::from(*diagonal) + ridge) as f32;
        }
        let mut inverse = inverse(&matrix, self.width)?;
        inverse.iter_mut().for_each(|x| *x = (f64::from(*x) / share) as f32);
        inverse.iter().all(|x| x.is_finite()).then_some(inverse)
    }
}

/// The largest eigenvalue of a symmetric matrix without negative ones, by power iteration: not above it.
fn largest_eigenvalue(matrix: &[f32], side: usize) -> f64 {
    let mut vector: Vec<f32> = (0..side).map(|i| 1.0 + (i % 7) as f32 / 7.0).collect();
    let mut norm = 0.0;
    for _ in 0..POWER_STEPS {
        let mut next = vec![0.0; side];
        products_of_rows(matrix, &vector, side, &mut next);
        norm = next.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if norm == 0.0 {
            return 0.0;
        }
        vector = next.iter().map(|&x| (f64::from(x) / norm) as f32).collect();
    }
    norm
}

/// The inverse of a symmetric positive definite matrix, by halves: with `S = D − Bᵀ·A⁻¹·B`,
/// `[A B; Bᵀ D]⁻¹ = [A⁻¹ + A⁻¹·B·S⁻¹·Bᵀ·A⁻¹, −A⁻¹·B·S⁻¹; …, S⁻¹]`. `None` where a pivot is not positive.
fn inverse(matrix: &[f32], side: usize) -> Option<Vec<f32>> {
    if side <= DIRECT {
        return direct_inverse(matrix, side);
    }
    let half = (side / 2).next_multiple_of(16);
    let rest = side - half;
    let part = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| -> Vec<f32> {
        rows.flat_map(|row| &matrix[row * side..][columns.clone()]).copied().collect()
    };
    let first = inverse(&part(0..half, 0..half), half)?;
    let lower = part(half..side, 0..half); // Bᵀ, [rest, half]
    let mut solved = vec![0.0; half * rest]; // A⁻¹·B
    products_of_rows(&first, &lower, half, &mut solved);
    let mut schur = part(half..side, half..side);
    let negative: Vec<f32> = lower.iter().map(|x| -x).collect();
    add_product(&negative, &solved, half, &mut schur);
    let last = inverse(&schur, rest)?;
    let mut corner = vec![0.0; half * rest]; // A⁻¹·B·S⁻¹
    products_of_rows(&solved, &last, rest, &mut corner);
    let mut block = vec![0.0; half * half];
    products_of_rows(&corner, &solved, rest, &mut block);
    let mut all = vec![0.0; side * side];
    for row in 0..half {
        for column in 0..=row {
            let (at, mirrored) = (row * half + column, column * half + row);
            let sum = |at: usize| f64::from(first[at]) + f64::from(block[at]);
            // The mean of both sides: the inverse has to be symmetric.
            let value = (0.5 * (sum(at) + sum(mirrored))) as f32;
            all[row * side + column] = value;
            all[column * side + row] = value;
        }
        for column in 0..rest {
            let value = -corner[row * rest + column];
            all[row * side + half + column] = value;
            all[(half + column) * side + row] = value;
        }
    }
    for row in 0..rest {
        all[(half + row) * side + half..][..rest].copy_from_slice(&last[row * rest..][..rest]);
    }
    Some(all)
}

/// The inverse of a small symmetric positive definite matrix, through its Cholesky factor.
fn direct_inverse(matrix: &[f32], side: usize) -> Option<Vec<f32>> {
    let numbers = matrix.iter().map(|&x| f64::from(x));
    let matrix = nalgebra::DMatrix::from_iterator(side, side, numbers);
    let inverse = matrix.cholesky()?.inverse();
    Some(inverse.iter().map(|&x| x as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows whose columns are much alike.
    fn rows(count: usize, width: usize) -> Vec<f32> {
        let number = |i: usize| ((i * 7919 + 5) % 2003) as f32 / 1001.0 - 1.0;
        let value = |at: usize| {
            let (row, column) = (at / width, at % width);
            number(row) * 3.0 + number(at) * (1.0 + column as f32 / width as f32)
        };
        (0..count * width).map(value).collect()
    }

    #[test]
    fn the_inverse_times_the_matrix_is_the_identity() {
        for width in [1, 2, 16, 63, 65, 130, 257] {
            let gram = Gram::of(&rows(3 * width, width), width).unwrap();
            for (share, penalty) in [(0.09, 1e-2), (1e-3, 1e-3), (0.0, 0.0)] {
                let inverse = gram.inverse(share, penalty).unwrap();
                let share = share.max(LEAST_SHARE);
                let ridge = (penalty / share).max(LEAST_RIDGE * gram.largest);
                for row in (0..width).step_by(1 + width / 7) {
                    for column in 0..width {
                        let terms = (0..width).map(|i| {
                            let ridge = if i == column { ridge } else { 0.0 };
                            let entry = f64::from(gram.matrix[i * width + column]) + ridge;
                            f64::from(inverse[row * width + i]) * entry * share
                        });
                        let expected = f64::from(u8::from(row == column));
                        let got: f64 = terms.sum();
                        assert!((got - expected).abs() < 5e-2, "{width} {share}: {got}");
                        let mirrored = inverse[column * width + row];
                        assert_eq!(inverse[row * width + column], mirrored, "{width}: symmetry");
                    }
                }
            }
        }
    }

    #[test]
    fn many_rows_are_thinned_evenly_and_long_ones_have_no_matrix() {
        let width = 2;
        let many = rows(ROWS_PER_COLUMN * width * 50, width);
        let gram = Gram::of(&many, width).unwrap();
        let square = many.chunks(width).map(|row| f64::from(row[0]).powi(2)).sum::<f64>();
        let expected = square / (many.len() / width) as f64;
        assert!((f64::from(gram.matrix[0]) - expected).abs() < 0.5 * expected);
        assert!(Gram::of(&[0.0], WIDEST + 1).is_none());
    }

    #[test]
    fn the_largest_eigenvalue_is_that_of_a_diagonal() {
        let diagonal = [3.0, 0.0, 0.0, 0.0, 7.0, 0.0, 0.0, 0.0, 1.0];
        assert!((largest_eigenvalue(&diagonal, 3) - 7.0).abs() < 0.01);
        assert_eq!(largest_eigenvalue(&[0.0; 4], 2), 0.0);
    }
}
