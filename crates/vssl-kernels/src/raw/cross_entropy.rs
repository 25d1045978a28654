//! Softmax and cross entropy of logits that lie class after class, `[classes, rows]`, as a product `W · Xᵀ`
//! leaves them: `loss = −ln p(label)`, `residual = p − one-hot(label)` with `p = softmax(logits)`.
//!
//! A task has [`COLUMNS`] rows and all of their classes, so a sum over the classes is always taken in the same
//! order. Exponentials are computed in single precision, sums over classes and rows in double precision.

use std::sync::atomic::{AtomicU64, Ordering};

use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};

/// The rows of a task: four vectors of the widest instruction set.
const COLUMNS: usize = 64;
/// The classes whose exponentials are added in single precision before they go to the sum in double precision.
const TOGETHER: usize = 32;

/// Sums over the rows of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// The sum of the cross entropies.
    pub loss: f64,
    /// The sum of `Σ p·(1 − p)` over the classes: 0 where the softmax is certain.
    pub spread: f64,
}

/// Replaces the logits of `labels.len()` rows by their residuals, and returns the sums over the rows. A logit
/// that is not a number makes the loss of its row not a number.
///
/// # Panics
///
/// If the logits are not `[classes, rows]`, or a label is no class.
pub fn residuals(isa: Isa, logits: &mut [f32], labels: &[u32]) -> Sums {
    let rows = labels.len();
    if rows == 0 {
        return Sums::default();
    }
    let classes = logits.len() / rows;
    assert_eq!(classes * rows, logits.len(), "residuals: one logit for each class and row");
    assert!(
        labels.iter().all(|&label| (label as usize) < classes),
        "residuals: labels are classes"
    );
    let tasks = rows.div_ceil(COLUMNS);
    let sums: Vec<[AtomicU64; 2]> = (0..tasks).map(|_| Default::default()).collect();
    let out = Shared::new(logits);
    parallel_for(tasks, |task| {
        let first = task * COLUMNS;
        let labels = &labels[first..rows.min(first + COLUMNS)];
        // SAFETY: each task has its own columns, which are inside the matrix by the checks above.
        let found =
            unsafe { isa.run(Columns { logits: out.at(first), classes, stride: rows, labels }) };
        for (sum, found) in sums[task].iter().zip(found) {
            sum.store(found.to_bits(), Ordering::Relaxed);
        }
    });
    let of = |[loss, spread]: &[AtomicU64; 2]| {
        [loss, spread].map(|sum| f64::from_bits(sum.load(Ordering::Relaxed)))
    };
    sums.iter().map(of).fold(Sums::default(), |sum, [loss, spread]| Sums {
        loss: sum.loss + loss,
        spread: sum.spread + spread,
    })
}

/// The columns of a task: `labels.len()` of them, at most [`COLUMNS`].
struct Columns<'a> {
    logits: *mut f32,
    classes: usize,
    stride: usize,
    labels: &'a [u32],
}

impl Kernel for Columns<'_> {
    type Output = [f64; 2];
    /// Bounds: `classes` rows of `labels.len()` floats, `stride` apart, from `logits` on.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> [f64; 2] {
        let count = self.labels.len();
        let mut largest = [f32::NEG_INFINITY; COLUMNS];
        for class in 0..self.classes {
            // SAFETY: handed on to the caller.
            let row = unsafe { self.row(class) };
            for (largest, x) in largest.iter_mut().zip(row) {
                *largest = if x > *largest { x } else { *largest };
            }
        }
        let mut own = [0.0_f64; COLUMNS];
        for (column, &label) in self.labels.iter().enumerate() {
            // SAFETY: a label is a class.
            let logit = unsafe { *self.logits.add(label as usize * self.stride + column) };
            own[column] = f64::from(logit) - f64::from(largest[column]);
        }
        // SAFETY: handed on to the caller.
        let totals = unsafe {
            self.pass(|row| {
                for (x, largest) in row.iter_mut().zip(largest) {
                    *x = exp(*x - largest);
                }
                *row
            })
        };
        let inverse = totals.map(|total| (1.0 / total) as f32);
        // SAFETY: as above.
        let squares = unsafe {
            self.pass(|row| {
                for (p, inverse) in row.iter_mut().zip(inverse) {
                    *p *= inverse;
                }
                row.map(|p| p * p)
            })
        };
        let mut sums = [0.0; 2];
        for (column, &label) in self.labels.iter().enumerate().take(count) {
            // SAFETY: a label is a class.
            unsafe { *self.logits.add(label as usize * self.stride + column) -= 1.0 };
            sums[0] += totals[column].ln() - own[column];
            sums[1] += 1.0 - squares[column];
        }
        sums
    }
}

impl Columns<'_> {
    /// One class; columns behind the last are zero.
    ///
    /// # Safety
    ///
    /// As [`Kernel::run`]; `class` must be below `classes`.
    #[inline(always)]
    unsafe fn row(&self, class: usize) -> [f32; COLUMNS] {
        // SAFETY: the caller's bounds.
        let row = unsafe {
            std::slice::from_raw_parts(self.logits.add(class * self.stride), self.labels.len())
        };
        match row.first_chunk() {
            Some(row) => *row,
            None => {
                let mut padded = [0.0; COLUMNS];
                padded[..row.len()].copy_from_slice(row);
                padded
            }
        }
    }

    /// Replaces every class by what `change` makes of it, and adds up over the classes what it returns.
    ///
    /// # Safety
    ///
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn pass(
        &self,
        change: impl Fn(&mut [f32; COLUMNS]) -> [f32; COLUMNS],
    ) -> [f64; COLUMNS] {
        let mut totals = [0.0_f64; COLUMNS];
        let mut start = 0;
        while start < self.classes {
            let end = self.classes.min(start + TOGETHER);
            let mut part = [0.0_f32; COLUMNS];
            for class in start..end {
                // SAFETY: the caller's bounds; `class` is one of the classes.
                let mut row = unsafe { self.row(class) };
                let term = change(&mut row);
                for (part, term) in part.iter_mut().zip(term) {
                    *part += term;
                }
                // SAFETY: as above.
                let out = unsafe {
                    std::slice::from_raw_parts_mut(
                        self.logits.add(class * self.stride),
                        self.labels.len(),
                    )
                };
                match out.first_chunk_mut() {
                    Some(out) => *out = row,
                    None => out.copy_from_slice(&row[..out.len()]),
                }
            }
            for (total, part) in totals.iter_mut().zip(part) {
                *total += f64::from(part);
            }
            start = end;
        }
        totals
    }
}

/// `eˣ` for x ≤ 0 within 2·10⁻⁷ (the polynomial of Cephes' `expf`); below −87, where it vanishes beside 1,
/// `e⁻⁸⁷`. Plain arithmetic, so that the compiler computes a vector of them.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// 1.5 · 2²³: what is added to it is rounded to a whole number, which then stands in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const TERMS: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    // Not `max`: a number that is none has to stay so.
    let x = if x < -87.0 { -87.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let whole = rounded - ROUNDER;
    let rest = x - whole * LN_2[0] - whole * LN_2[1];
    let mut sum = TERMS[0];
    for term in &TERMS[1..] {
        sum = sum * rest + term;
    }
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    (sum * rest * rest + rest + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_those_of_the_definition() {
        for step in 0..=8800 {
            let x = -step as f32 / 100.0;
            let expected = f64::from(x.max(-87.0)).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2e-7, "exp({x}) is {}, expected {expected}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn residuals_are_the_definition_for_every_shape() {
        let shapes =
            [(1, 1), (3, 1), (2, 64), (7, 65), (33, 127), (1000, 70), (31, 200), (97, 128)];
        for (classes, rows) in shapes {
            let number = |i: usize| ((i * 7919 + 13) % 2003) as f32 / 100.0 - 10.0;
            let logits: Vec<f32> = (0..classes * rows).map(number).collect();
            let labels: Vec<u32> = (0..rows).map(|row| (row * 5 % classes) as u32).collect();
            let mut sums = Sums::default();
            let mut expected = vec![0.0_f64; logits.len()];
            for (row, &label) in labels.iter().enumerate() {
                let logit = |class: usize| f64::from(logits[class * rows + row]);
                let total: f64 = (0..classes).map(|class| logit(class).exp()).sum();
                sums.loss += total.ln() - logit(label as usize);
                for class in 0..classes {
                    let p = logit(class).exp() / total;
                    sums.spread += p * (1.0 - p);
                    let target = f64::from(u8::from(class == label as usize));
                    expected[class * rows + row] = p - target;
                }
            }
            for isa in Isa::all_available() {
                let what = format!("{isa:?} {classes}x{rows}");
                let mut got = logits.clone();
                let found = residuals(isa, &mut got, &labels);
                for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let error = (f64::from(*got) - expected).abs();
                    assert!(error < 1e-6, "{what}: {got} at {at}, expected {expected}");
                }
                let near = |got: f64, expected: f64| (got - expected).abs() <= 1e-6 * rows as f64;
                assert!(near(found.loss, sums.loss), "{what}: {found:?}, expected {sums:?}");
                assert!(near(found.spread, sums.spread), "{what}: {found:?}, expected {sums:?}");
            }
        }
        assert_eq!(residuals(Isa::Portable, &mut [], &[]), Sums::default());
    }

    #[test]
    fn a_logit_that_is_no_number_shows_in_the_loss() {
        for isa in Isa::all_available() {
            for at in 0..6 {
                let mut logits = [0.5; 6];
                logits[at] = f32::NAN;
                assert!(residuals(isa, &mut logits, &[0, 1]).loss.is_nan(), "{isa:?}, {at}");
            }
        }
    }
}
