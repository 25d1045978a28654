//! [`Simd`] for x86-64 with AVX2 and FMA: 8 lanes, 16 registers, so tiles of 6 × 16.

use std::arch::x86_64::*;

use super::{EXPONENT, Kernel, Simd};

#[derive(Clone, Copy)]
pub struct Avx2;

/// # Safety
///
/// The machine must have AVX2 and FMA; else as [`Kernel::run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the features are enabled here.
    unsafe { kernel.run::<Avx2>() }
}

#[inline(always)]
unsafe fn mask(count: usize) -> __m256i {
    static WINDOW: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    debug_assert!(count <= 8);
    // SAFETY: `count ≤ 8`, so 8 of the 16 entries follow `8 − count`.
    unsafe { _mm256_loadu_si256(WINDOW.as_ptr().add(8 - count).cast()) }
}

// SAFETY: loads and stores touch exactly the lanes the trait allows; only they and `splat` make vectors.
unsafe impl Simd for Avx2 {
    type Vector = __m256;
    const LANES: usize = 8;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 6;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: the caller's machine has AVX2.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller's machine has AVX2, and its pointer eight floats.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> __m256 {
        // SAFETY: as for `load`; lanes from `count` on are masked, and what lies behind is not read.
        unsafe { _mm256_maskload_ps(from, mask(count)) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: as for `load`, with room for eight floats.
        unsafe { _mm256_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: __m256, count: usize) {
        // SAFETY: as for `store`; lanes from `count` on are masked, and what lies behind is not written.
        unsafe { _mm256_maskstore_ps(to, mask(count), value) }
    }
    arithmetic! {
        add(a, b) => _mm256_add_ps(a, b);
        sub(a, b) => _mm256_sub_ps(a, b);
        mul(a, b) => _mm256_mul_ps(a, b);
        div(a, b) => _mm256_div_ps(a, b);
        sqrt(a) => _mm256_sqrt_ps(a);
        fma(a, b, c) => _mm256_fmadd_ps(a, b, c);
        // The second operand is returned when either is NaN.
        max(a, b) => _mm256_max_ps(a, b);
        min(a, b) => _mm256_min_ps(a, b);
        // The last nine bits of the sum are a + 127, the exponent's bits of the result.
        power_of_two(a) => {
            let sum = _mm256_add_ps(a, _mm256_set1_ps(EXPONENT));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(sum)))
        };
        relu(a) => _mm256_max_ps(_mm256_setzero_ps(), a);
        where_positive(gate, a) => _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(gate, _mm256_setzero_ps()), a);
    }
    #[inline(always)]
    fn prefetch(from: *const f32) {
        // SAFETY: every x86-64 has this instruction, and it never faults: the address may be any.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
}
