//! The fixed transform of evaluations: shorter side scaled, centre cut, normalised.

use super::{
    Canvas, Interpolation, Normalisation, Normaliser, Scratch,
    crop::Region,
    pipeline::check_image,
    resize::{Resize, resize},
};
use crate::{DataError, Image};

/// How an image is brought to the size of the network.
///
/// The reference's ImageNet evaluation is `resize: Some(256), crop: 224`. Without `resize`, an
/// image of `crop × crop` pixels stays untouched (CIFAR), and any other has its shorter side scaled to
/// `crop` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvaluationTransform {
    /// Length of the shorter side after scaling (antialiased bilinear).
    pub resize: Option<usize>,
    /// Side of the centre square that is kept.
    pub crop: usize,
}

/// Width and height of a picture whose smaller side is scaled to `side`. The length of the longer side is rounded
/// down.
fn size_with_smaller_side((width, height): (usize, usize), side: usize) -> (usize, usize) {
    let scaled = |long: usize, short: usize| (side as u128 * long as u128 / short as u128) as usize;
    match width <= height {
        true => (side, scaled(height, width)),
        false => (scaled(width, height), side),
    }
}

/// The whole image, scaled so that its smaller side has `side` pixels, as torchvision's `Resize` does.
///
/// # Errors
/// An image that does not hold as many values as its size says.
pub(crate) fn with_smaller_side(
    image: &Image,
    side: usize,
    scratch: &mut Scratch,
) -> Result<Image, String> {
    check_image(image, None)?;
    let (width, height) = (image.width, image.height);
    let size = size_with_smaller_side((width, height), side);
    let whole = |(width, height)| Region { top: 0, left: 0, height, width };
    let plan = Resize {
        region: whole((width, height)),
        size,
        window: whole(size),
        interpolation: Interpolation::Bilinear,
    };
    resize(image, &plan, &mut scratch.resize, &mut scratch.canvas);
    Ok(scratch.canvas.to_image())
}

impl EvaluationTransform {
    /// Checks the sizes.
    ///
    /// # Errors
    /// [`DataError::Setting`] when the crop is 0 or larger than the scaled side.
    pub fn check(&self) -> Result<(), DataError> {
        let side = self.resize.unwrap_or(self.crop);
        if self.crop == 0 || side < self.crop {
            return Err(DataError::Setting(format!(
                "evaluation: a crop of {} from a shorter side of {side}; expected a crop of at \
                 least 1 and not above the shorter side",
                self.crop
            )));
        }
        Ok(())
    }

    /// The transformed image, `crop × crop` pixels, on a canvas of `scratch`.
    ///
    /// # Errors
    /// [`DataError::Setting`] when `image` does not hold as many values for every pixel or is empty,
    /// or when the sizes make no sense.
    pub fn apply<'a>(
        &self,
        image: &Image,
        scratch: &'a mut Scratch,
    ) -> Result<&'a Canvas, DataError> {
        self.check()?;
        check_image(image, None).map_err(DataError::Setting)?;
        let side = self.resize.unwrap_or(self.crop);
        let (width, height) = (image.width, image.height);
        let size = size_with_smaller_side((width, height), side);
        let plan = Resize {
            region: Region { top: 0, left: 0, height, width },
            size,
            window: Region {
                top: half_to_even(size.1 - self.crop),
                left: half_to_even(size.0 - self.crop),
                height: self.crop,
                width: self.crop,
            },
            interpolation: Interpolation::Bilinear,
        };
        resize(image, &plan, &mut scratch.resize, &mut scratch.canvas);
        Ok(&scratch.canvas)
    }

    /// The transformed and normalised image: `out` is `[crop, crop, channels]`.
    ///
    /// # Errors
    /// As [`EvaluationTransform::apply`]; also, the image has another number of channels than `normaliser`.
    ///
    /// # Panics
    /// When `out` has another length.
    pub fn write(
        &self,
        image: &Image,
        normaliser: &Normaliser,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        check_image(image, Some(normaliser.channels())).map_err(DataError::Setting)?;
        normaliser.write(self.apply(image, scratch)?, false, out);
        Ok(())
    }

    /// The normaliser that belongs to `normalisation`.
    ///
    /// # Errors
    /// As [`Normaliser::new`].
    pub fn normaliser(normalisation: &Normalisation) -> Result<Normaliser, DataError> {
        Normaliser::new(normalisation)
    }
}

/// Half of `margin`, with halves rounded to the even neighbour.
fn half_to_even(margin: usize) -> usize {
    let half = margin / 2;
    if margin % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_of_the_right_size_stays_untouched() {
        let image =
            Image { width: 32, height: 32, values: (0..3072).map(|i| (i % 251) as u8).collect() };
        let transform = EvaluationTransform { resize: None, crop: 32 };
        let mut scratch = Scratch::default();
        assert_eq!(transform.apply(&image, &mut scratch).unwrap().to_image(), image);
    }

    #[test]
    fn images_of_any_shape_come_out_square() {
        let mut scratch = Scratch::default();
        for (width, height) in [(1, 1), (1, 100_000), (100_000, 1), (33, 31), (5, 640)] {
            let image = Image { width, height, values: vec![90; width * height * 3] };
            for (resize, crop) in [(None, 32), (Some(37), 32), (Some(256), 224), (None, 1)] {
                let canvas =
                    EvaluationTransform { resize, crop }.apply(&image, &mut scratch).unwrap();
                assert_eq!((canvas.width(), canvas.height()), (crop, crop));
                assert!(canvas.pixels().iter().all(|p| p[..3] == [90; 3]));
            }
        }
    }

    #[test]
    fn margins_are_halved_to_even_as_python_rounds() {
        let rounded = [0, 1, 2, 3, 4, 5, 6, 7].map(half_to_even);
        assert_eq!(rounded, [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn crop_above_the_scaled_side_is_refused() {
        for (resize, crop) in [(Some(31), 32), (None, 0)] {
            let transform = EvaluationTransform { resize, crop };
            let image = Image { width: 4, height: 4, values: vec![0; 48] };
            let error = transform.apply(&image, &mut Scratch::default()).unwrap_err().to_string();
            assert!(error.contains("expected a crop of at least 1"), "{error}");
        }
    }
}
