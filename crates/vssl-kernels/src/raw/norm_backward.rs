//! The gradients of batch normalisation with the batch's own statistics.
//!
//! With `g` the gradient behind the rectifier, `n` rows and `σ̂² = σ² + ε`, per channel:
//! `dx = γ/σ̂ · (g − Σg / n − (x − μ) / σ̂² · Σ g (x − μ) / n)`, `dγ = Σ g (x − μ) / σ̂`, `dβ = Σg`.
//! Sums run over blocks in `f32` and over the blocks in `f64`, as in [`super::norm`].

use super::buffer::{self, Buffer};
use super::norm::{block_rows, each_row, load, store};
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};

/// The results of the backward pass.
pub struct Gradients<X> {
    /// The gradient with respect to `x`, if it is not in the place of that of the output.
    pub x: X,
    /// The gradient with respect to γ.
    pub gamma: Vec<f32>,
    /// The gradient with respect to β.
    pub beta: Vec<f32>,
    /// The gradient behind the rectifier, if it was asked for.
    pub residual: Option<Buffer>,
}

/// Where it is known from whether an output was above zero, before which the rectifier let the gradient pass.
#[derive(Clone, Copy)]
pub enum Gate<'a> {
    /// There is no rectifier: the gradient passes everywhere.
    Open,
    /// The output itself, `[rows, channels]`.
    Output(&'a [f32]),
    /// The input, of which the output is `(x − mean) · scale + shift`, computed as in the forward pass.
    Input {
        /// The scale of each channel.
        scale: &'a [f32],
        /// The shift of each channel.
        shift: &'a [f32],
    },
}

/// The arguments of the backward pass; `x` and `dy` are `[rows, channels]`.
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    /// The input of the forward pass.
    pub x: &'a [f32],
    /// The gradient of the output.
    pub dy: &'a [f32],
    /// Where the gradient passes as it is.
    pub gate: Gate<'a>,
    /// The factor of the gradient where the gate is closed.
    pub slope: f32,
    /// The scale γ.
    pub gamma: &'a [f32],
    /// The batch's mean.
    pub mean: &'a [f32],
    /// The batch's biased variance.
    pub variance: &'a [f32],
    /// The ε of the forward pass.
    pub eps: f64,
    /// Whether the gradient behind the rectifier is wanted.
    pub residual: bool,
}

/// Returns `Σ g` and `Σ g (x − mean)` of each channel, over the given rows.
///
/// # Panics
///
/// If the sizes of the slices do not fit each other.
pub fn sums(isa: Isa, given: &Backward<'_>) -> [Vec<f64>; 2] {
    given.check();
    // SAFETY: `dy` is as large as the input, as was just checked.
    unsafe { all_sums(isa, given, given.dy.as_ptr(), None) }
}

/// Computes the sums; the gradient behind the rectifier is written to `gated`.
///
/// # Safety
///
/// `dy` and `gated` must be valid for as many floats as the input has; they may be the same.
unsafe fn all_sums(
    isa: Isa,
    given: &Backward<'_>,
    dy: *const f32,
    gated: Option<Shared>,
) -> [Vec<f64>; 2] {
    let channels = given.mean.len();
    let rows = given.x.len() / channels;
    let block = block_rows(channels);
    let blocks = rows.div_ceil(block);
    let mut partial = buffer::take(blocks * 2 * channels);
    let out = Shared::new(&mut partial);
    // Shared between threads as what it is, the address of floats.
    let dy = Shared::reading(dy);
    parallel_for(blocks, |index| {
        let first = index * block * channels;
        let size = block.min(rows - index * block) * channels;
        // SAFETY: each task has its own two lines, and its own rows.
        unsafe {
            isa.run(BlockGradients {
                given: Backward { dy: &[], ..*given }.rows(first, size),
                dy: dy.at(first),
                gated: gated.map(|gated| gated.at(first)),
                to: out.at(index * 2 * channels),
            });
        }
    });
    let mut sums = [vec![0.0f64; channels], vec![0.0f64; channels]];
    for lines in partial.chunks_exact(2 * channels) {
        for (sums, line) in sums.iter_mut().zip(lines.chunks_exact(channels)) {
            sums.iter_mut().zip(line).for_each(|(sum, value)| *sum += f64::from(*value));
        }
    }
    sums
}

/// Returns the same sums, and replaces `dy` by the gradient behind the rectifier: that of a residual. The `dy` of
/// `given` is not read.
///
/// # Panics
///
/// If the sizes of the slices do not fit each other.
pub fn sums_in_place(isa: Isa, given: &Backward<'_>, dy: &mut [f32]) -> [Vec<f64>; 2] {
    Backward { dy, ..*given }.check();
    let dy = Shared::new(dy);
    // SAFETY: `dy` is as large as the input; each element is read before it is written, and only then.
    unsafe { all_sums(isa, given, dy.at(0), Some(dy)) }
}

/// What the gradients are computed from, besides the images.
#[derive(Clone, Copy)]
pub struct Totals<'a> {
    /// The [`sums`] over the rows of this process.
    pub own: &'a [Vec<f64>; 2],
    /// The sums over all rows of the batch.
    pub joint: &'a [Vec<f64>; 2],
    /// The number of all rows.
    pub count: f64,
}

/// Returns the gradients. For γ and β, they are the share of this process's rows.
///
/// # Panics
///
/// If the sizes of the slices do not fit each other.
pub fn backward(isa: Isa, given: &Backward<'_>, totals: Totals<'_>) -> Gradients<Buffer> {
    given.check();
    let mut dx = buffer::take(given.x.len());
    // SAFETY: `dy` and `dx` are as large as the input, which was just checked for `dy`.
    let Gradients { gamma, beta, residual, .. } =
        unsafe { apply(isa, given, given.dy.as_ptr(), Shared::new(&mut dx), totals) };
    Gradients { x: dx, gamma, beta, residual }
}

/// Does the same in place: the gradient with respect to the input replaces that of the output, `dy`. The `dy`
/// of `given` is not read.
///
/// # Panics
///
/// If the sizes of the slices do not fit each other.
pub fn backward_in_place(
    isa: Isa,
    given: &Backward<'_>,
    dy: &mut [f32],
    totals: Totals<'_>,
) -> Gradients<()> {
    Backward { dy, ..*given }.check();
    let dy = Shared::new(dy);
    // SAFETY: `dy` is as large as the input; each element is read before it is written, and only then.
    unsafe { apply(isa, given, dy.at(0), dy, totals) }
}

/// Does the same where there is no rectifier: the gradient with respect to the input replaces the input. The `x`
/// of `given` is not read.
///
/// # Panics
///
/// If the sizes of the slices do not fit each other.
pub fn backward_over_input(
    isa: Isa,
    given: &Backward<'_>,
    x: &mut [f32],
    totals: Totals<'_>,
) -> Gradients<()> {
    Backward { x, gate: Gate::Open, ..*given }.check();
    let channels = given.mean.len();
    let (rows, factors) = (x.len() / channels, given.factors(totals));
    let block = block_rows(channels);
    let (x, dy) = (Shared::new(x), given.dy);
    parallel_for(rows.div_ceil(block), |index| {
        let first = index * block * channels;
        let size = block.min(rows - index * block) * channels;
        let (mean, factors, dy) = (given.mean, &*factors, &dy[first..][..size]);
        // SAFETY: each task has its own rows.
        unsafe { isa.run(OverInput { x: x.at(first), mean, factors, dy }) }
    });
    let (gamma, beta) = given.of_factors(totals);
    Gradients { x: (), gamma, beta, residual: None }
}

/// Computes the gradients; that of the input is written to `dx`.
///
/// # Safety
///
/// `dy` and `dx` must be valid for as many floats as the input has; they may be the same.
unsafe fn apply(
    isa: Isa,
    given: &Backward<'_>,
    dy: *const f32,
    dx: Shared,
    totals: Totals<'_>,
) -> Gradients<()> {
    let channels = given.mean.len();
    let rows = given.x.len() / channels;
    let factors = given.factors(totals);
    let mut residual = given.residual.then(|| buffer::take(given.x.len()));
    let gated = residual.as_mut().map(|residual| Shared::new(residual));
    // Shared between threads as what it is, the address of floats.
    let dy = Shared::reading(dy);
    let block = block_rows(channels);
    parallel_for(rows.div_ceil(block), |index| {
        let first = index * block * channels;
        let size = block.min(rows - index * block) * channels;
        // SAFETY: each task has its own rows.
        unsafe {
            isa.run(ApplyGradient {
                given: Backward { dy: &[], ..*given }.rows(first, size),
                factors: &factors,
                dy: dy.at(first),
                dx: dx.at(first),
                residual: gated.map(|gated| gated.at(first)),
            });
        }
    });
    let (gamma, beta) = given.of_factors(totals);
    Gradients { x: (), gamma, beta, residual }
}

impl Backward<'_> {
    fn check(&self) {
        let (size, channels) = (self.x.len(), self.mean.len());
        assert!(self.gamma.len() == channels && self.variance.len() == channels, "channels");
        assert_eq!(self.dy.len(), size, "the gradient is as large as the input");
        match self.gate {
            Gate::Open => {}
            Gate::Output(y) => assert_eq!(y.len(), size, "the output is as large as the input"),
            Gate::Input { scale, shift } => {
                assert!(scale.len() == channels && shift.len() == channels, "channels of the gate");
            }
        }
    }

    /// Returns 1/σ̂ of a channel.
    fn inverse(&self, c: usize) -> f64 {
        1.0 / (f64::from(self.variance[c]) + self.eps).sqrt()
    }

    /// Returns three lines of channels, with which `dx = scale · g + slope · (x − mean) + offset`.
    fn factors(&self, totals: Totals<'_>) -> Vec<f32> {
        let Totals { joint: [beta, moment], count, .. } = totals;
        let channels = self.mean.len();
        let mut factors = vec![0.0f32; 3 * channels];
        for c in 0..channels {
            let scale = f64::from(self.gamma[c]) * self.inverse(c);
            factors[c] = scale as f32;
            factors[channels + c] = (-scale * self.inverse(c).powi(2) * moment[c] / count) as f32;
            factors[2 * channels + c] = (-scale * beta[c] / count) as f32;
        }
        factors
    }

    /// Returns the gradients with respect to γ and β.
    fn of_factors(&self, totals: Totals<'_>) -> (Vec<f32>, Vec<f32>) {
        let [beta, moment] = totals.own;
        let gamma = moment.iter().enumerate().map(|(c, sum)| (sum * self.inverse(c)) as f32);
        (gamma.collect(), beta.iter().map(|sum| *sum as f32).collect())
    }

    fn rows(&self, first: usize, size: usize) -> Self {
        Self {
            x: &self.x[first..][..size],
            dy: if self.dy.is_empty() { &[] } else { &self.dy[first..][..size] },
            gate: match self.gate {
                Gate::Output(y) => Gate::Output(&y[first..][..size]),
                gate => gate,
            },
            ..*self
        }
    }

    /// Returns the gradient behind the rectifier of `count` channels from `c` on, at the place `at` of a row,
    /// and `x − mean` there. The kind of gate is a constant of the loop: 0 for an open gate, 1 for the output,
    /// 2 for the input.
    #[inline(always)]
    unsafe fn gated<S: Simd, const GATE: u8>(
        &self,
        dy: *const f32,
        at: usize,
        c: usize,
        count: usize,
        mean: S::Vector,
    ) -> (S::Vector, S::Vector) {
        // SAFETY: the caller's bounds: `at + count` floats of the rows and of `dy`, `c + count` channels.
        unsafe {
            let g = load::<S>(dy.add(at), count);
            let centred = S::sub(load::<S>(self.x.as_ptr().add(at), count), mean);
            let y = match self.gate {
                Gate::Output(y) if GATE == 1 => load::<S>(y.as_ptr().add(at), count),
                Gate::Input { scale, shift } if GATE == 2 => {
                    let scale = load::<S>(scale.as_ptr().add(c), count);
                    S::fma(centred, scale, load::<S>(shift.as_ptr().add(c), count))
                }
                _ => return (g, centred),
            };
            let passing = S::where_positive(y, g);
            if self.slope == 0.0 {
                return (passing, centred);
            }
            // One of the two parts is zero.
            (S::scale_add(self.slope, S::sub(g, passing), passing), centred)
        }
    }
}

/// Bounds: `dy` and `gated` are valid for as many floats as the input has; they may be the same.
struct BlockGradients<'a> {
    given: Backward<'a>,
    dy: *const f32,
    /// Where the gradient behind the rectifier goes.
    gated: Option<*mut f32>,
    to: *mut f32,
}

impl Kernel for BlockGradients<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: handed on to the caller.
        unsafe {
            match self.given.gate {
                Gate::Open => self.channels::<S, 0>(),
                Gate::Output(_) => self.channels::<S, 1>(),
                Gate::Input { .. } => self.channels::<S, 2>(),
            }
        }
    }
}

impl BlockGradients<'_> {
    #[inline(always)]
    unsafe fn channels<S: Simd, const GATE: u8>(&self) {
        let channels = self.given.mean.len();
        let mut c = 0;
        // SAFETY: `c + V · LANES ≤ channels`, then `c < channels` with a partial vector.
        unsafe {
            while c + 4 * S::LANES <= channels {
                self.group::<S, GATE, 4>(c, S::LANES);
                c += 4 * S::LANES;
            }
            while c + 2 * S::LANES <= channels {
                self.group::<S, GATE, 2>(c, S::LANES);
                c += 2 * S::LANES;
            }
            while c < channels {
                self.group::<S, GATE, 1>(c, S::LANES.min(channels - c));
                c += S::LANES;
            }
        }
    }

    #[inline(always)]
    unsafe fn group<S: Simd, const GATE: u8, const V: usize>(&self, c: usize, count: usize) {
        let (given, channels) = (&self.given, self.given.mean.len());
        let (to, dy) = (self.to, self.dy);
        // SAFETY: the caller's bounds; `to` has a line of channels for each sum.
        unsafe {
            let mut means = [S::splat(0.0); V];
            for (v, mean) in means.iter_mut().enumerate() {
                *mean = load::<S>(given.mean.as_ptr().add(c + v * S::LANES), count);
            }
            let (mut sums, mut moments) = ([S::splat(0.0); V], [S::splat(0.0); V]);
            each_row!(given.x.len() / channels, channels, c, |at| {
                for v in 0..V {
                    let (at, c) = (at + v * S::LANES, c + v * S::LANES);
                    let (g, centred) = given.gated::<S, GATE>(dy, at, c, count, means[v]);
                    if let Some(gated) = self.gated {
                        store::<S>(gated.add(at), g, count);
                    }
                    sums[v] = S::add(sums[v], g);
                    moments[v] = S::fma(g, centred, moments[v]);
                }
            });
            for v in 0..V {
                store::<S>(to.add(c + v * S::LANES), sums[v], count);
                store::<S>(to.add(channels + c + v * S::LANES), moments[v], count);
            }
        }
    }
}

/// Bounds: `dy`, `dx` and `residual` are valid for as many floats as the input has; `dy` and `dx` may be the
/// same.
struct ApplyGradient<'a> {
    given: Backward<'a>,
    factors: &'a [f32],
    dy: *const f32,
    dx: *mut f32,
    residual: Option<*mut f32>,
}

impl Kernel for ApplyGradient<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: handed on to the caller.
        unsafe {
            match self.given.gate {
                Gate::Open => self.rows::<S, 0>(),
                Gate::Output(_) => self.rows::<S, 1>(),
                Gate::Input { .. } => self.rows::<S, 2>(),
            }
        }
    }
}

impl ApplyGradient<'_> {
    #[inline(always)]
    unsafe fn rows<S: Simd, const GATE: u8>(self) {
        let (given, channels) = (self.given, self.given.mean.len());
        let factors = self.factors.as_ptr();
        for row in 0..given.x.len() / channels {
            for c in (0..channels).step_by(S::LANES) {
                let (at, count) = (row * channels + c, S::LANES.min(channels - c));
                // SAFETY: `at + count` is at most the length of each slice of rows, `c + count`
                // that of each line of channels.
                unsafe {
                    let mean = load::<S>(given.mean.as_ptr().add(c), count);
                    let (g, centred) = given.gated::<S, GATE>(self.dy, at, c, count, mean);
                    if let Some(residual) = self.residual {
                        store::<S>(residual.add(at), g, count);
                    }
                    let scale = load::<S>(factors.add(c), count);
                    let slope = load::<S>(factors.add(channels + c), count);
                    let offset = load::<S>(factors.add(2 * channels + c), count);
                    let dx = S::fma(scale, g, S::fma(slope, centred, offset));
                    store::<S>(self.dx.add(at), dx, count);
                }
            }
        }
    }
}

/// Bounds: `x` is valid for as many floats as `dy` has, whole rows of as many channels as the means.
struct OverInput<'a> {
    x: *mut f32,
    mean: &'a [f32],
    factors: &'a [f32],
    dy: &'a [f32],
}

impl Kernel for OverInput<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (channels, factors) = (self.mean.len(), self.factors.as_ptr());
        for row in 0..self.dy.len() / channels {
            for c in (0..channels).step_by(S::LANES) {
                let (at, count) = (row * channels + c, S::LANES.min(channels - c));
                // SAFETY: `at + count` is at most the length of the rows, `c + count` that of each line of channels.
                unsafe {
                    let x = self.x.add(at);
                    let mean = load::<S>(self.mean.as_ptr().add(c), count);
                    let centred = S::sub(load::<S>(x, count), mean);
                    let scale = load::<S>(factors.add(c), count);
                    let slope = load::<S>(factors.add(channels + c), count);
                    let offset = load::<S>(factors.add(2 * channels + c), count);
                    let g = load::<S>(self.dy.as_ptr().add(at), count);
                    let dx = S::fma(scale, g, S::fma(slope, centred, offset));
                    store::<S>(x, dx, count);
                }
            }
        }
    }
}
