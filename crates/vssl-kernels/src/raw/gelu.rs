//! Exact GELU, `x · Φ(x)` (Hendrycks and Gimpel 2016, arXiv:1606.08415), and its derivative
//! `Φ(x) + x · φ(x)`.

use super::norm::{load, store};
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};
use super::transcendental::{each_vector, normal};

/// The number of floats of a task.
const BLOCK: usize = 1 << 14;
/// 1/√(2π), the density of the standard normal distribution at 0.
const DENSITY: f32 = 0.398_942_3;

/// Returns `x · Φ(x)`.
#[inline(always)]
pub fn value<S: Simd>(x: S::Vector) -> S::Vector {
    S::mul(x, normal::<S>(x).0)
}

/// Returns the derivative at `x`.
#[inline(always)]
pub fn derivative<S: Simd>(x: S::Vector) -> S::Vector {
    let (below, density) = normal::<S>(x);
    S::fma(S::scale(DENSITY, x), density, below)
}

/// Writes the GELU of `x` to `y`.
pub fn forward(isa: Isa, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "floats of the output of a GELU");
    run(isa, x, None, y);
}

/// Writes the gradient with respect to `x`.
pub fn backward(isa: Isa, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(x.len() == dy.len() && x.len() == dx.len(), "floats of the gradients of a GELU");
    run(isa, x, Some(dy), dx);
}

fn run(isa: Isa, x: &[f32], dy: Option<&[f32]>, to: &mut [f32]) {
    let out = Shared::new(to);
    parallel_for(x.len().div_ceil(BLOCK), |task| {
        let first = task * BLOCK;
        let part = first..x.len().min(first + BLOCK);
        let dy = dy.map(|dy| &dy[part.clone()]);
        // SAFETY: each task has its own part, and the slices are equally long.
        unsafe { isa.run(Part { x: &x[part], dy, to: out.at(first) }) }
    });
}

/// The values, or with `dy` the gradient, of a part.
struct Part<'a> {
    x: &'a [f32],
    dy: Option<&'a [f32]>,
    to: *mut f32,
}

impl Kernel for Part<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let x = self.x.as_ptr();
        // SAFETY: `at + count` is at most the length of all three slices.
        unsafe {
            match self.dy {
                None => {
                    each_vector!(self.x.len(), |at, count| {
                        let x = load::<S>(x.add(at), count);
                        store::<S>(self.to.add(at), value::<S>(x), count);
                    });
                }
                Some(dy) => {
                    each_vector!(self.x.len(), |at, count| {
                        let slope = derivative::<S>(load::<S>(x.add(at), count));
                        let dy = load::<S>(dy.as_ptr().add(at), count);
                        store::<S>(self.to.add(at), S::mul(slope, dy), count);
                    });
                }
            }
        }
    }
}
