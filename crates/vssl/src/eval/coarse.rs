//! Unit rows as 16-bit whole numbers, and how far their products are off at most.
//!
//! With rows x = q/s + δ, y = r/s + ε of length 1: `|x·y − q·r/s²| ≤ ‖δ‖ + (1 + ‖δ‖)·‖ε‖` by Cauchy and
//! Schwarz. Called by `search`, whose candidates are then proved to hold the nearest rows, or are looked
//! for again in single precision.

use rayon::prelude::*;

/// s: no sum of products of two such rows, nor a part of one, leaves 32 bits.
const SCALE: f32 = 32_000.0;
/// What single precision adds: to the rows before they are rounded, and to the product.
const ROUNDING: f64 = 4e-6;

/// Rows of whole numbers.
#[derive(Default)]
pub(super) struct Coarse {
    values: Vec<i16>,
    /// Numbers of a row, made even by a zero.
    depth: usize,
    /// Length of what rounding took from each row.
    errors: Vec<f64>,
}

impl Coarse {
    /// Of rows of length 1 at most, `dim` numbers each.
    pub(super) fn of(rows: &[f32], dim: usize) -> Self {
        let mut coarse = Self::default();
        coarse.fill(rows, dim);
        coarse
    }

    /// Becomes that of these rows, in the memory that it has.
    pub(super) fn fill(&mut self, rows: &[f32], dim: usize) {
        self.depth = dim.next_multiple_of(2);
        self.values.resize(rows.len() / dim * self.depth, 0);
        self.errors.resize(rows.len() / dim, 0.0);
        let rows = rows.par_chunks(dim).zip(self.values.par_chunks_mut(self.depth));
        rows.zip(self.errors.par_iter_mut()).for_each(|((row, to), error)| {
            let mut squares = 0.0;
            for (x, to) in row.iter().zip(to) {
                // To the nearest; `round` would be a call for each number.
                *to = (x * SCALE + 0.5f32.copysign(*x)) as i16;
                let off = x - f32::from(*to) / SCALE;
                squares += off * off;
            }
            // In single precision, hence the last factor.
            *error = f64::from(squares.sqrt()) * 1.01;
        });
    }

    /// Products of the rows `tests` of these with all of `train`.
    pub(super) fn products(&self, tests: std::ops::Range<usize>, train: &Self, scores: &mut [f32]) {
        let own = &self.values[tests.start * self.depth..tests.end * self.depth];
        let scale = (f64::from(SCALE) * f64::from(SCALE)).recip() as f32;
        vssl_kernels::coarse_products_of_rows(own, &train.values, self.depth, scale, scores);
    }

    /// Largest error of a row.
    pub(super) fn largest_error(&self) -> f64 {
        self.errors.iter().copied().fold(0.0, f64::max)
    }

    /// How far the products of each row with rows of at most this error may be off.
    pub(super) fn bounds(&self, other: f64) -> Vec<f64> {
        let bound = |own: &f64| own + (1.0 + own) * other + ROUNDING;
        self.errors.iter().map(bound).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_off_by_their_bound_at_most() {
        let (count, dim) = (30, 77);
        let unit = |salt: usize| -> Vec<f32> {
            let mut rows: Vec<f32> =
                (0..count * dim).map(|i| ((i * i + salt * i) % 97) as f32 - 48.0).collect();
            for row in rows.chunks_mut(dim) {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                row.iter_mut().for_each(|x| *x /= length);
            }
            rows
        };
        let (a, b) = (unit(3), unit(5));
        let (coarse, other) = (Coarse::of(&a, dim), Coarse::of(&b, dim));
        let bounds = coarse.bounds(other.largest_error());
        assert!(bounds.iter().all(|bound| (1e-6..1e-3).contains(bound)), "{bounds:?}");
        let mut scores = vec![0.0; 20 * count];
        coarse.products(10..count, &other, &mut scores);
        for (index, score) in scores.iter().enumerate() {
            let (i, j) = (10 + index / count, index % count);
            let pairs = a[i * dim..][..dim].iter().zip(&b[j * dim..][..dim]);
            let exact: f64 = pairs.map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            assert!((f64::from(*score) - exact).abs() <= bounds[i], "{i}, {j}: {score} {exact}");
        }
    }
}
