//! The working image of a view: one 32-bit word a pixel, so that a colour operation is a loop over
//! words without any shuffling of bytes.

use super::crop::Region;
use crate::Image;

/// Red, green, blue, and a fourth byte that is not used.
pub type Pixel = [u8; 4];

/// The three channels of `pixel`.
#[inline(always)]
pub(super) fn unpack(pixel: Pixel) -> [i32; 3] {
    let word = u32::from_le_bytes(pixel) as i32;
    [word & 255, (word >> 8) & 255, (word >> 16) & 255]
}

/// The pixel of three channels from 0 to 255.
#[inline(always)]
pub(super) fn pack([r, g, b]: [i32; 3]) -> Pixel {
    ((r | (g << 8) | (b << 16)) as u32).to_le_bytes()
}

/// An image that is being worked on, row-major. Its memory is kept between images.
#[derive(Clone, Debug, Default)]
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Pixel>,
}

impl Canvas {
    /// A canvas with a copy of `image`.
    ///
    /// # Panics
    /// When `image` does not hold `height · width · 3` values.
    pub fn from_image(image: &Image) -> Self {
        assert_eq!(image.rgb.len(), image.width * image.height * 3, "an image of another size");
        let mut canvas = Self::default();
        let whole = Region { top: 0, left: 0, height: image.height, width: image.width };
        canvas.copy(image, whole);
        canvas
    }

    /// The content of the canvas as an image.
    pub fn to_image(&self) -> Image {
        let mut rgb = vec![0; self.pixels.len() * 3];
        for (out, pixel) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(&self.pixels) {
            *out = [pixel[0], pixel[1], pixel[2]];
        }
        Image { width: self.width, height: self.height, rgb }
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All pixels, row after row.
    pub fn pixels(&self) -> &[Pixel] {
        &self.pixels
    }

    pub(super) fn pixels_mut(&mut self) -> &mut [Pixel] {
        &mut self.pixels
    }

    /// Gives the canvas a size; its pixels are unspecified afterwards.
    pub(super) fn reshape(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.pixels.resize(width * height, [0; 4]);
    }

    /// Copies `region` of `image` to the canvas.
    pub(super) fn copy(&mut self, image: &Image, region: Region) {
        self.reshape(region.width, region.height);
        let rows = image.rgb.chunks_exact(image.width * 3).skip(region.top);
        for (out, row) in self.pixels.chunks_exact_mut(region.width).zip(rows) {
            let row = &row[region.left * 3..][..region.width * 3];
            for (pixel, &[r, g, b]) in out.iter_mut().zip(row.as_chunks::<3>().0) {
                *pixel = [r, g, b, 0];
            }
        }
    }

    /// Mirrors left and right.
    pub fn flip(&mut self) {
        for row in self.pixels.chunks_exact_mut(self.width.max(1)) {
            row.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_survives_the_round_trip_and_two_flips() {
        let image = Image { width: 3, height: 2, rgb: (0..18).collect() };
        let mut canvas = Canvas::from_image(&image);
        assert_eq!(canvas.to_image(), image);
        canvas.flip();
        assert_eq!(canvas.to_image().rgb[..9], [6, 7, 8, 3, 4, 5, 0, 1, 2]);
        canvas.flip();
        assert_eq!(canvas.to_image(), image);
    }
}
