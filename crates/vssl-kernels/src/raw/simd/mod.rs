//! A trait over the vector units, and the choice among them, which is made once at run time.
//!
//! A computation is a [`Kernel`]: it is written once over [`Simd`] and compiled for each
//! instruction set the target can have; [`Isa::run`] calls the compilation of the set in use.
//! Everything that a kernel calls must be `#[inline(always)]`, because only then does it inherit the target
//! features of the function that `Isa::run` enters.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Defines the functions of [`Simd`] that take vectors to vectors, each from an expression of intrinsics.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! arithmetic {
    ($($name:ident($($argument:ident),+) => $body:expr;)+) => {$(
        #[inline(always)]
        fn $name($($argument: Self::Vector),+) -> Self::Vector {
            // SAFETY: the arguments exist, so the machine has the instruction set: see `Simd`.
            unsafe { $body }
        }
    )+};
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

/// Vector arithmetic of one instruction set.
///
/// A caller that makes a vector, with `splat` or a load, promises that the machine has the instruction set.
/// Functions that only take vectors are safe, because a vector exists only on such a machine.
///
/// # Safety
///
/// An implementor must not offer another way to make a `Vector`. The unsafe functions may only be called on a
/// machine that has the instruction set, with pointers that are valid for `LANES` floats (`count ≤ LANES`
/// floats for the partial forms). No alignment is required.
pub unsafe trait Simd: Copy + 'static {
    /// A vector of `LANES` floats.
    type Vector: Copy;
    /// The number of floats in a vector.
    const LANES: usize;
    /// The number of vectors across a register tile of the matrix product.
    const TILE_VECTORS: usize;
    /// The number of rows of a register tile of the matrix product.
    const TILE_ROWS: usize;

    /// Returns a vector whose lanes are all `value`.
    unsafe fn splat(value: f32) -> Self::Vector;
    /// Loads `LANES` floats from `from`.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// Loads `count` floats from `from`; the other lanes are zero.
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::Vector;
    /// Stores `LANES` floats at `to`.
    unsafe fn store(to: *mut f32, value: Self::Vector);
    /// Stores the first `count` lanes at `to`.
    unsafe fn store_partial(to: *mut f32, value: Self::Vector, count: usize);
    /// Returns `a + b`.
    fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns `a − b`.
    fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns `a · b`.
    fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns `a / b`.
    fn div(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns `√a`.
    fn sqrt(a: Self::Vector) -> Self::Vector;
    /// Returns `a · b + c`, rounded once where the machine can do so.
    fn fma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Returns `factor · a`.
    #[inline(always)]
    fn scale(factor: f32, a: Self::Vector) -> Self::Vector {
        // SAFETY: `a` exists, so the machine has the instruction set.
        Self::mul(unsafe { Self::splat(factor) }, a)
    }
    /// Returns `factor · a + b`, rounded once where the machine can do so.
    #[inline(always)]
    fn scale_add(factor: f32, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: `a` exists, so the machine has the instruction set.
        Self::fma(unsafe { Self::splat(factor) }, a, b)
    }
    /// Returns `a` where it is above zero or NaN, else zero.
    fn relu(a: Self::Vector) -> Self::Vector;
    /// Returns `a` where `gate > 0`, else zero.
    fn where_positive(gate: Self::Vector, a: Self::Vector) -> Self::Vector;
    /// Returns the larger of `a` and `b`, and `b` if one of them is NaN.
    fn max(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns the smaller of `a` and `b`, and `b` if one of them is NaN.
    fn min(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns `1 / a`, for a finite `a` above zero, to the last bit or two.
    #[inline(always)]
    fn reciprocal(a: Self::Vector) -> Self::Vector {
        // SAFETY: `a` exists, so the machine has the instruction set.
        Self::div(unsafe { Self::splat(1.0) }, a)
    }
    /// Returns 2ᵃ, for lanes of `a` that are whole numbers from −126 to 127, and 0 for −127.
    fn power_of_two(a: Self::Vector) -> Self::Vector;
    /// Returns the sum of the lanes, added in pairs of halves.
    #[inline(always)]
    fn sum(a: Self::Vector) -> f32 {
        let mut lanes = [0.0f32; 16];
        // SAFETY: `a` exists, so the machine has the instruction set; no vector has more than 16 lanes.
        unsafe { Self::store(lanes.as_mut_ptr(), a) };
        let mut half = Self::LANES;
        while half > 1 {
            half /= 2;
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
        }
        lanes[0]
    }
    /// Prefetches the cache line of `from`, where the machine can do so. The pointer need not be valid.
    #[inline(always)]
    fn prefetch(_from: *const f32) {}
}

/// 2²³ and the bias of the exponent: a float of this size counts in whole numbers, in its last bits.
const EXPONENT: f32 = 8_388_608.0 + 127.0;

/// Returns the number of floats across a register tile: the width of a packed panel of the right matrix.
pub const fn tile_columns<S: Simd>() -> usize {
    S::LANES * S::TILE_VECTORS
}

/// A computation written over [`Simd`].
pub trait Kernel {
    /// The type of the result.
    type Output;
    /// Runs the computation with the instruction set `S`.
    ///
    /// # Safety
    ///
    /// The machine must have `S`; further bounds are the implementor's.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// An instruction set, or the reference without our kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Isa {
    /// AVX-512F on x86-64.
    Avx512 = 1,
    /// AVX2 and FMA on x86-64.
    Avx2 = 2,
    /// NEON on 64-bit Arm.
    Neon = 3,
    /// Plain Rust, vectorised by the compiler.
    Portable = 4,
    /// The reference: every operation is composed of Burn's own operations.
    Reference = 5,
}

const ALL: [Isa; 5] = [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable, Isa::Reference];

impl Isa {
    /// Returns the name in the environment variable `VSSL_KERNELS`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
            Isa::Portable => "portable",
            Isa::Reference => "reference",
        }
    }

    /// Returns whether this machine can run the instruction set.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => std::arch::is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Isa::Portable | Isa::Reference => true,
            #[allow(unreachable_patterns, reason = "reached for the other architecture's sets")]
            _ => false,
        }
    }

    /// Returns the instruction sets of this machine, best first.
    pub fn all_available() -> Vec<Isa> {
        ALL.into_iter().filter(|isa| *isa != Isa::Reference && isa.available()).collect()
    }

    /// Returns the number of floats across a register tile (the width of packed panels).
    pub fn tile_columns(self) -> usize {
        struct Columns;
        impl Kernel for Columns {
            type Output = usize;
            #[inline(always)]
            unsafe fn run<S: Simd>(self) -> usize {
                tile_columns::<S>()
            }
        }
        // SAFETY: reads constants only.
        unsafe { self.run(Columns) }
    }

    /// Returns the number of floats of a vector.
    pub fn lanes(self) -> usize {
        struct Lanes;
        impl Kernel for Lanes {
            type Output = usize;
            #[inline(always)]
            unsafe fn run<S: Simd>(self) -> usize {
                S::LANES
            }
        }
        // SAFETY: reads constants only.
        unsafe { self.run(Lanes) }
    }

    /// Returns the number of rows of a register tile.
    pub fn tile_rows(self) -> usize {
        struct Rows;
        impl Kernel for Rows {
            type Output = usize;
            #[inline(always)]
            unsafe fn run<S: Simd>(self) -> usize {
                S::TILE_ROWS
            }
        }
        // SAFETY: reads constants only.
        unsafe { self.run(Rows) }
    }

    /// Runs `kernel` compiled for this instruction set.
    ///
    /// # Safety
    ///
    /// As `Kernel::run`; `self` must be available.
    #[inline]
    pub unsafe fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: handed on to the caller.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => avx512::enter(kernel),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2::enter(kernel),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => neon::enter(kernel),
                _ => portable::enter(kernel),
            }
        }
    }
}

/// `VSSL_KERNELS` names an instruction set that does not exist or that this machine lacks.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "VSSL_KERNELS: got {got:?}, expected one of {} on this machine; unset it to choose the best",
    expected.join(", ")
)]
pub struct UnknownKernels {
    got: String,
    expected: Vec<&'static str>,
}

/// Returns the instruction set that the environment asks for, or the best of the machine.
pub fn requested() -> Result<Isa, UnknownKernels> {
    let best = || Isa::all_available()[0];
    let Ok(got) = std::env::var("VSSL_KERNELS") else { return Ok(best()) };
    if got.is_empty() {
        return Ok(best());
    }
    ALL.into_iter().find(|isa| isa.name() == got && isa.available()).ok_or_else(|| UnknownKernels {
        got,
        expected: ALL.into_iter().filter(|isa| isa.available()).map(Isa::name).collect(),
    })
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Returns the instruction set in use: the last that was passed to [`choose`], else that of the environment.
///
/// An invalid value of the environment is reported once on standard error, and the best set is used. A
/// program that wants to refuse to start instead calls [`requested`] first.
pub fn isa() -> Isa {
    static FROM_ENVIRONMENT: OnceLock<Isa> = OnceLock::new();
    let chosen = CHOSEN.load(Ordering::Relaxed);
    match ALL.into_iter().find(|isa| *isa as u8 == chosen) {
        Some(isa) => isa,
        None => *FROM_ENVIRONMENT.get_or_init(|| {
            requested().unwrap_or_else(|error| {
                // Where standard error cannot be written, the default is taken all the same.
                let _ = writeln!(std::io::stderr(), "warning: {error}");
                Isa::all_available()[0]
            })
        }),
    }
}

/// Uses `isa` from now on, in the whole process. Returns whether this machine has it; if not, nothing
/// changes.
pub fn choose(isa: Isa) -> bool {
    let available = isa.available();
    if available {
        CHOSEN.store(isa as u8, Ordering::Relaxed);
    }
    available
}
