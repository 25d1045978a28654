//! The working image of a view: one 32-bit word a pixel, so that a colour operation is a loop over
//! words without any shuffling of bytes.

use super::crop::Region;
use crate::Image;

/// Four bytes of a pixel: red, green, blue and a fourth byte that is not used, or up to four of the channels of an
/// image that has not three of them.
pub type Pixel = [u8; 4];

/// The number of channels that a layer of a canvas holds.
pub(super) const LAYER: usize = 4;

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

/// The channels of one layer in `values`, all channels of a pixel; the bytes behind them are zero.
#[inline(always)]
pub(super) fn in_layer(values: &[u8], layer: usize) -> Pixel {
    let mut pixel = [0; LAYER];
    for (own, &value) in pixel.iter_mut().zip(&values[layer * LAYER..]) {
        *own = value;
    }
    pixel
}

/// An image that is being worked on: a layer for each four channels, and in each layer row after row. Its memory is
/// kept between images.
#[derive(Clone, Debug, Default)]
pub struct Canvas {
    width: usize,
    height: usize,
    channels: usize,
    /// `[layers, height, width]`.
    pixels: Vec<Pixel>,
}

impl Canvas {
    /// A canvas with a copy of `image`.
    ///
    /// # Panics
    /// When `image` does not hold as many values for every pixel.
    pub fn from_image(image: &Image) -> Self {
        assert!(image.channels() > 0, "an image of another size");
        let mut canvas = Self::default();
        let whole = Region { top: 0, left: 0, height: image.height, width: image.width };
        canvas.copy(image, whole);
        canvas
    }

    /// The content of the canvas as an image.
    pub fn to_image(&self) -> Image {
        let Self { width, height, channels, .. } = *self;
        let mut values = vec![0; width * height * channels];
        if channels == 3 {
            for (out, pixel) in values.as_chunks_mut::<3>().0.iter_mut().zip(&self.pixels) {
                *out = [pixel[0], pixel[1], pixel[2]];
            }
        } else {
            for (layer, pixels) in self.pixels.chunks_exact((width * height).max(1)).enumerate() {
                for (out, pixel) in values.chunks_exact_mut(channels).zip(pixels) {
                    out[layer * LAYER..].iter_mut().zip(pixel).for_each(|(out, own)| *out = *own);
                }
            }
        }
        Image { width, height, values }
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All pixels, row after row, of each four channels after those before.
    pub fn pixels(&self) -> &[Pixel] {
        &self.pixels
    }

    pub(super) fn pixels_mut(&mut self) -> &mut [Pixel] {
        &mut self.pixels
    }

    /// The number of layers.
    pub(super) fn layers(&self) -> usize {
        self.channels.div_ceil(LAYER)
    }

    /// The pixels of one layer, row after row.
    pub(super) fn layer(&self, layer: usize) -> &[Pixel] {
        let area = self.width * self.height;
        &self.pixels[layer * area..][..area]
    }

    pub(super) fn layer_mut(&mut self, layer: usize) -> &mut [Pixel] {
        let area = self.width * self.height;
        &mut self.pixels[layer * area..][..area]
    }

    /// Gives the canvas a size; its pixels are unspecified afterwards.
    pub(super) fn reshape(&mut self, width: usize, height: usize, channels: usize) {
        (self.width, self.height, self.channels) = (width, height, channels);
        self.pixels.resize(width * height * channels.div_ceil(LAYER), [0; LAYER]);
    }

    /// Copies `region` of `image` to the canvas.
    pub(super) fn copy(&mut self, image: &Image, region: Region) {
        let channels = image.channels();
        self.reshape(region.width, region.height, channels);
        for layer in 0..self.layers() {
            let rows = image.values.chunks_exact(image.width * channels).skip(region.top);
            for (out, row) in self.layer_mut(layer).chunks_exact_mut(region.width).zip(rows) {
                let row = &row[region.left * channels..][..region.width * channels];
                copy_row(row, (channels, layer), out);
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

/// Copies the channels of one layer of a row.
pub(super) fn copy_row(row: &[u8], (channels, layer): (usize, usize), out: &mut [Pixel]) {
    if channels == 3 {
        for (pixel, &[r, g, b]) in out.iter_mut().zip(row.as_chunks::<3>().0) {
            *pixel = [r, g, b, 0];
        }
    } else {
        for (pixel, values) in out.iter_mut().zip(row.chunks_exact(channels)) {
            *pixel = in_layer(values, layer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_survives_the_round_trip_and_two_flips() {
        let image = Image { width: 3, height: 2, values: (0..18).collect() };
        let mut canvas = Canvas::from_image(&image);
        assert_eq!(canvas.to_image(), image);
        canvas.flip();
        assert_eq!(canvas.to_image().values[..9], [6, 7, 8, 3, 4, 5, 0, 1, 2]);
        canvas.flip();
        assert_eq!(canvas.to_image(), image);
        for channels in 1..=9 {
            let values: Vec<u8> = (0..6 * channels).collect();
            let image = Image { width: 3, height: 2, values };
            let mut canvas = Canvas::from_image(&image);
            assert_eq!((canvas.channels(), canvas.to_image()), (channels.into(), image.clone()));
            canvas.flip();
            let last = usize::from(channels) * 2;
            assert_eq!(canvas.to_image().values[..last / 2], image.values[last..][..last / 2]);
        }
    }
}
