//! Small pictures on one large picture. Called by the page of a run, by
//! `vssl search --draw` and by [`crate::view_sheet()`].

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use crate::{DataError, EvaluationTransform, Image, augment::Scratch};

/// A picture that others are put on, row-major RGB.
pub struct Collage {
    width: usize,
    height: usize,
    side: usize,
    rgb: Vec<u8>,
}

impl Collage {
    /// An area of `width × height` pixels of grey `shade`, for pictures of `side × side` pixels.
    pub fn new(width: usize, height: usize, side: usize, shade: u8) -> Self {
        Self { width, height, side, rgb: vec![shade; width * height * 3] }
    }

    /// Scales the centre square of `image` and puts it with its upper left corner at (`x`, `y`).
    ///
    /// # Errors
    /// [`DataError::Setting`] when `image` does not hold as many values as its size says.
    ///
    /// # Panics
    /// When the square does not fit at this place.
    pub fn put(
        &mut self,
        (x, y): (usize, usize),
        image: &Image,
        scratch: &mut Scratch,
    ) -> Result<(), DataError> {
        let side = self.side;
        let transform = EvaluationTransform { resize: Some(side), crop: side };
        let picture = transform.apply(image, scratch)?.to_image();
        for (row, pixels) in picture.drawn().values.chunks_exact(side * 3).enumerate() {
            let start = ((y + row) * self.width + x) * 3;
            self.rgb[start..start + side * 3].copy_from_slice(pixels);
        }
        Ok(())
    }

    /// Puts `image` as it is, drawn as [`Image::drawn`] says, with its upper left corner at (`x`, `y`).
    ///
    /// # Panics
    /// When the image does not fit at this place.
    pub fn paste(&mut self, (x, y): (usize, usize), image: &Image) {
        let bytes = image.width * 3;
        for (row, pixels) in image.drawn().values.chunks_exact(bytes).enumerate() {
            let start = ((y + row) * self.width + x) * 3;
            self.rgb[start..start + bytes].copy_from_slice(pixels);
        }
    }

    /// Width and height of the whole picture in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Side of the pictures in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Encodes the whole picture as PNG.
    ///
    /// # Errors
    /// The message of the encoder.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        let mut png = Vec::new();
        self.encode(PngEncoder::new(&mut png))?;
        Ok(png)
    }

    /// Encodes the whole picture.
    ///
    /// # Errors
    /// The encoder's message, for instance when the format does not allow pictures of this size.
    pub fn encode(&self, encoder: impl ImageEncoder) -> Result<(), String> {
        let number = |size: usize| u32::try_from(size).map_err(|error| error.to_string());
        encoder
            .write_image(
                &self.rgb,
                number(self.width)?,
                number(self.height)?,
                ExtendedColorType::Rgb8,
            )
            .map_err(|error| error.to_string())
    }
}
