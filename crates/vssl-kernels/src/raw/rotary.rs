//! Rotary positions (Su et al. 2021, arXiv:2104.09864) of the queries and keys of an attention, in place. With h half the
//! length of a query, and the angles αⱼ of a token,
//!
//! ```text
//! yⱼ = xⱼ·cos αⱼ − xⱼ₊ₕ·sin αⱼ    yⱼ₊ₕ = xⱼ₊ₕ·cos αⱼ + xⱼ·sin αⱼ    j < h
//! ```
//!
//! The gradient is turned back: the same with −α. The tokens in front of the patches and all values stay.

use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};

/// The number of patches that a task turns.
const PATCHES: usize = 16;

/// The sizes of a rotation. A row of queries, keys and values has `3 · heads · size` floats.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// The number of images.
    pub images: usize,
    /// The tokens of an image.
    pub tokens: usize,
    /// The tokens of an image that are turned: the last ones.
    pub patches: usize,
    /// The number of heads.
    pub heads: usize,
    /// The length of a query, an even number.
    pub size: usize,
}

/// Turns the queries and keys of `x`, or turns them `back`. A row of `angles` has the cosines of a patch, then the sines.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn rotate(isa: Isa, of: Rotary, angles: &[f32], back: bool, x: &mut [f32]) {
    let Rotary { images, tokens, patches, heads, size } = of;
    let row = 3 * heads * size;
    assert!(patches <= tokens && size.is_multiple_of(2), "{of:?}: patches and pairs");
    assert_eq!(x.len(), images * tokens * row, "{of:?}: floats of the rows");
    assert_eq!(angles.len(), patches * size, "{of:?}: floats of the angles");
    if x.is_empty() || angles.is_empty() {
        return;
    }
    let (image, tasks) = (tokens * row, patches.div_ceil(PATCHES));
    let rows = Shared::new(x);
    parallel_for(images * tasks, |task| {
        let (index, from) = (task / tasks, task % tasks * PATCHES);
        let count = PATCHES.min(patches - from);
        let angles = &angles[from * size..(from + count) * size];
        // SAFETY: each task has its own patches of its own image.
        unsafe {
            let x = rows.slice(index * image + (tokens - patches + from) * row, count * row);
            isa.run(Turned { x, angles, row, heads, size, back });
        }
    });
}

/// The patches of a task, which belong to one image.
struct Turned<'a> {
    x: &'a mut [f32],
    angles: &'a [f32],
    row: usize,
    heads: usize,
    size: usize,
    back: bool,
}

impl Kernel for Turned<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { x, angles, row, heads, size, back } = self;
        let sign = if back { -1.0 } else { 1.0 };
        for (x, angles) in x.chunks_exact_mut(row).zip(angles.chunks_exact(size)) {
            let (cosines, sines) = angles.split_at(size / 2);
            for part in x[..2 * heads * size].chunks_exact_mut(size) {
                let (first, second) = part.split_at_mut(size / 2);
                let angles = cosines.iter().zip(sines);
                for ((a, b), (cosine, sine)) in first.iter_mut().zip(second).zip(angles) {
                    let sine = sign * sine;
                    (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
                }
            }
        }
    }
}
