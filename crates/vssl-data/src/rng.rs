//! Random numbers by address instead of by turn: one ChaCha8 generator for each (seed, stream, a, b).
//!
//! The key of the cipher *is* the address, so no state has to be stored to resume a run and
//! two different addresses never share numbers.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

/// The purpose of random numbers. The discriminants are part of the address and must not change.
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
    /// Everything random of an evaluation; the evaluator chooses the address.
    Evaluation,
    /// The embeddings that a clustering starts from; address (epoch, clustering).
    Centroids,
    /// The order in which the images of a batch are whitened; address (step, micro-batch and iteration).
    Whitening,
    /// The directions on which embeddings are projected; address (step, micro-batch).
    Directions,
    /// The patches of one view that a network does not see; address (step, micro-batch and row of the joint batch).
    Mask(u16),
}

impl Stream {
    fn code(self) -> u32 {
        match self {
            Stream::Shuffle => 1,
            Stream::Replacement => 2,
            Stream::Init => 3,
            Stream::Posterior => 4,
            Stream::Evaluation => 5,
            Stream::Centroids => 6,
            Stream::Whitening => 7,
            Stream::Directions => 8,
            Stream::View(view) => 0x1_0000 + u32::from(view),
            Stream::Mask(view) => 0x2_0000 + u32::from(view),
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

/// Uniform in `[low, high)`; `low` when both are equal.
///
/// The four functions below are written out, because a library is free to change how it turns
/// bits into numbers and a seed has to mean the same views in every version.
pub fn uniform(rng: &mut impl RngCore, low: f64, high: f64) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 53) as f64;
    low + (high - low) * ((rng.next_u64() >> 11) as f64 * STEP)
}

/// The numbers `0..count` in a random order (Fisher and Yates, from the end).
pub fn permutation(rng: &mut impl RngCore, count: u32) -> Vec<u32> {
    let mut order = (0..count).collect::<Vec<_>>();
    for last in (1..order.len()).rev() {
        order.swap(last, below(rng, last as u64 + 1) as usize);
    }
    order
}

/// Uniform integer in `0..bound` (Lemire 2018, arXiv:1805.10941); 0 for a bound of 0.
pub fn below(rng: &mut impl RngCore, bound: u64) -> u64 {
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        let low = product as u64;
        // Low halves below `2^64 mod bound` would give some results once too often.
        if low >= bound || low >= bound.wrapping_neg() % bound.max(1) {
            return (product >> 64) as u64;
        }
    }
}

/// True with the given probability.
pub fn coin(rng: &mut impl RngCore, probability: f64) -> bool {
    uniform(rng, 0.0, 1.0) < probability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_addresses_give_different_numbers() {
        let streams = [
            Stream::Shuffle,
            Stream::Replacement,
            Stream::Init,
            Stream::Posterior,
            Stream::Evaluation,
            Stream::Centroids,
            Stream::Whitening,
            Stream::Directions,
            Stream::View(0),
            Stream::View(u16::MAX),
            Stream::Mask(0),
            Stream::Mask(u16::MAX),
        ];
        let mut seen = std::collections::HashSet::new();
        for stream in streams {
            for (seed, a, b) in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)] {
                assert!(seen.insert(rng(seed, stream, a, b).next_u64()), "{stream:?}");
                assert_eq!(
                    rng(seed, stream, a, b).next_u64(),
                    rng(seed, stream, a, b).next_u64(),
                    "the same address gives the same numbers"
                );
            }
        }
    }

    #[test]
    fn numbers_of_an_address_never_change() {
        let mut rng = rng(7, Stream::View(1), 3, 11);
        let drawn = [rng.next_u64(), rng.next_u64()];
        assert_eq!(
            drawn,
            [17_428_375_481_762_193_382, 13_854_917_838_058_450_905],
            "a changed generator would change every published run"
        );
    }

    #[test]
    fn integers_below_a_bound_are_uniform() {
        let mut rng = rng(0, Stream::Evaluation, 0, 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[below(&mut rng, 7) as usize] += 1;
        }
        // Standard deviation of a count is 93: five of them.
        assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 465), "{counts:?}");
        assert_eq!(below(&mut rng, 1), 0);
        assert_eq!(below(&mut rng, 0), 0);
    }

    #[test]
    fn coins_fall_with_their_probability() {
        let mut rng = rng(0, Stream::Evaluation, 1, 0);
        for (probability, expected) in [(0.0, 0), (1.0, 10_000)] {
            let heads = (0..10_000).filter(|_| coin(&mut rng, probability)).count();
            assert_eq!(heads, expected);
        }
        let heads = (0..10_000).filter(|_| coin(&mut rng, 0.2)).count();
        assert!(heads.abs_diff(2_000) < 200, "{heads}");
    }
}
