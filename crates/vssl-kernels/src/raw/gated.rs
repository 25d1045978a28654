//! The gate of SwiGLU (Shazeer 2020, arXiv:2002.05202): `y = silu(g) · v` of the halves `g` and `v` of each row, with
//! `silu(g) = g·σ(g)` and `σ(g) = 1/(1 + e⁻ᵍ)`. Its gradients are `dv = dy·silu(g)` and
//! `dg = dy·v·σ(g)·(1 + g·(1 − σ(g)))`.

use super::norm::{load, store};
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};
use super::transcendental::{each_vector, exp};

/// The number of floats of a task.
const BLOCK: usize = 1 << 14;

/// Writes the gated values of `x`, rows of `2 · columns`, to `y`.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn forward(isa: Isa, x: &[f32], columns: usize, y: &mut [f32]) {
    assert_eq!(x.len(), 2 * y.len(), "floats of the input of a gate");
    run(isa, x, None, columns, y);
}

/// Writes the gradient with respect to `x`.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn backward(isa: Isa, x: &[f32], dy: &[f32], columns: usize, dx: &mut [f32]) {
    assert!(x.len() == 2 * dy.len() && x.len() == dx.len(), "floats of the gradients of a gate");
    run(isa, x, Some(dy), columns, dx);
}

fn run(isa: Isa, x: &[f32], dy: Option<&[f32]>, columns: usize, to: &mut [f32]) {
    if columns == 0 || x.is_empty() {
        return;
    }
    let rows = x.len() / (2 * columns);
    assert_eq!(x.len(), rows * 2 * columns, "floats of whole rows of a gate");
    let (each, width) = ((BLOCK / columns).max(1), to.len() / rows);
    let out = Shared::new(to);
    parallel_for(rows.div_ceil(each), |task| {
        let of = task * each..rows.min(task * each + each);
        let x = &x[of.start * 2 * columns..of.end * 2 * columns];
        let dy = dy.map(|dy| &dy[of.start * columns..of.end * columns]);
        // SAFETY: each task has its own rows.
        unsafe { isa.run(Rows { x, dy, columns, to: out.at(of.start * width) }) }
    });
}

/// The values, or with `dy` the gradients, of some rows.
struct Rows<'a> {
    x: &'a [f32],
    dy: Option<&'a [f32]>,
    columns: usize,
    to: *mut f32,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { x, dy, columns, to } = self;
        for (row, x) in x.chunks_exact(2 * columns).enumerate() {
            let (gates, values) = (x.as_ptr(), x[columns..].as_ptr());
            // SAFETY: `at + count` is at most the number of columns.
            unsafe {
                let one = S::splat(1.0);
                each_vector!(columns, |at, count| {
                    let (g, v) =
                        (load::<S>(gates.add(at), count), load::<S>(values.add(at), count));
                    let open = S::reciprocal(S::add(one, exp::<S>(S::scale(-1.0, g))));
                    let silu = S::mul(g, open);
                    match dy {
                        None => store::<S>(to.add(row * columns + at), S::mul(silu, v), count),
                        Some(dy) => {
                            let dy = load::<S>(dy.as_ptr().add(row * columns + at), count);
                            // σ·(1 + g·(1 − σ)) = σ + silu·(1 − σ)
                            let slope = S::fma(silu, S::sub(one, open), open);
                            let to = to.add(row * 2 * columns + at);
                            store::<S>(to, S::mul(S::mul(dy, v), slope), count);
                            store::<S>(to.add(columns), S::mul(dy, silu), count);
                        }
                    }
                });
            }
        }
    }
}
