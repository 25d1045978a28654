//! Batch normalisation over channels-last rows, fused with the residual sum and ReLU.
//!
//! Per channel, `y = relu(γ (x − μ) / √(σ² + ε) + β + residual)` (Ioffe and Szegedy 2015,
//! arXiv:1502.03167); the backward pass is in [`super::norm_backward`].
//!
//! Sums run in `f32` over blocks of rows of a fixed size, of values from which the mean of the block's first
//! rows is subtracted, and in `f64` over blocks: the variance stays accurate when the mean is far above it.

use super::buffer;
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};

/// The number of floats of a block: a quarter of a 512 KiB L2, because each group of channels reads its lines
/// again.
const BLOCK: usize = 1 << 15;

pub(super) fn block_rows(channels: usize) -> usize {
    (BLOCK / channels.max(1)).clamp(8, 2048)
}

/// The statistics of a batch.
pub struct Moments {
    /// The mean of each channel.
    pub mean: Vec<f32>,
    /// The biased variance of each channel.
    pub variance: Vec<f32>,
}

/// Returns the mean and biased variance of each column of `x`, `[rows, channels]`.
pub fn moments(isa: Isa, x: &[f32], channels: usize) -> Moments {
    let rows = x.len() / channels;
    let block = block_rows(channels);
    let blocks = rows.div_ceil(block);
    let mut partial = buffer::take(blocks * 3 * channels);
    let out = Shared::new(&mut partial);
    parallel_for(blocks, |index| {
        let first = index * block;
        let count = block.min(rows - first);
        // SAFETY: each task has its own three lines, and reads the rows it names.
        unsafe {
            isa.run(BlockMoments {
                x: &x[first * channels..][..count * channels],
                channels,
                to: out.at(index * 3 * channels),
            });
        }
    });
    let count = |index: usize| block.min(rows - index * block) as f64;
    let (mut mean, mut squares) = (vec![0.0f64; channels], vec![0.0f64; channels]);
    // Block by block, in order, each along its lines.
    for (index, lines) in partial.chunks_exact(3 * channels).enumerate() {
        let (near, sums) = (&lines[..channels], &lines[channels..2 * channels]);
        for ((total, near), sum) in mean.iter_mut().zip(near).zip(sums) {
            *total += count(index) * f64::from(*near) + f64::from(*sum);
        }
    }
    mean.iter_mut().for_each(|total| *total /= rows as f64);
    for (index, lines) in partial.chunks_exact(3 * channels).enumerate() {
        let (near, sums) = (&lines[..channels], &lines[channels..2 * channels]);
        let terms = near.iter().zip(sums).zip(&lines[2 * channels..]);
        for ((total, mean), ((near, sum), square)) in squares.iter_mut().zip(&mean).zip(terms) {
            let shift = f64::from(*near) - mean;
            *total += f64::from(*square) + shift * (2.0 * f64::from(*sum) + count(index) * shift);
        }
    }
    let variance = |sum: &f64| (sum / rows as f64).max(0.0) as f32;
    Moments {
        mean: mean.iter().map(|mean| *mean as f32).collect(),
        variance: squares.iter().map(variance).collect(),
    }
}

/// A loop over the rows of a block for one group of channels.
macro_rules! each_row {
    ($rows:expr, $channels:expr, $c:expr, |$at:ident| $body:block) => {
        for row in 0..$rows {
            let $at = row * $channels + $c;
            $body
        }
    };
}

pub(super) use each_row;

/// The number of rows whose mean stands for that of their block: it is near enough to keep the digits of the
/// variance. As many rows are summed on their own before they are added to the block's sum, which would
/// otherwise lose their last digits one by one. So the mean of a channel that is nearly zero is accurate as
/// well.
const RUN: usize = 32;

/// For each channel, a value near the mean, the sum of the differences from it, and the sum of their squares.
struct BlockMoments<'a> {
    x: &'a [f32],
    channels: usize,
    to: *mut f32,
}

impl Kernel for BlockMoments<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut c = 0;
        // SAFETY: `c + V · LANES ≤ channels`, then `c < channels` with a partial vector.
        unsafe {
            while c + 4 * S::LANES <= self.channels {
                self.group::<S, 4>(c, S::LANES);
                c += 4 * S::LANES;
            }
            while c + 2 * S::LANES <= self.channels {
                self.group::<S, 2>(c, S::LANES);
                c += 2 * S::LANES;
            }
            while c < self.channels {
                self.group::<S, 1>(c, S::LANES.min(self.channels - c));
                c += S::LANES;
            }
        }
    }
}

impl BlockMoments<'_> {
    #[inline(always)]
    unsafe fn group<S: Simd, const V: usize>(&self, c: usize, count: usize) {
        let (rows, x) = (self.x.len() / self.channels, self.x.as_ptr());
        let to = self.to;
        // SAFETY: the caller's bounds; `to` has a line of channels for each sum.
        unsafe {
            let mut sums = [S::splat(0.0); V];
            let first_rows = rows.min(RUN);
            each_row!(first_rows, self.channels, c, |at| {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = S::add(*sum, load::<S>(x.add(at + v * S::LANES), count));
                }
            });
            let scale = S::splat(1.0 / first_rows as f32);
            let means = sums.map(|sum| S::mul(sum, scale));
            let mut sums = [S::splat(0.0); V];
            let mut squares = [S::splat(0.0); V];
            for first in (0..rows).step_by(RUN) {
                let mut run = [S::splat(0.0); V];
                let mut run_squares = [S::splat(0.0); V];
                each_row!(RUN.min(rows - first), self.channels, first * self.channels + c, |at| {
                    for v in 0..V {
                        let centred = S::sub(load::<S>(x.add(at + v * S::LANES), count), means[v]);
                        run[v] = S::add(run[v], centred);
                        run_squares[v] = S::fma(centred, centred, run_squares[v]);
                    }
                });
                for v in 0..V {
                    sums[v] = S::add(sums[v], run[v]);
                    squares[v] = S::add(squares[v], run_squares[v]);
                }
            }
            for v in 0..V {
                for (line, values) in [means, sums, squares].into_iter().enumerate() {
                    store::<S>(to.add(line * self.channels + c + v * S::LANES), values[v], count);
                }
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn load<S: Simd>(from: *const f32, count: usize) -> S::Vector {
    // SAFETY: handed on to the caller.
    unsafe { if count == S::LANES { S::load(from) } else { S::load_partial(from, count) } }
}

#[inline(always)]
pub(super) unsafe fn store<S: Simd>(to: *mut f32, value: S::Vector, count: usize) {
    // SAFETY: handed on to the caller.
    unsafe {
        if count == S::LANES {
            S::store(to, value);
        } else {
            S::store_partial(to, value, count);
        }
    }
}

/// What happens to the negative outputs of a normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rectifier {
    /// They stay as they are.
    None,
    /// They become zero.
    Relu,
    /// They are multiplied by a slope, which must be above zero (leaky ReLU; Maas et al. 2013).
    Leaky(f32),
}

impl From<bool> for Rectifier {
    /// Returns a ReLU or nothing.
    fn from(relu: bool) -> Self {
        if relu { Self::Relu } else { Self::None }
    }
}

impl Rectifier {
    #[inline(always)]
    pub(super) fn apply<S: Simd>(self, x: S::Vector) -> S::Vector {
        match self {
            Rectifier::None => x,
            Rectifier::Relu => S::relu(x),
            Rectifier::Leaky(slope) => leaky::<S>(slope, x),
        }
    }
}

/// Writes `rectifier((x − centre) · scale + shift (+ residual))`, all `[rows, channels]`.
#[allow(clippy::too_many_arguments, reason = "the formula has this many terms")]
pub fn apply(
    isa: Isa,
    x: &[f32],
    centre: &[f32],
    scale: &[f32],
    shift: &[f32],
    residual: Option<&[f32]>,
    rectifier: impl Into<Rectifier>,
    y: &mut [f32],
) {
    let rectifier = rectifier.into();
    let channels = centre.len();
    assert!(scale.len() == channels && shift.len() == channels, "a factor for each channel");
    assert!(y.len() == x.len() && residual.is_none_or(|r| r.len() == x.len()), "equal sizes");
    let (rows, block) = (x.len() / channels, block_rows(channels));
    let out = Shared::new(y);
    parallel_for(rows.div_ceil(block), |index| {
        let first = index * block;
        let size = block.min(rows - first) * channels;
        let from = first * channels;
        // SAFETY: each task has its own rows.
        unsafe {
            isa.run(Apply {
                x: &x[from..][..size],
                centre,
                scale,
                shift,
                residual: residual.map(|residual| &residual[from..][..size]),
                rectifier,
                y: out.at(from),
            });
        }
    });
}

struct Apply<'a> {
    x: &'a [f32],
    centre: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    residual: Option<&'a [f32]>,
    rectifier: Rectifier,
    y: *mut f32,
}

impl Kernel for Apply<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the slices are as long as their shapes say.
        unsafe {
            match (self.residual, self.rectifier) {
                (None, Rectifier::None) => self.rows::<S, false>(|y| y),
                (None, Rectifier::Relu) => self.rows::<S, false>(S::relu),
                (None, Rectifier::Leaky(slope)) => self.rows::<S, false>(|y| leaky::<S>(slope, y)),
                (Some(_), Rectifier::None) => self.rows::<S, true>(|y| y),
                (Some(_), Rectifier::Relu) => self.rows::<S, true>(S::relu),
                (Some(_), Rectifier::Leaky(slope)) => {
                    self.rows::<S, true>(|y| leaky::<S>(slope, y));
                }
            }
        }
    }
}

/// Returns `y` where it is above zero, else `slope · y`.
#[inline(always)]
fn leaky<S: Simd>(slope: f32, y: S::Vector) -> S::Vector {
    // One of the two parts is zero, and an infinity has none of the other.
    S::scale_add(-slope, S::relu(S::scale(-1.0, y)), S::relu(y))
}

impl Apply<'_> {
    #[inline(always)]
    unsafe fn rows<S: Simd, const ADD: bool>(&self, rectify: impl Fn(S::Vector) -> S::Vector) {
        let channels = self.centre.len();
        let residual = self.residual.map_or(self.x.as_ptr(), <[f32]>::as_ptr);
        let y = self.y;
        for row in 0..self.x.len() / channels {
            for c in (0..channels).step_by(S::LANES) {
                let (at, count) = (row * channels + c, S::LANES.min(channels - c));
                // SAFETY: `at + count` is at most the length of `x`, as that of `y`.
                unsafe {
                    let x = load::<S>(self.x.as_ptr().add(at), count);
                    let centred = S::sub(x, load::<S>(self.centre.as_ptr().add(c), count));
                    let scale = load::<S>(self.scale.as_ptr().add(c), count);
                    let shift = load::<S>(self.shift.as_ptr().add(c), count);
                    let mut value = S::fma(centred, scale, shift);
                    if ADD {
                        value = S::add(value, load::<S>(residual.add(at), count));
                    }
                    store::<S>(y.add(at), rectify(value), count);
                }
            }
        }
    }
}
