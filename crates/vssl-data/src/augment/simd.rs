//! Run-time choice of the vector unit for the pixel loops.
//!
//! The loops of this module are plain Rust that the compiler vectorises. `pulp` compiles each a
//! second time for AVX2 and picks at run time, so that a binary built for any x86-64 still uses
//! what the machine has. All are integer or single-rounded float operations (Rust never contracts
//! `a * b + c`), hence the bytes do not depend on the choice.

/// Runs `kernel`, compiled for the widest unit that was found. The functions it calls must be
/// `#[inline(always)]`, otherwise they keep the build's own target.
#[inline(always)]
pub(super) fn vectorised<R>(kernel: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(kernel)
}
