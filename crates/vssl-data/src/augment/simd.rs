//! Chooses the vector unit of the pixel loops at run time.
//!
//! The loops of this module are plain Rust that the compiler vectorises. `pulp` compiles each a
//! second time for AVX2 and picks at run time, so that a binary built for any x86-64 still uses
//! what the machine has. All are integer or single-rounded float operations (Rust never contracts
//! `a * b + c`), hence the bytes do not depend on the choice.

/// Runs `kernel` as compiled for the widest vector unit of this machine. The functions that `kernel`
/// calls must be `#[inline(always)]`; otherwise they are compiled for the build's own target.
#[inline(always)]
pub(super) fn vectorised<R>(kernel: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(kernel)
}

/// 2^23: above it a single-precision number has no fractional bits.
const WHOLE: f32 = 8_388_608.0;

/// A number in [0, 2^22] rounded to the nearest integer.
#[inline(always)]
pub(super) fn whole(x: f32) -> f32 {
    (x + WHOLE) - WHOLE
}

/// The nearest integer of a number in [0, 2^22]. Casts of floats saturate, which the compiler
/// does not vectorise; an addition is enough where the range is known.
#[inline(always)]
pub(super) fn nearest(x: f32) -> i32 {
    ((x + WHOLE).to_bits() & 0x007F_FFFF) as i32
}

/// The integer part of a number in [0, 2^22].
#[inline(always)]
pub(super) fn truncated(x: f32) -> i32 {
    let above = whole(x) > x;
    nearest(x) - i32::from(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_equal_those_of_the_language() {
        for i in 0..=1_000_000u32 {
            let x = i as f32 * (300.0 / 1_000_000.0);
            for x in [x, x.round(), x.round().next_up(), x.round().next_down().max(0.0)] {
                assert_eq!(truncated(x), x as i32, "{x}");
                assert_eq!(nearest(x), x.round_ties_even() as i32, "{x}");
            }
        }
    }
}
