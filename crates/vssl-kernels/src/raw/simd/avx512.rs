//! [`Simd`] for x86-64 with AVX-512F: 16 lanes, 32 registers, so tiles of 12 × 32.

use std::arch::x86_64::*;

use super::{EXPONENT, Kernel, Simd};

#[derive(Clone, Copy)]
pub struct Avx512;

/// # Safety
///
/// The machine must have AVX-512F; else as [`Kernel::run`].
#[target_feature(enable = "avx512f,avx2,fma")]
pub unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the features are enabled here.
    unsafe { kernel.run::<Avx512>() }
}

#[inline(always)]
fn mask(count: usize) -> __mmask16 {
    debug_assert!(count <= 16);
    ((1u32 << count) - 1) as __mmask16
}

// SAFETY: loads and stores touch exactly the lanes the trait allows; only they and `splat` make vectors.
unsafe impl Simd for Avx512 {
    type Vector = __m512;
    const LANES: usize = 16;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 12;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: the caller's machine has AVX-512F.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller's machine has AVX-512F, and its pointer sixteen floats.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> __m512 {
        // SAFETY: as for `load`; lanes from `count` on are masked, and what lies behind is not read.
        unsafe { _mm512_maskz_loadu_ps(mask(count), from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        // SAFETY: as for `load`, with room for sixteen floats.
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: __m512, count: usize) {
        // SAFETY: as for `store`; lanes from `count` on are masked, and what lies behind is not written.
        unsafe { _mm512_mask_storeu_ps(to, mask(count), value) }
    }
    arithmetic! {
        add(a, b) => _mm512_add_ps(a, b);
        sub(a, b) => _mm512_sub_ps(a, b);
        mul(a, b) => _mm512_mul_ps(a, b);
        div(a, b) => _mm512_div_ps(a, b);
        sqrt(a) => _mm512_sqrt_ps(a);
        fma(a, b, c) => _mm512_fmadd_ps(a, b, c);
        // The second operand is returned when either is NaN.
        max(a, b) => _mm512_max_ps(a, b);
        min(a, b) => _mm512_min_ps(a, b);
        // 14 bits, and a step of Newton's method: a division takes three times as long.
        reciprocal(a) => {
            let near = _mm512_rcp14_ps(a);
            let rest = _mm512_fnmadd_ps(a, near, _mm512_set1_ps(1.0));
            _mm512_fmadd_ps(near, rest, near)
        };
        // The last nine bits of the sum are a + 127, the exponent's bits of the result.
        power_of_two(a) => {
            let sum = _mm512_add_ps(a, _mm512_set1_ps(EXPONENT));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(sum)))
        };
        relu(a) => _mm512_max_ps(_mm512_setzero_ps(), a);
        where_positive(gate, a) => {
            _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate, _mm512_setzero_ps()), a)
        };
    }
    #[inline(always)]
    fn prefetch(from: *const f32) {
        // SAFETY: every x86-64 has this instruction, and it never faults: the address may be any.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
}
