//! JPEG XL files: the numbers of the first picture, upright. Called by [`super::decode`].
//!
//! Lossless pictures have the bytes of libjxl; of lossy ones up to half of the values differ by a level, and some by two,
//! for the decoders round differently.

use jxl_oxide::{AllocTracker, JxlImage, JxlThreadPool, PixelFormat, image::BitDepth};
use tiff::decoder::DecodingResult as Numbers;

use super::samples::Samples;
use super::size::{MAX_PIXELS, check_size};

/// The first bytes of a file: of a bare picture, and of one in a container.
pub(super) const CODESTREAM: &[u8] = b"\xff\x0a";
pub(super) const CONTAINER: &[u8] = b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a";

/// The bytes that a pixel may take on average while it is decoded, where the picture has the largest size.
const BYTES_A_PIXEL: usize = 24;

/// Decodes the first picture. The file's own orientation is applied. With it comes the largest number of a file of 9 to 15
/// bits a sample, whose samples are scaled to all 16 bits here; `None` for other files.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn decode(bytes: &[u8]) -> Result<(Samples, Option<u32>), String> {
    let damaged =
        |error: Box<dyn std::error::Error + Send + Sync>| format!("damaged JPEG XL: {error}");
    let image = JxlImage::builder()
        // The workers of the loader are threads enough.
        .pool(JxlThreadPool::none())
        .alloc_tracker(AllocTracker::with_limit(MAX_PIXELS as usize * BYTES_A_PIXEL))
        .read(bytes)
        .map_err(damaged)?;
    check_size(u64::from(image.width()), u64::from(image.height()))?;
    let (colours, format) = match image.pixel_format() {
        format @ (PixelFormat::Gray | PixelFormat::Graya) => (1, format),
        format @ (PixelFormat::Rgb | PixelFormat::Rgba) => (3, format),
        PixelFormat::Cmyk | PixelFormat::Cmyka => {
            return Err("this kind of JPEG XL is not supported: CMYK; convert the image, for example to PNG"
                .to_owned());
        }
    };
    if !image.is_loading_done() {
        return Err(format!("damaged or truncated JPEG XL: it ends after {} bytes", bytes.len()));
    }
    let render = image.render_frame(0).map_err(damaged)?;
    let mut stream = render.stream();
    let (width, height, channels) = (stream.width(), stream.height(), stream.channels() as usize);
    if channels != format.channels() {
        return Err(format!("damaged JPEG XL: {channels} channels in the picture"));
    }
    let count = width as usize * height as usize * channels;
    let mut scaled_from = None;
    let numbers = match image.image_header().metadata.bit_depth {
        BitDepth::IntegerSample { bits_per_sample: ..=8 } => {
            let mut values = vec![0_u8; count];
            stream.write_to_buffer(&mut values);
            Numbers::U8(values)
        }
        // Samples of 9 to 15 bits are spread over all 16.
        BitDepth::IntegerSample { bits_per_sample } => {
            let mut values = vec![0_u16; count];
            stream.write_to_buffer(&mut values);
            scaled_from = (bits_per_sample < 16).then(|| (1 << bits_per_sample) - 1);
            Numbers::U16(values)
        }
        BitDepth::FloatSample { .. } => {
            let mut values = vec![0_f32; count];
            stream.write_to_buffer(&mut values);
            Numbers::F32(values)
        }
    };
    Ok((Samples { width, height, colours, channels, is_cmyk: false, numbers }, scaled_from))
}
