//! Puts many small pictures on one sheet: a page with thousands of image files would not load.

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder};
use serde::Serialize;
use vssl_data::{Collage, Image, augment::Scratch};

use super::PageError;

/// Side of JPEG's blocks. Cells whose side is a multiple of it do not bleed into each other.
const BLOCK: usize = 8;

/// JPEG quality, of 100; above it the sheet grows faster than the pictures get better.
const QUALITY: u8 = 88;

/// A sheet of square cells, row after row.
pub(super) struct Canvas {
    collage: Collage,
    columns: usize,
    count: usize,
}

/// A sheet as the page holds it.
#[derive(Clone, Debug, Serialize)]
pub struct Sheet {
    /// The sheet as JPEG in base64.
    pub(super) jpeg: String,
    /// Width and height of a cell, pixels.
    pub(super) side: usize,
    /// Number of cells in a row.
    pub(super) columns: usize,
    /// Number of rows.
    pub(super) rows: usize,
}

/// Side of the cells for pictures of `size` pixels, at most `most`.
pub(super) fn cell(size: usize, most: usize) -> usize {
    size.next_multiple_of(BLOCK).min(most)
}

impl Canvas {
    /// An empty sheet of `count` cells.
    pub(super) fn new(side: usize, columns: usize, count: usize) -> Self {
        let rows = count.div_ceil(columns);
        Self { collage: Collage::new(columns * side, rows * side, side, 0), columns, count }
    }

    /// Scales `image` and puts it into cell `at`.
    ///
    /// # Errors
    /// An image that does not hold what its size promises.
    pub(super) fn put(
        &mut self,
        at: usize,
        image: &Image,
        scratch: &mut Scratch,
    ) -> Result<(), PageError> {
        let side = self.side();
        let corner = (at % self.columns * side, at / self.columns * side);
        Ok(self.collage.put(corner, image, scratch)?)
    }

    /// The sheet for the page.
    ///
    /// # Errors
    /// A sheet that is larger than the format allows.
    pub(super) fn sheet(&self) -> Result<Sheet, PageError> {
        let mut jpeg = Vec::new();
        self.encode(JpegEncoder::new_with_quality(&mut jpeg, QUALITY))?;
        let rows = self.count.div_ceil(self.columns);
        Ok(Sheet { jpeg: STANDARD.encode(jpeg), side: self.side(), columns: self.columns, rows })
    }

    /// Width and height of a cell, pixels.
    pub(super) fn side(&self) -> usize {
        self.collage.side()
    }

    /// The sheet as PNG.
    ///
    /// # Errors
    /// As [`Canvas::sheet`].
    pub(super) fn png(&self) -> Result<Vec<u8>, PageError> {
        let mut png = Vec::new();
        self.encode(PngEncoder::new(&mut png))?;
        Ok(png)
    }

    fn encode(&self, encoder: impl ImageEncoder) -> Result<(), PageError> {
        let (count, side) = (self.count, self.side());
        self.collage.encode(encoder).map_err(|what| PageError::Picture { count, side, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_lies_in_its_cell() {
        let mut canvas = Canvas::new(8, 3, 5);
        let mut scratch = Scratch::default();
        for at in 0..5 {
            let image = Image { width: 4, height: 6, values: vec![10 * at as u8 + 5; 4 * 6 * 3] };
            canvas.put(at, &image, &mut scratch).unwrap();
        }
        let png = image::load_from_memory(&canvas.png().unwrap()).unwrap().to_rgb8();
        assert_eq!(png.dimensions(), (24, 16));
        for (x, y, pixel) in png.enumerate_pixels() {
            let at = (y / 8) * 3 + x / 8;
            let expected = if at < 5 { 10 * at as u8 + 5 } else { 0 };
            assert_eq!(pixel.0, [expected; 3], "{x}, {y}");
        }
        let sheet = canvas.sheet().unwrap();
        assert_eq!((sheet.columns, sheet.rows, sheet.side), (3, 2, 8));
        assert!(STANDARD.decode(sheet.jpeg).unwrap().starts_with(&[0xff, 0xd8, 0xff]));
    }

    #[test]
    fn cells_end_at_blocks() {
        assert_eq!([28, 32, 224].map(|size| cell(size, 48)), [32, 32, 48]);
    }
}
