//! The gradients of batch normalisation with the batch's own statistics.
//!
//! With `g` the gradient behind the ReLU, `n` rows and `σ̂² = σ² + ε`, per channel:
//! `dx = γ/σ̂ · (g − Σg / n − (x − μ) / σ̂² · Σ g (x − μ) / n)`, `dγ = Σ g (x − μ) / σ̂`, `dβ = Σg`.
//! Sums run over blocks in `f32` and over the blocks in `f64`, as in [`super::norm`].

use super::buffer::{self, Buffer};
use super::norm::{block_rows, each_row, load, store};
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};

/// The results of the backward pass.
pub struct Gradients {
    /// The gradient with respect to `x`.
    pub x: Buffer,
    /// The gradient with respect to γ.
    pub gamma: Vec<f32>,
    /// The gradient with respect to β.
    pub beta: Vec<f32>,
    /// The gradient behind the ReLU, if it was asked for.
    pub residual: Option<Buffer>,
}

/// The arguments of the backward pass; `x`, `dy` and `y` are `[rows, channels]`.
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    /// The input of the forward pass.
    pub x: &'a [f32],
    /// The gradient of the output.
    pub dy: &'a [f32],
    /// The output, if it went through a ReLU: its zeros stop the gradient.
    pub y: Option<&'a [f32]>,
    /// The scale γ.
    pub gamma: &'a [f32],
    /// The batch's mean.
    pub mean: &'a [f32],
    /// The batch's biased variance.
    pub variance: &'a [f32],
    /// The ε of the forward pass.
    pub eps: f64,
    /// Whether the gradient behind the ReLU is wanted.
    pub residual: bool,
}

/// Returns `Σ g` and `Σ g (x − mean)` of each channel, over the given rows.
///
/// # Panics
///
/// If the sizes of the slices do not fit each other.
pub fn sums(isa: Isa, given: &Backward<'_>) -> [Vec<f64>; 2] {
    given.check();
    let channels = given.mean.len();
    let rows = given.x.len() / channels;
    let block = block_rows(channels);
    let blocks = rows.div_ceil(block);
    let mut partial = buffer::take(blocks * 2 * channels);
    let out = Shared::new(&mut partial);
    parallel_for(blocks, |index| {
        let first = index * block * channels;
        let size = block.min(rows - index * block) * channels;
        // SAFETY: each task has its own two lines.
        unsafe {
            isa.run(BlockGradients {
                given: given.rows(first, size),
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

/// Returns the gradients, from the [`sums`] over the rows of this process, the sums over all rows of the
/// batch, and the number of all rows. For γ and β, they are the share of this process's rows.
///
/// # Panics
///
/// If the sizes of the slices do not fit each other.
pub fn backward(
    isa: Isa,
    given: &Backward<'_>,
    [beta, moment]: &[Vec<f64>; 2],
    [joint_beta, joint_moment]: &[Vec<f64>; 2],
    count: f64,
) -> Gradients {
    given.check();
    let channels = given.mean.len();
    let rows = given.x.len() / channels;
    let inverse = |c: usize| 1.0 / (f64::from(given.variance[c]) + given.eps).sqrt();
    // dx = scale · g + slope · (x − mean) + offset
    let mut factors = vec![0.0f32; 3 * channels];
    for c in 0..channels {
        let scale = f64::from(given.gamma[c]) * inverse(c);
        factors[c] = scale as f32;
        factors[channels + c] = (-scale * inverse(c).powi(2) * joint_moment[c] / count) as f32;
        factors[2 * channels + c] = (-scale * joint_beta[c] / count) as f32;
    }
    let mut dx = buffer::take(given.x.len());
    let mut residual = given.residual.then(|| buffer::take(given.x.len()));
    let (out, gated) = (Shared::new(&mut dx), residual.as_mut().map(|r| Shared::new(r)));
    let block = block_rows(channels);
    parallel_for(rows.div_ceil(block), |index| {
        let first = index * block * channels;
        let size = block.min(rows - index * block) * channels;
        // SAFETY: each task has its own rows.
        unsafe {
            isa.run(ApplyGradient {
                given: given.rows(first, size),
                factors: &factors,
                dx: out.slice(first, size),
                residual: gated.map(|gated| gated.slice(first, size)),
            });
        }
    });
    let gamma = (0..channels).map(|c| (moment[c] * inverse(c)) as f32).collect();
    Gradients { x: dx, gamma, beta: beta.iter().map(|v| *v as f32).collect(), residual }
}

impl Backward<'_> {
    fn check(&self) {
        let (size, channels) = (self.x.len(), self.mean.len());
        assert!(self.gamma.len() == channels && self.variance.len() == channels, "channels");
        assert!(
            self.dy.len() == size && self.y.is_none_or(|y| y.len() == size),
            "the gradient and the output are as large as the input"
        );
    }

    fn rows(&self, first: usize, size: usize) -> Self {
        Self {
            x: &self.x[first..][..size],
            dy: &self.dy[first..][..size],
            y: self.y.map(|y| &y[first..][..size]),
            ..*self
        }
    }
}

struct BlockGradients<'a> {
    given: Backward<'a>,
    to: *mut f32,
}

impl Kernel for BlockGradients<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let channels = self.given.mean.len();
        let mut c = 0;
        // SAFETY: `c + V · LANES ≤ channels`, then `c < channels` with a partial vector.
        unsafe {
            while c + 4 * S::LANES <= channels {
                self.group::<S, 4>(c, S::LANES);
                c += 4 * S::LANES;
            }
            while c + 2 * S::LANES <= channels {
                self.group::<S, 2>(c, S::LANES);
                c += 2 * S::LANES;
            }
            while c < channels {
                self.group::<S, 1>(c, S::LANES.min(channels - c));
                c += S::LANES;
            }
        }
    }
}

impl BlockGradients<'_> {
    #[inline(always)]
    unsafe fn group<S: Simd, const V: usize>(&self, c: usize, count: usize) {
        let (given, channels) = (&self.given, self.given.mean.len());
        let to = self.to;
        let y = given.y.map(<[f32]>::as_ptr);
        // SAFETY: the caller's bounds; `to` has a line of channels for each sum.
        unsafe {
            let mut means = [S::splat(0.0); V];
            for (v, mean) in means.iter_mut().enumerate() {
                *mean = load::<S>(given.mean.as_ptr().add(c + v * S::LANES), count);
            }
            let (mut sums, mut moments) = ([S::splat(0.0); V], [S::splat(0.0); V]);
            each_row!(given.x.len() / channels, channels, c, |at| {
                for v in 0..V {
                    let at = at + v * S::LANES;
                    let mut g = load::<S>(given.dy.as_ptr().add(at), count);
                    if let Some(y) = y {
                        g = S::where_positive(load::<S>(y.add(at), count), g);
                    }
                    let x = load::<S>(given.x.as_ptr().add(at), count);
                    sums[v] = S::add(sums[v], g);
                    moments[v] = S::fma(g, S::sub(x, means[v]), moments[v]);
                }
            });
            for v in 0..V {
                store::<S>(to.add(c + v * S::LANES), sums[v], count);
                store::<S>(to.add(channels + c + v * S::LANES), moments[v], count);
            }
        }
    }
}

struct ApplyGradient<'a> {
    given: Backward<'a>,
    factors: &'a [f32],
    dx: &'a mut [f32],
    residual: Option<&'a mut [f32]>,
}

impl Kernel for ApplyGradient<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let (given, channels) = (self.given, self.given.mean.len());
        let y = given.y.map(<[f32]>::as_ptr);
        let residual = self.residual.as_mut().map(|residual| residual.as_mut_ptr());
        let factors = self.factors.as_ptr();
        for row in 0..given.x.len() / channels {
            for c in (0..channels).step_by(S::LANES) {
                let (at, count) = (row * channels + c, S::LANES.min(channels - c));
                // SAFETY: `at + count` is at most the length of each slice of rows, `c + count`
                // that of each line of channels.
                unsafe {
                    let mut g = load::<S>(given.dy.as_ptr().add(at), count);
                    if let Some(y) = y {
                        g = S::where_positive(load::<S>(y.add(at), count), g);
                    }
                    if let Some(residual) = residual {
                        store::<S>(residual.add(at), g, count);
                    }
                    let x = load::<S>(given.x.as_ptr().add(at), count);
                    let centred = S::sub(x, load::<S>(given.mean.as_ptr().add(c), count));
                    let scale = load::<S>(factors.add(c), count);
                    let slope = load::<S>(factors.add(channels + c), count);
                    let offset = load::<S>(factors.add(2 * channels + c), count);
                    let dx = S::fma(scale, g, S::fma(slope, centred, offset));
                    store::<S>(self.dx.as_mut_ptr().add(at), dx, count);
                }
            }
        }
    }
}
