//! The region of a random resized crop (Szegedy et al. 2014, arXiv:1409.4842, section 6, in
//! torchvision's form: ten tries, then a central crop).

use rand_chacha::rand_core::RngCore;

use crate::rng::{below, uniform};

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Number of rows, at least 1.
    pub height: usize,
    /// Number of columns, at least 1.
    pub width: usize,
}

const TRIES: usize = 10;

/// Draws a region whose area is a share in `scale` of the image and whose width over height lies
/// in `ratio` (uniform in its logarithm).
///
/// The accepted area is not uniform: large elongated boxes do not fit and are drawn again.
pub fn random_region(
    rng: &mut impl RngCore,
    (width, height): (usize, usize),
    scale: [f64; 2],
    ratio: [f64; 2],
) -> Region {
    let area = (width * height) as f64;
    for _ in 0..TRIES {
        let target = area * uniform(rng, scale[0], scale[1]);
        let aspect = uniform(rng, ratio[0].ln(), ratio[1].ln()).exp();
        let w = (target * aspect).sqrt().round_ties_even() as usize;
        let h = (target / aspect).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = below(rng, (height - h) as u64 + 1) as usize;
            let left = below(rng, (width - w) as u64 + 1) as usize;
            return Region { top, left, height: h, width: w };
        }
    }
    central_region((width, height), ratio)
}

/// The whole image, or its centre cut to the bound of `ratio` that it violates.
fn central_region((width, height): (usize, usize), ratio: [f64; 2]) -> Region {
    let aspect = width as f64 / height as f64;
    let (w, h) = if aspect < ratio[0] {
        (width, (width as f64 / ratio[0]).round_ties_even() as usize)
    } else if aspect > ratio[1] {
        ((height as f64 * ratio[1]).round_ties_even() as usize, height)
    } else {
        (width, height)
    };
    // With a thin image and a bound far from 1 the side would round to 0.
    let (w, h) = (w.clamp(1, width), h.clamp(1, height));
    Region { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Stream, rng};

    const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

    #[test]
    fn fallback_is_the_centre_at_the_violated_bound() {
        let wide = central_region((100, 10), RATIO);
        assert_eq!(wide, Region { top: 0, left: 43, height: 10, width: 13 });
        let tall = central_region((10, 100), RATIO);
        assert_eq!(tall, Region { top: 43, left: 0, height: 13, width: 10 });
        let square = central_region((7, 7), RATIO);
        assert_eq!(square, Region { top: 0, left: 0, height: 7, width: 7 });
    }

    #[test]
    fn region_stays_inside_images_of_any_shape() {
        let sizes = [1, 2, 3, 7, 33, 1000];
        for (i, &width) in sizes.iter().enumerate() {
            for (j, &height) in sizes.iter().enumerate() {
                for draw in 0..200 {
                    let address = (i * sizes.len() + j) as u64;
                    let mut rng = rng(draw, Stream::View(0), 0, address);
                    for ratio in [RATIO, [1e-6, 2e-6], [3.0, 1e9]] {
                        let r = random_region(&mut rng, (width, height), [0.08, 1.0], ratio);
                        assert!(r.height >= 1 && r.top + r.height <= height, "{r:?}");
                        assert!(r.width >= 1 && r.left + r.width <= width, "{r:?}");
                    }
                }
            }
        }
    }
}
