//! Images without content, generated from a seed: no dataset holds them.

use std::f64::consts::TAU;

use super::{MADE, byte};
use crate::{
    Image,
    rng::{Stream, rng, uniform},
};

/// Kinds of generated images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    /// Noise: every value is uniform and independent.
    Noise,
    /// A sum of three plane waves. Their directions, lengths (from 4 pixels to the side), phases and
    /// shares of each channel are drawn.
    Waves,
    /// A single colour, which is drawn uniformly.
    Flat,
}

/// Number of waves in an image.
const WAVES: usize = 3;

impl Generated {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Noise, Self::Waves, Self::Flat];

    /// Name of the kind in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noise => "made-noise",
            Self::Waves => "made-waves",
            Self::Flat => "made-flat",
        }
    }

    /// Image number `index` of so many channels, `side × side` pixels.
    pub fn image(self, (side, channels): (usize, usize), seed: u64, index: usize) -> Image {
        let address = MADE << 8 | self as u64;
        let mut rng = rng(seed, Stream::Evaluation, address, index as u64);
        let mut draw = |low, high| uniform(&mut rng, low, high);
        let values = match self {
            Self::Noise => (0..side * side * channels).map(|_| byte(draw(0.0, 1.0))).collect(),
            Self::Flat => {
                let colour: Vec<u8> = (0..channels).map(|_| byte(draw(0.0, 1.0))).collect();
                colour.repeat(side * side)
            }
            Self::Waves => {
                let waves: [Wave; WAVES] =
                    std::array::from_fn(|_| Wave::drawn(side, channels, &mut draw));
                let pixels = (0..side * side).map(|at| ((at % side) as f64, (at / side) as f64));
                pixels.flat_map(|place| colour(&waves, channels, place)).collect()
            }
        };
        Image { width: side, height: side, values }
    }
}

/// One wave: `shares · sin(across·x + down·y + phase)`.
struct Wave {
    across: f64,
    down: f64,
    phase: f64,
    shares: Vec<f64>,
}

impl Wave {
    fn drawn(side: usize, channels: usize, draw: &mut impl FnMut(f64, f64) -> f64) -> Self {
        let (direction, length) = (draw(0.0, TAU), draw(4.0, (side as f64).max(4.0)));
        Self {
            across: TAU * direction.cos() / length,
            down: TAU * direction.sin() / length,
            phase: draw(0.0, TAU),
            shares: (0..channels).map(|_| draw(-1.0, 1.0)).collect(),
        }
    }
}

fn colour(waves: &[Wave; WAVES], channels: usize, (x, y): (f64, f64)) -> impl Iterator<Item = u8> {
    (0..channels).map(move |channel| {
        let wave = |wave: &Wave| {
            wave.shares[channel] * (wave.across * x + wave.down * y + wave.phase).sin()
        };
        byte(0.5 + waves.iter().map(wave).sum::<f64>() / WAVES as f64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_that_of_its_address() {
        for kind in Generated::ALL {
            let image = kind.image((9, 3), 1, 2);
            assert_eq!((image.width, image.height, image.values.len()), (9, 9, 9 * 9 * 3));
            assert_eq!(image, kind.image((9, 3), 1, 2));
            assert_ne!(image, kind.image((9, 3), 1, 3));
            assert_ne!(image, kind.image((9, 3), 2, 2));
        }
    }

    #[test]
    fn neighbouring_pixels_differ_most_in_noise_and_not_at_all_in_flat_pictures() {
        let change = |kind: Generated| {
            let image = kind.image((32, 3), 0, 0);
            let pairs = image.values.iter().zip(&image.values[3..]);
            pairs.map(|(&a, &b)| u64::from(a.abs_diff(b))).sum::<u64>()
        };
        assert_eq!(change(Generated::Flat), 0);
        let (waves, noise) = (change(Generated::Waves), change(Generated::Noise));
        assert!(waves > 0 && waves < noise / 2, "{waves} {noise}");
    }
}
