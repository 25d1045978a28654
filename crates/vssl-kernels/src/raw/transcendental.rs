//! The exponential function and the normal distribution on vectors, to the accuracy of `f32`, and loops over
//! slices of any length. Called by the softmax and the GELU.

use super::simd::Simd;

/// Runs a body with the start and the number of each vector of a slice; the last vector may be shorter.
macro_rules! each_vector {
    ($length:expr, |$at:ident, $count:ident| $body:block) => {
        let length = $length;
        let mut $at = 0;
        while $at + S::LANES <= length {
            let $count = S::LANES;
            $body
            $at += S::LANES;
        }
        if $at < length {
            let $count = length - $at;
            $body
        }
    };
}

pub(super) use each_vector;

/// Returns the vector with zeros from lane `count` on.
#[inline(always)]
pub(super) unsafe fn first_lanes<S: Simd>(value: S::Vector, count: usize) -> S::Vector {
    if count == S::LANES {
        return value;
    }
    let mut lanes = [0.0f32; 16];
    // SAFETY: no vector has more than 16 lanes.
    unsafe {
        S::store_partial(lanes.as_mut_ptr(), value, count);
        S::load(lanes.as_ptr())
    }
}

/// Returns eˣ with a relative error of about 10⁻⁷, where the result is a normal number: `x` is limited to −88
/// and 88, and up to −87.7 the result is 0, for products with the numbers below the normal ones are slow. NaN
/// stays NaN.
///
/// eˣ = 2ⁿ·eʳ with a whole n and |r| ≤ ½·ln 2, and eʳ by the polynomial of Cephes (Moshier 1989).
#[inline(always)]
pub fn exp<S: Simd>(x: S::Vector) -> S::Vector {
    /// A number that rounds to whole numbers what is added to it: 1.5 · 2²³.
    const ROUND: f32 = 12_582_912.0;
    // SAFETY: `x` exists, so the machine has the instruction set.
    let splat = |value: f32| unsafe { S::splat(value) };
    let x = S::min(splat(88.0), S::max(splat(-88.0), x));
    let n = S::sub(S::scale_add(std::f32::consts::LOG2_E, x, splat(ROUND)), splat(ROUND));
    let r = S::scale_add(-0.693_359_4, n, x);
    let r = S::scale_add(2.121_944_4e-4, n, r);
    let mut sum = splat(1.987_569_1e-4);
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0] {
        sum = S::fma(sum, r, splat(coefficient));
    }
    S::mul(sum, S::power_of_two(n))
}

/// Returns Φ(x), the probability that a standard normal number is below `x`, and e^(−x²/2).
///
/// Φ(−|x|) = e^(−x²/2)·t·P(t) with t = 1/(1 + 0.3·|x|), the form of Abramowitz and Stegun 26.2.17 with a
/// polynomial of two more degrees, whose relative error is below 1.3·10⁻⁷. So both tails are accurate.
#[inline(always)]
pub fn normal<S: Simd>(x: S::Vector) -> (S::Vector, S::Vector) {
    // SAFETY: `x` exists, so the machine has the instruction set.
    let splat = |value: f32| unsafe { S::splat(value) };
    let zero = splat(0.0);
    let magnitude = S::max(S::sub(zero, x), x);
    // Behind 20 both tails are below the smallest number; infinity has no reciprocal.
    let magnitude = S::min(splat(20.0), magnitude);
    let t = S::reciprocal(S::scale_add(0.3, magnitude, splat(1.0)));
    let density = exp::<S>(S::mul(S::scale(-0.5, x), x));
    let mut sum = splat(0.036_090_184);
    for coefficient in [
        -0.158_939_53,
        0.209_356_7,
        -0.056_459_886,
        0.130_037_96,
        0.099_463_4,
        0.120_826_59,
        0.119_624_52,
    ] {
        sum = S::fma(sum, t, splat(coefficient));
    }
    let tail = S::mul(S::mul(sum, t), density);
    let above = S::where_positive(x, S::scale_add(-2.0, tail, splat(1.0)));
    (S::add(tail, above), density)
}
