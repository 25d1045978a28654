//! Many small pictures on one sheet: a page with thousands of image files in it would not load.

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder};
use serde::Serialize;
use vssl_data::{EvaluationTransform, Image, augment::Scratch};

use super::PageError;

/// JPEG's blocks: cells that are a multiple of it do not bleed into each other.
const BLOCK: usize = 8;

/// Of 100; above it the sheet grows faster than the pictures get better.
const QUALITY: u8 = 88;

/// Square pictures, row after row.
pub(super) struct Canvas {
    rgb: Vec<u8>,
    side: usize,
    columns: usize,
    count: usize,
}

/// The sheet as it goes into the page.
#[derive(Clone, Debug, Serialize)]
pub struct Sheet {
    /// JPEG, base64.
    pub(super) jpeg: String,
    /// Width and height of a cell, pixels.
    pub(super) side: usize,
    /// Cells in a row.
    pub(super) columns: usize,
    /// Rows.
    pub(super) rows: usize,
}

/// Width and height of the cells for pictures of `size` pixels, at most `most`.
pub(super) fn cell(size: usize, most: usize) -> usize {
    size.next_multiple_of(BLOCK).min(most)
}

impl Canvas {
    /// A sheet of `count` cells.
    pub(super) fn new(side: usize, columns: usize, count: usize) -> Self {
        let rows = count.div_ceil(columns);
        Self { rgb: vec![0; rows * columns * side * side * 3], side, columns, count }
    }

    /// Scales `image` to cell `at`.
    ///
    /// # Errors
    /// An image that does not hold what its size promises.
    pub(super) fn put(
        &mut self,
        at: usize,
        image: &Image,
        scratch: &mut Scratch,
    ) -> Result<(), PageError> {
        let side = self.side;
        let transform = EvaluationTransform { resize: Some(side), crop: side };
        let picture = transform.apply(image, scratch)?.to_image();
        let width = self.columns * side * 3;
        let corner = (at / self.columns) * side * width + (at % self.columns) * side * 3;
        for (row, pixels) in picture.rgb.chunks_exact(side * 3).enumerate() {
            let start = corner + row * width;
            self.rgb[start..start + side * 3].copy_from_slice(pixels);
        }
        Ok(())
    }

    /// As it goes into the page.
    ///
    /// # Errors
    /// A sheet that is larger than the format allows.
    pub(super) fn sheet(&self) -> Result<Sheet, PageError> {
        let mut jpeg = Vec::new();
        self.encode(JpegEncoder::new_with_quality(&mut jpeg, QUALITY))?;
        let rows = self.count.div_ceil(self.columns);
        let Self { side, columns, .. } = *self;
        Ok(Sheet { jpeg: STANDARD.encode(jpeg), side, columns, rows })
    }

    /// Width and height of a cell, pixels.
    pub(super) fn side(&self) -> usize {
        self.side
    }

    /// Without loss.
    ///
    /// # Errors
    /// As [`Canvas::sheet`].
    pub(super) fn png(&self) -> Result<Vec<u8>, PageError> {
        let mut png = Vec::new();
        self.encode(PngEncoder::new(&mut png))?;
        Ok(png)
    }

    fn encode(&self, encoder: impl ImageEncoder) -> Result<(), PageError> {
        let Self { side, columns, count, .. } = *self;
        let (width, height) = (columns * side, count.div_ceil(columns) * side);
        let problem = |what: String| PageError::Picture { count, side, what };
        let number = |size: usize| u32::try_from(size).map_err(|error| problem(error.to_string()));
        encoder
            .write_image(&self.rgb, number(width)?, number(height)?, ExtendedColorType::Rgb8)
            .map_err(|error| problem(error.to_string()))
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
            let image = Image { width: 4, height: 6, rgb: vec![10 * at as u8 + 5; 4 * 6 * 3] };
            canvas.put(at, &image, &mut scratch).unwrap();
        }
        for y in 0..16 {
            for x in 0..24 {
                let at = (y / 8) * 3 + x / 8;
                let expected = if at < 5 { 10 * at as u8 + 5 } else { 0 };
                assert_eq!(canvas.rgb[(y * 24 + x) * 3], expected, "{x}, {y}");
            }
        }
        let sheet = canvas.sheet().unwrap();
        assert_eq!((sheet.columns, sheet.rows, sheet.side), (3, 2, 8));
        assert!(STANDARD.decode(sheet.jpeg).unwrap().starts_with(&[0xff, 0xd8, 0xff]));
        assert!(canvas.png().unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn cells_end_at_blocks() {
        assert_eq!([28, 32, 224].map(|size| cell(size, 48)), [32, 32, 48]);
    }
}
