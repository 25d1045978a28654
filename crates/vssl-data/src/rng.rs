//! Randomness that is addressed, not drawn: one ChaCha8 stream for each (seed, stream, a, b).
//!
//! The key of the cipher *is* the address, so no state has to be stored to resume a run and
//! two different addresses never share numbers.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// What the numbers are for. The discriminants are part of the address: never renumber them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Order of the images; address (epoch, 0).
    Shuffle,
    /// Parameters of one augmented view; address (epoch, image).
    View(u16),
    /// Which image replaces one that cannot be read; address (epoch, image).
    Replacement,
    /// Initial weights; address (0, index of the parameter).
    Init,
    /// Noise of the posterior samples; address (step, view).
    Posterior,
    /// Anything of an evaluation; address chosen by the evaluator.
    Evaluation,
}

impl Stream {
    fn code(self) -> u32 {
        match self {
            Stream::Shuffle => 1,
            Stream::Replacement => 2,
            Stream::Init => 3,
            Stream::Posterior => 4,
            Stream::Evaluation => 5,
            Stream::View(view) => 0x1_0000 + u32::from(view),
        }
    }
}

/// The generator at one address.
pub fn rng(seed: u64, stream: Stream, a: u64, b: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..12].copy_from_slice(&stream.code().to_le_bytes());
    key[12..16].copy_from_slice(b"vssl");
    key[16..24].copy_from_slice(&a.to_le_bytes());
    key[24..].copy_from_slice(&b.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}
