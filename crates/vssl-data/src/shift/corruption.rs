//! Three corruptions in five strengths each, with the parameters of Hendrycks and Dietterich 2019
//! (arXiv:1903.12261): up to [`SMALL`] pixels those for CIFAR, above those for ImageNet. Values are
//! rounded to the nearest byte, and the blur is Pillow's.

use super::{CORRUPTED, byte, normal};
use crate::{
    Image,
    augment::Canvas,
    rng::{Stream, rng},
};

/// Number of strengths, which are counted from 1.
pub const STRENGTHS: usize = 5;

/// Largest side of the images that get CIFAR's parameters.
const SMALL: usize = 96;

/// A way to corrupt an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// Gaussian blur; the parameter is its standard deviation in pixels.
    Blur,
    /// Gaussian noise on every value; the parameter is its standard deviation on the scale 0 to 1.
    Noise,
    /// Less contrast: every value moves towards the mean of its channel; the parameter is the share of
    /// the distance that remains.
    Contrast,
}

impl Corruption {
    /// All corruptions.
    pub const ALL: [Self; 3] = [Self::Blur, Self::Noise, Self::Contrast];

    /// Name of the corruption in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blur => "blur",
            Self::Noise => "noise",
            Self::Contrast => "contrast",
        }
    }

    /// The parameter of a strength, for images whose shorter side is `side`.
    ///
    /// # Panics
    /// When `strength` is not 1 to [`STRENGTHS`].
    pub fn parameter(self, side: usize, strength: usize) -> f64 {
        let small = side <= SMALL;
        let all: [f64; STRENGTHS] = match self {
            Self::Blur if small => [0.4, 0.6, 0.7, 0.8, 1.0],
            Self::Blur => [1.0, 2.0, 3.0, 4.0, 6.0],
            Self::Noise if small => [0.04, 0.06, 0.08, 0.09, 0.10],
            Self::Noise => [0.08, 0.12, 0.18, 0.26, 0.38],
            Self::Contrast if small => [0.75, 0.5, 0.4, 0.3, 0.15],
            Self::Contrast => [0.4, 0.3, 0.2, 0.1, 0.05],
        };
        all[strength - 1]
    }

    /// The corrupted image. (`seed`, `strength`, `index`) is the address of its noise.
    ///
    /// # Panics
    /// As [`Corruption::parameter`], and when `image` does not hold as many values for every pixel.
    pub fn apply(self, image: &Image, strength: usize, seed: u64, index: usize) -> Image {
        let parameter = self.parameter(image.width.min(image.height), strength);
        match self {
            Self::Blur => {
                let mut canvas = Canvas::from_image(image);
                canvas.blur(parameter);
                canvas.to_image()
            }
            Self::Noise => {
                let address = CORRUPTED << 8 | strength as u64;
                let mut rng = rng(seed, Stream::Evaluation, address, index as u64);
                changed(image, |_, value| value + parameter * normal(&mut rng))
            }
            Self::Contrast => {
                let means = means(image);
                changed(image, |channel, value| {
                    means[channel] + (value - means[channel]) * parameter
                })
            }
        }
    }
}

/// Applies `change` to every (channel, value), with values on the scale 0 to 1.
fn changed(image: &Image, mut change: impl FnMut(usize, f64) -> f64) -> Image {
    let values = image.values.iter().enumerate();
    let channels = image.channels();
    let changed =
        values.map(|(i, &value)| byte(change(i % channels, f64::from(value) / 255.0))).collect();
    Image { values: changed, ..*image }
}

fn means(image: &Image) -> Vec<f64> {
    let mut sums = vec![0_u64; image.channels()];
    for pixel in image.values.chunks_exact(image.channels()) {
        sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u64::from(value));
    }
    let pixels = (image.width * image.height) as f64;
    sums.into_iter().map(|sum| sum as f64 / pixels / 255.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Image {
        let rgb = (0..32 * 32 * 3).map(|i: u32| 64 + (i.wrapping_mul(2_654_435_761) >> 25) as u8);
        Image { width: 32, height: 32, values: rgb.collect() }
    }

    fn distance(a: &Image, b: &Image) -> f64 {
        let squares =
            a.values.iter().zip(&b.values).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
        (squares.sum::<f64>() / a.values.len() as f64).sqrt()
    }

    #[test]
    fn a_higher_strength_is_further_from_the_clean_picture() {
        for corruption in Corruption::ALL {
            let at = |strength| corruption.apply(&picture(), strength, 0, 7);
            let far: Vec<f64> = (1..=STRENGTHS).map(|s| distance(&at(s), &picture())).collect();
            assert!(far[0] > 0.0 && far.is_sorted_by(|a, b| a < b), "{corruption:?}: {far:?}");
        }
    }

    #[test]
    fn noise_has_its_standard_deviation_and_is_that_of_its_address() {
        let noisy = |seed, index| Corruption::Noise.apply(&picture(), 3, seed, index);
        let deviation = distance(&noisy(1, 2), &picture()) / 255.0;
        assert!((deviation - 0.08).abs() < 0.004, "{deviation}");
        assert_eq!(noisy(1, 2), noisy(1, 2));
        assert_ne!(noisy(1, 2), noisy(1, 3));
        assert_ne!(noisy(1, 2), noisy(2, 2));
    }

    #[test]
    fn contrast_keeps_the_mean_and_the_share_of_the_distance_that_it_says() {
        let image = Image { width: 2, height: 1, values: vec![0, 100, 200, 200, 100, 100] };
        let got = Corruption::Contrast.apply(&image, 2, 0, 0);
        assert_eq!(got.values, [50, 100, 175, 150, 100, 125]);
    }

    #[test]
    fn photographs_have_parameters_of_their_own() {
        assert_eq!(Corruption::Blur.parameter(32, 5), 1.0);
        assert_eq!(Corruption::Blur.parameter(224, 5), 6.0);
    }
}
