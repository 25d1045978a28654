//! Softmax along rows, and losses that are made of it: `log Σⱼ e^(s·xⱼ)` and the cross entropy with a given
//! distribution. The logits are multiplied by `s`, the reciprocal of a temperature, as they are read.
//!
//! The logarithm is kept as two numbers, the largest logit and the rest: their sum alone would lose the last
//! digits of the shares where the logits are large. No row is shared by two tasks, so its sum is taken in the
//! same order for any number of threads: in single precision over a run of columns, and in double precision
//! over the runs.

use super::norm::{load, store};
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};
use super::transcendental::{each_vector, exp, first_lanes};

/// The number of columns whose exponentials are added in single precision.
const RUN: usize = 2048;
/// The least number of elements of a task.
const TASK: usize = 1 << 14;

/// A matrix of logits, row after row, that are to be multiplied by `scale`.
#[derive(Clone, Copy)]
pub struct Logits<'a> {
    /// The logits, `[rows, columns]`.
    pub values: &'a [f32],
    /// The number of columns, at least 1.
    pub columns: usize,
    /// The factor of all logits.
    pub scale: f32,
}

impl<'a> Logits<'a> {
    fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.columns..][..self.columns]
    }

    fn rows_of_task(&self) -> usize {
        TASK.div_ceil(self.columns)
    }

    /// Runs `work` for each row, on all threads.
    fn each_row(&self, work: impl Fn(usize) + Sync) {
        let (rows, together) = (self.rows(), self.rows_of_task());
        parallel_for(rows.div_ceil(together), |task| {
            (task * together..rows.min((task + 1) * together)).for_each(&work);
        });
    }
}

/// Writes the two numbers whose sum is `log Σⱼ e^(s·xⱼ)` of each row, `[rows, 2]`.
///
/// # Panics
///
/// If there are not two places for each row.
pub fn log_sum_exp(isa: Isa, x: Logits<'_>, out: &mut [f32]) {
    assert_eq!(out.len(), 2 * x.rows(), "log_sum_exp: two numbers for each row");
    let out = Shared::new(out);
    x.each_row(|row| {
        // SAFETY: each row is one task's, and its places are inside `out`.
        unsafe {
            let sum = isa.run(LogSum { x: x.row(row), scale: x.scale });
            out.slice(2 * row, 2).copy_from_slice(&sum);
        }
    });
}

/// Writes the softmax of each row, `e^(s·xⱼ) / Σ e^(s·x)`.
///
/// # Panics
///
/// If the sizes differ.
pub fn softmax(isa: Isa, x: Logits<'_>, out: &mut [f32]) {
    assert_eq!(out.len(), x.values.len(), "softmax: equal sizes");
    let out = Shared::new(out);
    x.each_row(|row| {
        let (values, scale) = (x.row(row), x.scale);
        // SAFETY: each row is one task's, and as long in `out` as in `x`.
        unsafe {
            let sum = isa.run(LogSum { x: values, scale });
            let (y, none) = (out.at(row * x.columns), None);
            isa.run(Residual { x: values, scale, sum, factor: 1.0, mass: 1.0, target: none, y });
        }
    });
}

/// Writes `Σⱼ tⱼ·(log Σ e^(s·x) − s·xⱼ)` of each row, the cross entropy with the targets `t`; and for the
/// gradient the result of [`log_sum_exp`] and `Σⱼ tⱼ` of each row.
///
/// # Panics
///
/// If the sizes do not fit each other.
pub fn cross_entropy(
    isa: Isa,
    x: Logits<'_>,
    targets: &[f32],
    out: &mut [f32],
    sums: &mut [f32],
    masses: &mut [f32],
) {
    let rows = x.rows();
    assert_eq!(targets.len(), x.values.len(), "cross_entropy: one target for each logit");
    let fits = out.len() == rows && sums.len() == 2 * rows && masses.len() == rows;
    assert!(fits, "cross_entropy: places for each row");
    let (out, sums, masses) = (Shared::new(out), Shared::new(sums), Shared::new(masses));
    x.each_row(|row| {
        let (values, scale) = (x.row(row), x.scale);
        let target = &targets[row * x.columns..][..x.columns];
        // SAFETY: each row is one task's, and its places are inside the slices.
        unsafe {
            let sum = isa.run(LogSum { x: values, scale });
            let [mass, dot] = isa.run(Weighted { x: values, target });
            let logarithm: f64 = sum.into_iter().map(f64::from).sum();
            *out.at(row) = (mass * logarithm - f64::from(scale) * dot) as f32;
            sums.slice(2 * row, 2).copy_from_slice(&sum);
            *masses.at(row) = mass as f32;
        }
    });
}

/// Writes the gradient of the logarithm, `dy·s·softmax(x)`, or with targets that of [`cross_entropy`],
/// `dy·s·(mass·softmax(x) − t)`.
///
/// # Panics
///
/// If the sizes do not fit each other.
pub fn gradient(
    isa: Isa,
    x: Logits<'_>,
    sums: &[f32],
    targets: Option<(&[f32], &[f32])>,
    dy: &[f32],
    dx: &mut [f32],
) {
    let rows = x.rows();
    assert!(sums.len() == 2 * rows && dy.len() == rows, "softmax gradient: rows");
    assert_eq!(dx.len(), x.values.len(), "softmax gradient: equal sizes");
    if let Some((targets, masses)) = targets {
        assert!(targets.len() == dx.len() && masses.len() == rows, "softmax gradient: targets");
    }
    let dx = Shared::new(dx);
    x.each_row(|row| {
        let target = targets.map(|(targets, _)| &targets[row * x.columns..][..x.columns]);
        let mass = targets.map_or(1.0, |(_, masses)| masses[row]);
        // SAFETY: each row is one task's, and as long in `dx` as in `x`.
        unsafe {
            isa.run(Residual {
                x: x.row(row),
                scale: x.scale,
                sum: [sums[2 * row], sums[2 * row + 1]],
                factor: dy[row] * x.scale,
                mass,
                target,
                y: dx.at(row * x.columns),
            });
        }
    });
}

/// The largest scaled logit of one row, and the logarithm of the sum of exponentials less it. NaN stays NaN.
struct LogSum<'a> {
    x: &'a [f32],
    scale: f32,
}

impl Kernel for LogSum<'_> {
    type Output = [f32; 2];
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> [f32; 2] {
        let x = self.x.as_ptr();
        // SAFETY: the vectors are inside the row.
        unsafe {
            // Of two numbers one of which is NaN `max` returns the second: the scan keeps what it has, and a NaN
            // comes through in the sum below.
            let mut largest = S::splat(f32::NEG_INFINITY);
            let scale = S::splat(self.scale);
            let whole = self.x.len() - self.x.len() % S::LANES;
            for at in (0..whole).step_by(S::LANES) {
                largest = S::max(S::mul(scale, S::load(x.add(at))), largest);
            }
            let mut lanes = [f32::NEG_INFINITY; 16];
            S::store(lanes.as_mut_ptr(), largest);
            let rest = self.x[whole..].iter().map(|x| x * self.scale);
            let largest = lanes.into_iter().chain(rest).fold(f32::NEG_INFINITY, f32::max);
            if largest == f32::INFINITY {
                return [largest, if self.x.iter().any(|x| x.is_nan()) { f32::NAN } else { 0.0 }];
            }
            let mut sum = 0.0_f64;
            for first in (0..self.x.len()).step_by(RUN) {
                let mut run = S::splat(0.0);
                let top = S::splat(largest);
                each_vector!(RUN.min(self.x.len() - first), |at, count| {
                    // Both are rounded alike, so that the largest logit is exactly 0 here.
                    let scaled = S::mul(scale, load::<S>(x.add(first + at), count));
                    let value = exp::<S>(S::sub(scaled, top));
                    run = S::add(run, first_lanes::<S>(value, count));
                });
                sum += f64::from(S::sum(run));
            }
            [largest, sum.ln() as f32]
        }
    }
}

/// The sum of the targets of one row, and that of their products with the logits.
struct Weighted<'a> {
    x: &'a [f32],
    target: &'a [f32],
}

impl Kernel for Weighted<'_> {
    type Output = [f64; 2];
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> [f64; 2] {
        let (x, target) = (self.x.as_ptr(), self.target.as_ptr());
        let mut sums = [0.0_f64; 2];
        // SAFETY: the vectors are inside the rows; partial loads end with zeros.
        unsafe {
            for first in (0..self.x.len()).step_by(RUN) {
                let (mut mass, mut dot) = (S::splat(0.0), S::splat(0.0));
                each_vector!(RUN.min(self.x.len() - first), |at, count| {
                    let t = load::<S>(target.add(first + at), count);
                    mass = S::add(mass, t);
                    dot = S::fma(t, load::<S>(x.add(first + at), count), dot);
                });
                sums[0] += f64::from(S::sum(mass));
                sums[1] += f64::from(S::sum(dot));
            }
        }
        sums
    }
}

/// Writes `factor·(mass·e^(s·x − sum) − target)` of one row, where `sum` is that of two numbers.
struct Residual<'a> {
    x: &'a [f32],
    scale: f32,
    sum: [f32; 2],
    factor: f32,
    mass: f32,
    target: Option<&'a [f32]>,
    y: *mut f32,
}

impl Kernel for Residual<'_> {
    type Output = ();
    /// Bounds: `y` has as many places as `x`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (x, y) = (self.x.as_ptr(), self.y);
        // SAFETY: the vectors are inside the rows.
        unsafe {
            let (scale, largest) = (S::splat(self.scale), S::splat(self.sum[0]));
            let rest = S::splat(self.sum[1]);
            let (factor, mass) = (S::splat(self.factor), S::splat(self.factor * self.mass));
            each_vector!(self.x.len(), |at, count| {
                let below = S::sub(S::mul(scale, load::<S>(x.add(at), count)), largest);
                let p = exp::<S>(S::sub(below, rest));
                let mut value = S::mul(mass, p);
                if let Some(target) = self.target {
                    let t = load::<S>(target.as_ptr().add(at), count);
                    value = S::sub(value, S::mul(factor, t));
                }
                store::<S>(y.add(at), value, count);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, size: f32) -> Vec<f32> {
        (0..count).map(|i| (((i * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0) * size).collect()
    }

    fn close(got: f32, expected: f64, what: &str) {
        let error = (f64::from(got) - expected).abs();
        assert!(error <= 3e-6 * expected.abs().max(1.0), "{what}: {got}, expected {expected}");
    }

    #[test]
    fn all_operations_are_their_definitions_for_every_shape_and_instruction_set() {
        for (rows, columns) in [(1, 1), (3, 2), (2, 16), (5, 17), (7, 97), (2, 5000), (70, 31)] {
            for (size, scale) in [(1.0_f32, 1.0_f32), (4.0, 10.0), (0.1, 0.5)] {
                let (values, dy) = (numbers(rows * columns, size), numbers(rows, 2.0));
                let targets = numbers(rows * columns + 1, 0.5)[1..].to_vec();
                let x = Logits { values: &values, columns, scale };
                let mut exact: Vec<f64> = Vec::new();
                for row in values.chunks(columns) {
                    let sum: f64 =
                        row.iter().map(|x| (f64::from(*x) * f64::from(scale)).exp()).sum();
                    exact.push(sum.ln());
                }
                for isa in Isa::all_available() {
                    check(isa, x, &targets, &dy, &exact);
                }
            }
        }
    }

    fn check(isa: Isa, x: Logits<'_>, targets: &[f32], dy: &[f32], exact: &[f64]) {
        let (rows, columns, scale) = (x.rows(), x.columns, f64::from(x.scale));
        let mut sums = vec![0.0; 2 * rows];
        log_sum_exp(isa, x, &mut sums);
        let mut shares = vec![0.0; x.values.len()];
        softmax(isa, x, &mut shares);
        let (mut again, [mut losses, mut masses]) =
            (sums.clone(), [0.0; 2].map(|none| vec![none; rows]));
        cross_entropy(isa, x, targets, &mut losses, &mut again, &mut masses);
        assert_eq!(sums, again);
        let [mut plain, mut crossed] = [vec![0.0; shares.len()], vec![0.0; shares.len()]];
        gradient(isa, x, &sums, None, dy, &mut plain);
        gradient(isa, x, &sums, Some((targets, &masses)), dy, &mut crossed);
        for row in 0..rows {
            close(sums[2 * row] + sums[2 * row + 1], exact[row], "log_sum_exp");
            let own = row * columns..(row + 1) * columns;
            let mass: f64 = targets[own.clone()].iter().map(|t| f64::from(*t)).sum();
            let mut loss = 0.0;
            for i in own {
                let (logit, t) = (scale * f64::from(x.values[i]), f64::from(targets[i]));
                let share = (logit - exact[row]).exp();
                loss += t * (exact[row] - logit);
                close(shares[i], share, "softmax");
                let factor = f64::from(dy[row]) * scale;
                close(plain[i], factor * share, "gradient of log_sum_exp");
                let error = f64::from(crossed[i]) - factor * (mass * share - t);
                let largest = factor.abs() * (mass.abs() * share + t.abs());
                assert!(
                    error.abs() <= 1e-6 * largest.max(1.0),
                    "gradient of cross_entropy: {error}"
                );
            }
            let error = (f64::from(losses[row]) - loss).abs();
            assert!(
                error <= 1e-5 * (1.0 + exact[row].abs() * columns as f64),
                "{} {loss}",
                losses[row]
            );
        }
    }

    #[test]
    fn extreme_logits_stay_what_they_are() {
        for isa in Isa::all_available() {
            let of = |values: &[f32], scale: f32| {
                let mut sum = [0.0; 2];
                log_sum_exp(isa, Logits { values, columns: values.len(), scale }, &mut sum);
                sum[0] + sum[1]
            };
            assert_eq!(of(&[3e38, -3e38], 1.0), 3e38);
            assert_eq!(of(&[0.0, f32::NEG_INFINITY, -1e30], 5.0), 0.0);
            assert_eq!(of(&[f32::INFINITY, 1.0], 1.0), f32::INFINITY);
            for scale in [1.0 / 0.07, 10.0, 3.0] {
                let values = [-1e30; 40];
                let x = Logits { values: &values, columns: 40, scale };
                assert_eq!(of(&values, scale), values[0] * scale);
                let (mut sums, mut shares) = ([0.0; 2], [0.0; 40]);
                log_sum_exp(isa, x, &mut sums);
                softmax(isa, x, &mut shares);
                assert!(shares.iter().all(|share| (share - 1.0 / 40.0).abs() < 1e-7), "{shares:?}");
                gradient(isa, x, &sums, None, &[1.0], &mut shares);
                assert!(shares.iter().all(|dx| (dx / scale - 1.0 / 40.0).abs() < 1e-7));
            }
            assert!(of(&[f32::NAN, 1.0, 2.0], 1.0).is_nan());
            assert!(of(&[1.0; 40].map(|x| x * f32::NAN), 1.0).is_nan());
            assert!(of(&[1.0, f32::INFINITY, f32::NAN], 1.0).is_nan());
        }
    }
}
