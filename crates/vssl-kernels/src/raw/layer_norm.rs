//! Layer normalisation of rows (Ba et al. 2016, arXiv:1607.06450): `y = γ·x̂ + β` with `x̂ = (x − μ)·r` and
//! `r = 1/√(σ² + ε)`, the mean and the biased variance being those of a row. With `g = γ·dy`,
//!
//! ```text
//! dx = r · (g − mean(g) − x̂·mean(g·x̂))      dγ = Σ dy·x̂      dβ = Σ dy
//! ```
//!
//! What is kept between the passes is the row itself, μ and r. The sums over rows are taken in `f32` in
//! blocks of rows and in `f64` over blocks, in order.

use super::buffer;
use super::norm::{load, store};
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};
use super::transcendental::{each_vector, first_lanes};

/// The number of floats of a task.
const BLOCK: usize = 1 << 14;

/// The mean μ and the factor r of each row.
#[derive(Clone, Copy, Debug)]
pub struct Statistics<'a> {
    /// The means.
    pub mean: &'a [f32],
    /// The reciprocal deviations.
    pub factor: &'a [f32],
}

/// A normalisation whose statistics are known.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// The statistics of the rows.
    pub of: Statistics<'a>,
    /// The scale γ of each column.
    pub gamma: &'a [f32],
    /// The shift β of each column.
    pub beta: &'a [f32],
}

/// Returns how many rows of this length a task takes.
fn block_rows(columns: usize) -> usize {
    (BLOCK / columns.max(1)).clamp(1, 256)
}

/// Writes the mean and the reciprocal deviation of each row of `x`.
pub fn statistics(isa: Isa, x: &[f32], eps: f32, mean: &mut [f32], factor: &mut [f32]) {
    let rows = mean.len();
    assert!(factor.len() == rows && (rows == 0 || x.len().is_multiple_of(rows)), "whole rows");
    let columns = x.len() / rows.max(1);
    let (block, means, factors) = (block_rows(columns), Shared::new(mean), Shared::new(factor));
    parallel_for(rows.div_ceil(block), |task| {
        let first = task * block;
        let rows = block.min(rows - first);
        let x = &x[first * columns..][..rows * columns];
        // SAFETY: each task has its own rows.
        unsafe {
            let (mean, factor) = (means.slice(first, rows), factors.slice(first, rows));
            isa.run(RowStatistics { x, eps, mean, factor });
        }
    });
}

struct RowStatistics<'a> {
    x: &'a [f32],
    eps: f32,
    mean: &'a mut [f32],
    factor: &'a mut [f32],
}

impl Kernel for RowStatistics<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let columns = self.x.len() / self.mean.len().max(1);
        for row in 0..self.mean.len() {
            // SAFETY: the slice has that many whole rows.
            unsafe {
                let x = self.x.as_ptr().add(row * columns);
                let mut total = S::splat(0.0);
                each_vector!(columns, |at, count| {
                    total = S::add(total, load::<S>(x.add(at), count));
                });
                let mean = S::sum(total) / columns as f32;
                let centre = S::splat(mean);
                let mut squares = S::splat(0.0);
                each_vector!(columns, |at, count| {
                    let centred = S::sub(load::<S>(x.add(at), count), centre);
                    let centred = first_lanes::<S>(centred, count);
                    squares = S::fma(centred, centred, squares);
                });
                self.mean[row] = mean;
                self.factor[row] = 1.0 / (S::sum(squares) / columns as f32 + self.eps).sqrt();
            }
        }
    }
}

/// Writes the normalised, scaled and shifted rows to `y`.
pub fn forward(isa: Isa, x: &[f32], norm: Norm<'_>, y: &mut [f32]) {
    let (rows, columns) = (norm.of.mean.len(), norm.gamma.len());
    assert!(x.len() == rows * columns && y.len() == x.len(), "{rows} rows of {columns}");
    norm.check();
    let (block, out) = (block_rows(columns), Shared::new(y));
    parallel_for(rows.div_ceil(block), |task| {
        let first = task * block;
        // SAFETY: each task has its own rows of both slices, whose sizes were checked.
        unsafe {
            isa.run(Normalise {
                norm,
                x: x.as_ptr().add(first * columns),
                x_row: columns,
                rows: first..rows.min(first + block),
                columns: 0..columns,
                to: out.at(first * columns),
                to_row: columns,
            });
        }
    });
}

impl Norm<'_> {
    /// # Panics
    ///
    /// If the parts do not fit each other.
    pub fn check(&self) {
        assert_eq!(self.of.mean.len(), self.of.factor.len(), "statistics of each row");
        assert_eq!(self.gamma.len(), self.beta.len(), "a scale and a shift for each column");
    }
}

/// Normalises a rectangle. It may be written in place.
pub struct Normalise<'a> {
    /// The normalisation of the whole matrix.
    pub norm: Norm<'a>,
    /// The first element of the rectangle.
    pub x: *const f32,
    /// The stride of the rows of `x`.
    pub x_row: usize,
    /// The rows of the rectangle in the matrix.
    pub rows: std::ops::Range<usize>,
    /// The columns of the rectangle in the matrix.
    pub columns: std::ops::Range<usize>,
    /// The first element of the result.
    pub to: *mut f32,
    /// The stride of the rows of `to`.
    pub to_row: usize,
}

impl Kernel for Normalise<'_> {
    type Output = ();
    /// Bounds: `x` and `to` are valid for the rectangle.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Norm { of, gamma, beta } = self.norm;
        let (gamma, beta) = (&gamma[self.columns.clone()], &beta[self.columns]);
        let (mean, factor) = (&of.mean[self.rows.clone()], &of.factor[self.rows]);
        for (row, (mean, factor)) in mean.iter().zip(factor).enumerate() {
            // SAFETY: the caller's bounds; γ and β are as long as the rows of the rectangle.
            unsafe {
                let (x, to) = (self.x.add(row * self.x_row), self.to.add(row * self.to_row));
                let (mean, factor) = (S::splat(*mean), S::splat(*factor));
                each_vector!(gamma.len(), |at, count| {
                    let unit = S::mul(S::sub(load::<S>(x.add(at), count), mean), factor);
                    let gamma = load::<S>(gamma.as_ptr().add(at), count);
                    let value = S::fma(unit, gamma, load::<S>(beta.as_ptr().add(at), count));
                    store::<S>(to.add(at), value, count);
                });
            }
        }
    }
}

/// Turns gradients of normalised rows into those of the rows before.
pub struct Gradient<'a> {
    /// The normalisation of the whole matrix.
    pub norm: Norm<'a>,
    /// The rows that are taken.
    pub rows: std::ops::Range<usize>,
    /// The first of the rows before the normalisation.
    pub x: *const f32,
    /// The first of the gradients of the normalised rows.
    pub dy: *const f32,
    /// The first of the gradients that are written.
    pub dx: *mut f32,
    /// Whether to add to `dx` or to replace it.
    pub accumulate: bool,
    /// The sums of the gradients of γ, and after them those of β, to which those of these rows are added.
    pub factors: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    type Output = ();
    /// Bounds: the pointers are valid for the rows, which lie one after the other. `dy` may be `dx`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let columns = self.norm.gamma.len();
        let gamma = self.norm.gamma.as_ptr();
        let of = self.norm.of;
        assert_eq!(self.factors.len(), 2 * columns, "two sums for each column");
        let (dgamma, dbeta) = self.factors.split_at_mut(columns);
        let (dgamma, dbeta) = (dgamma.as_mut_ptr(), dbeta.as_mut_ptr());
        for (row, index) in self.rows.enumerate() {
            let (mean, factor) = (of.mean[index], of.factor[index]);
            // SAFETY: the caller's bounds; γ and the sums have a row's length.
            unsafe {
                let start = row * columns;
                let (x, dy, dx) = (self.x.add(start), self.dy.add(start), self.dx.add(start));
                let (centre, unit) = (S::splat(mean), S::splat(factor));
                let (mut plain, mut along) = (S::splat(0.0), S::splat(0.0));
                each_vector!(columns, |at, count| {
                    let dy = load::<S>(dy.add(at), count);
                    let x = S::mul(S::sub(load::<S>(x.add(at), count), centre), unit);
                    let scaled = S::mul(dy, load::<S>(gamma.add(at), count));
                    plain = S::add(plain, scaled);
                    along = S::fma(scaled, x, along);
                    let (gamma, beta) = (dgamma.add(at), dbeta.add(at));
                    store::<S>(gamma, S::fma(dy, x, load::<S>(gamma, count)), count);
                    store::<S>(beta, S::add(dy, load::<S>(beta, count)), count);
                });
                let share = |sum: S::Vector| S::splat(-S::sum(sum) / columns as f32);
                let (plain, along) = (share(plain), share(along));
                each_vector!(columns, |at, count| {
                    let dy = load::<S>(dy.add(at), count);
                    let x = S::mul(S::sub(load::<S>(x.add(at), count), centre), unit);
                    let rest = S::fma(dy, load::<S>(gamma.add(at), count), plain);
                    let mut value = S::mul(S::fma(x, along, rest), unit);
                    if self.accumulate {
                        value = S::add(value, load::<S>(dx.add(at), count));
                    }
                    store::<S>(dx.add(at), value, count);
                });
            }
        }
    }
}

/// Writes the gradient of the rows to `dx`, or adds it there, and returns the gradients of γ and β.
pub fn backward(
    isa: Isa,
    x: &[f32],
    norm: Norm<'_>,
    dy: &[f32],
    dx: &mut [f32],
    accumulate: bool,
) -> [Vec<f32>; 2] {
    let (rows, columns) = (norm.of.mean.len(), norm.gamma.len());
    let fits = [x.len(), dy.len(), dx.len()].iter().all(|length| *length == rows * columns);
    assert!(fits, "{rows} rows of {columns}");
    norm.check();
    let block = block_rows(columns);
    let blocks = rows.div_ceil(block);
    let mut sums = buffer::take(blocks * 2 * columns);
    let (out, factors) = (Shared::new(dx), Shared::new(&mut sums));
    parallel_for(blocks, |task| {
        let first = task * block;
        // SAFETY: each task has its own rows and its own sums; the sizes were checked.
        unsafe {
            let factors = factors.slice(task * 2 * columns, 2 * columns);
            factors.fill(0.0);
            isa.run(Gradient {
                norm,
                rows: first..rows.min(first + block),
                x: x.as_ptr().add(first * columns),
                dy: dy.as_ptr().add(first * columns),
                dx: out.at(first * columns),
                accumulate,
                factors,
            });
        }
    });
    sums_of_blocks(&sums, columns)
}

/// Adds the sums of the blocks, in order: lines of `2 · columns` floats.
pub fn sums_of_blocks(sums: &[f32], columns: usize) -> [Vec<f32>; 2] {
    let mut totals = vec![0.0f64; 2 * columns];
    for line in sums.chunks_exact((2 * columns).max(1)) {
        totals.iter_mut().zip(line).for_each(|(total, sum)| *total += f64::from(*sum));
    }
    let single = |totals: &[f64]| totals.iter().map(|total| *total as f32).collect();
    [single(&totals[..columns]), single(&totals[columns..])]
}
