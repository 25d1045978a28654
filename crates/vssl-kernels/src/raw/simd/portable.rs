//! [`Simd`] in plain Rust: 4 lanes as an array, which every compiler target vectorises somehow.

use super::{EXPONENT, Kernel, Simd};

#[derive(Clone, Copy)]
pub struct Portable;

/// # Safety
///
/// As [`Kernel::run`].
pub unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: no features are needed.
    unsafe { kernel.run::<Portable>() }
}

#[inline(always)]
fn zip(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

// SAFETY: loads and stores touch exactly the lanes the trait allows; every machine has this set.
unsafe impl Simd for Portable {
    type Vector = [f32; 4];
    const LANES: usize = 4;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; 4] {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        // SAFETY: the caller's pointer has four floats; no alignment is asked for.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> [f32; 4] {
        let mut lanes = [0.0; 4];
        // SAFETY: the caller's pointer has `count ≤ 4` floats.
        unsafe { std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count) };
        lanes
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; 4]) {
        // SAFETY: the caller's pointer has room for four floats; no alignment is asked for.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: [f32; 4], count: usize) {
        // SAFETY: the caller's pointer has room for `count ≤ 4` floats.
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), to, count) };
    }
    #[inline(always)]
    fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn sqrt(a: [f32; 4]) -> [f32; 4] {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        // Two roundings: a call of libm's `fma` per lane would cost a hundred times more.
        zip(zip(a, b, |a, b| a * b), c, |ab, c| ab + c)
    }
    #[inline(always)]
    fn max(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn power_of_two(a: [f32; 4]) -> [f32; 4] {
        // The last nine bits of the sum are a + 127, the exponent's bits of the result.
        a.map(|a| f32::from_bits((a + EXPONENT).to_bits() << 23))
    }
    #[inline(always)]
    fn relu(a: [f32; 4]) -> [f32; 4] {
        a.map(|a| if a > 0.0 || a.is_nan() { a } else { 0.0 })
    }
    #[inline(always)]
    fn where_positive(gate: [f32; 4], a: [f32; 4]) -> [f32; 4] {
        zip(gate, a, |gate, a| if gate > 0.0 { a } else { 0.0 })
    }
}
