//! Decodes the bytes of a file to an upright RGB [`Image`]. Called by [`super::folder::Folder`].
//!
//! The pixels are those of Pillow's `Image.open(f).convert("RGB")` after `exif_transpose`: grey is
//! repeated, alpha is dropped, palettes are looked up, 16-bit values keep their high byte (where
//! Pillow clips 16-bit grey at 255, which loses the picture) and CMYK is read as Adobe writes it
//! (inverted). Lossless formats agree exactly; a JPEG differs by the rounding of another inverse
//! transform: on 99 ImageNet photographs by 0.06 levels on average and 6 at most.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use crate::Image;
use crate::panics::caught;

/// Largest number of pixels; larger files are refused, as Pillow does against decompression bombs.
const MAX_PIXELS: u64 = 178_956_970;

/// Decodes an image. The content decides the format, not the extension: ImageNet has a PNG named
/// `.JPEG`.
///
/// # Errors
/// Why the bytes are not an image, for a [`crate::DataError::BadImage`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Image, String> {
    let decoded = caught(|| decoded(bytes));
    decoded.unwrap_or_else(|panic| Err(format!("the decoder panicked: {panic}")))
}

fn decoded(bytes: &[u8]) -> Result<Image, String> {
    let rgb = match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg(bytes)?,
        Ok(format @ (ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp)) => {
            other(bytes, format)?
        }
        _ if bytes.is_empty() => return Err("the file is empty".into()),
        _ => {
            return Err(format!(
                "not a JPEG, PNG, WebP or BMP image: it starts with {:02x?}",
                &bytes[..bytes.len().min(8)]
            ));
        }
    };
    let (width, height) = rgb.dimensions();
    Ok(Image { width: width as usize, height: height as usize, rgb: rgb.into_raw() })
}

fn jpeg(bytes: &[u8]) -> Result<RgbImage, String> {
    if !ends(bytes) {
        return Err("truncated JPEG: its end marker is missing".into());
    }
    match decode_jpeg(bytes, true) {
        // This complaint of strict mode costs no pixel; libjpeg only warns.
        Err(DecodeErrors::FormatStatic(text)) if text.contains("Extra bytes between headers") => {
            decode_jpeg(bytes, false)
        }
        result => result,
    }
    .map_err(|error| format!("damaged JPEG: {error:?}"))
}

/// Whether an end-of-image marker follows the first scan. The decoder alone would fill in the last
/// few blocks of a file cut shortly before its end; Pillow refuses such a file too.
fn ends(bytes: &[u8]) -> bool {
    let mut position = 2;
    while let Some(&[prefix, marker]) = bytes.get(position..position + 2) {
        match (prefix, marker) {
            (0xff, 0xda) => break,
            (0xff, 0xc0..=0xfe) => {
                let Some(&[high, low]) = bytes.get(position + 2..position + 4) else {
                    return false;
                };
                position += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
            _ => position += 1,
        }
    }
    // The search runs backwards, because the marker of a good file is at its end.
    bytes.get(position..).is_some_and(|rest| rest.windows(2).rev().any(|pair| pair == [0xff, 0xd9]))
}

/// Decodes a JPEG. `strict` makes a truncated file an error; otherwise its missing part is grey.
fn decode_jpeg(bytes: &[u8], strict: bool) -> Result<RgbImage, DecodeErrors> {
    let options = DecoderOptions::default()
        .set_strict_mode(strict)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers()?;
    let (width, height) = decoder.dimensions().unwrap_or((0, 0));
    check_size(width as u64, height as u64).map_err(DecodeErrors::Format)?;
    let pixels = decoder.decode()?;
    let rgb = RgbImage::from_raw(width as u32, height as u32, pixels)
        .ok_or(DecodeErrors::FormatStatic("the number of samples does not fit three channels"))?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    Ok(upright(DynamicImage::ImageRgb8(rgb), orientation).into_rgb8())
}

fn other(bytes: &[u8], format: ImageFormat) -> Result<RgbImage, String> {
    let damaged = |error: image::ImageError| format!("damaged {format:?}: {error}");
    let mut decoder =
        ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(u64::from(width), u64::from(height))?;
    // A broken EXIF block does not damage the pixels.
    let orientation = decoder.orientation().ok();
    let image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    Ok(upright(high_bytes(image), orientation).into_rgb8())
}

fn check_size(width: u64, height: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("{width}×{height} pixels: an image needs at least one"));
    }
    if width * height > MAX_PIXELS {
        return Err(format!("{width}×{height} pixels: more than {MAX_PIXELS} are refused"));
    }
    Ok(())
}

fn upright(mut image: DynamicImage, orientation: Option<Orientation>) -> DynamicImage {
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    image
}

/// Converts 16 bits to 8 by the high byte, as Pillow does; `into_rgb8` would round.
fn high_bytes(image: DynamicImage) -> DynamicImage {
    fn halve(samples: &[u16]) -> impl Iterator<Item = u8> {
        samples.iter().map(|&sample| (sample >> 8) as u8)
    }
    let (width, height) = (image.width(), image.height());
    let rgb: Vec<u8> = match &image {
        DynamicImage::ImageLuma16(grey) => halve(grey).flat_map(|y| [y; 3]).collect(),
        DynamicImage::ImageLumaA16(grey) => halve(grey).step_by(2).flat_map(|y| [y; 3]).collect(),
        DynamicImage::ImageRgb16(rgb) => halve(rgb).collect(),
        DynamicImage::ImageRgba16(rgba) => {
            rgba.chunks_exact(4).flat_map(|pixel| halve(&pixel[..3])).collect()
        }
        _ => return image,
    };
    let rgb = RgbImage::from_raw(width, height, rgb).expect("three bytes a pixel were collected");
    DynamicImage::ImageRgb8(rgb)
}
