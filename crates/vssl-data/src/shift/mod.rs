//! Images that a network was not trained for: corrupted images and generated images.
//!
//! Both are functions of (seed, image) and work on 8-bit images of the network's size, before any
//! normalisation. Called by the evaluation of uncertainty.

mod corruption;
mod generated;

pub use corruption::{Corruption, STRENGTHS};
pub use generated::Generated;

use rand_chacha::rand_core::RngCore;

use crate::rng::uniform;

/// First parts of the addresses of random numbers: the letters "corr" and "made".
const CORRUPTED: u64 = 0x636f_7272;
const MADE: u64 = 0x6d61_6465;

/// A standard normal number (Box and Muller 1958), written out as the other distributions are.
fn normal(rng: &mut impl RngCore) -> f64 {
    // One minus a number below 1 is never 0.
    let radius = (-2.0 * (1.0 - uniform(rng, 0.0, 1.0)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(rng, 0.0, 1.0)).cos()
}

/// The byte nearest to `value` on the scale 0 to 1.
fn byte(value: f64) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}
