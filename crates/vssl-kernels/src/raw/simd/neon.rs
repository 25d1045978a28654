//! [`Simd`] for 64-bit Arm: 4 lanes, 32 registers, so tiles of 6 × 16.

use std::arch::aarch64::*;

use super::{EXPONENT, Kernel, Simd};

#[derive(Clone, Copy)]
pub struct Neon;

/// # Safety
///
/// The machine must have NEON; else as [`Kernel::run`].
#[target_feature(enable = "neon")]
pub unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the feature is enabled here.
    unsafe { kernel.run::<Neon>() }
}

// SAFETY: loads and stores touch exactly the lanes the trait allows; only they and `splat` make vectors.
unsafe impl Simd for Neon {
    type Vector = float32x4_t;
    const LANES: usize = 4;
    const TILE_VECTORS: usize = 4;
    const TILE_ROWS: usize = 6;

    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        // SAFETY: the caller's machine has NEON.
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: the caller's machine has NEON, and its pointer four floats.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> float32x4_t {
        let mut lanes = [0.0f32; 4];
        // SAFETY: the caller's machine has NEON, and its pointer `count ≤ 4` floats.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            vld1q_f32(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: float32x4_t) {
        // SAFETY: as for `load`, with room for four floats.
        unsafe { vst1q_f32(to, value) }
    }
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: float32x4_t, count: usize) {
        let mut lanes = [0.0f32; 4];
        // SAFETY: as for `load_partial`, with room for `count` floats.
        unsafe {
            vst1q_f32(lanes.as_mut_ptr(), value);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }
    arithmetic! {
        add(a, b) => vaddq_f32(a, b);
        sub(a, b) => vsubq_f32(a, b);
        mul(a, b) => vmulq_f32(a, b);
        div(a, b) => vdivq_f32(a, b);
        sqrt(a) => vsqrtq_f32(a);
        fma(a, b, c) => vfmaq_f32(c, a, b);
        max(a, b) => vbslq_f32(vcgtq_f32(a, b), a, b);
        min(a, b) => vbslq_f32(vcltq_f32(a, b), a, b);
        // The last nine bits of the sum are a + 127, the exponent's bits of the result.
        power_of_two(a) => {
            let sum = vaddq_f32(a, vdupq_n_f32(EXPONENT));
            vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(sum)))
        };
        // NaN comes through, as with the other sets.
        relu(a) => vmaxq_f32(a, vdupq_n_f32(0.0));
        where_positive(gate, a) => {
            let positive = vcgtq_f32(gate, vdupq_n_f32(0.0));
            vreinterpretq_f32_u32(vandq_u32(positive, vreinterpretq_u32_f32(a)))
        };
    }
}
