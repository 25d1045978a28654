//! Decodes the bytes of a file to an upright RGB [`Image`]. Called by [`super::folder::Folder`].
//!
//! The pixels are those of Pillow's `Image.open(f).convert("RGB")` after `exif_transpose`: grey is
//! repeated, alpha is dropped, palettes are looked up, and CMYK is read as Adobe writes it (inverted).
//! Lossless formats agree exactly; [`super::jpeg`] says how closely JPEGs do. Samples of 16 bits keep the
//! highest eight of the bits that the set uses, all 16 by default (where Pillow clips 16-bit grey at 255,
//! which loses the picture).

use std::io::Cursor;

use image::codecs::pnm::PnmDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};

use super::orientation::{self, upright};
use super::size::check_size;
use super::{jpeg, signature};
use crate::Image;
use crate::panics::caught;

/// Decodes an image. The content decides the format, not the extension: ImageNet has a PNG named
/// `.JPEG`. Of samples with 16 bits, the lowest `bits_used` (8 to 16) count;
/// a PNM file says itself how large its samples are.
///
/// # Errors
/// Why the bytes are not an image, for a [`crate::DataError::BadImage`].
pub(crate) fn decode(mut bytes: Vec<u8>, bits_used: u32) -> Result<Image, String> {
    let rgb = guarded(|| match image::guess_format(&bytes) {
        Ok(ImageFormat::Jpeg) => jpeg::decode(&mut bytes),
        _ => {
            let (image, orientation) = other(&bytes)?;
            // The decoder has scaled the samples by the largest one of the header.
            let bits = if is_scaled_pnm(&bytes) { 16 } else { bits_used };
            Ok(upright(eight_bits(image, bits)?, orientation))
        }
    })?;
    let (width, height) = rgb.dimensions();
    Ok(Image { width: width as usize, height: height as usize, rgb: rgb.into_raw() })
}

/// Whether a file that begins with `first` (64 bytes, unless the file is shorter) may have 16 bits a sample.
pub(crate) fn may_have_sixteen_bits(first: &[u8]) -> bool {
    match image::guess_format(first) {
        Ok(ImageFormat::Png) => first.get(24) == Some(&16),
        Ok(ImageFormat::Tiff) => true,
        // A header with comments may be longer.
        Ok(ImageFormat::Pnm) => largest_of_header(first).is_none_or(|largest| largest > 255),
        _ => false,
    }
}

/// The largest sample that the header of a PNM file allows; `None` where the header cannot be read.
fn largest_of_header(bytes: &[u8]) -> Option<u32> {
    let decoder = caught(|| PnmDecoder::new(Cursor::new(bytes)).ok()).ok().flatten()?;
    Some(decoder.into_inner().1.maximal_sample())
}

/// Whether this is a PNM file whose samples do not use all bits, which the decoder scales to all bits.
fn is_scaled_pnm(bytes: &[u8]) -> bool {
    matches!(image::guess_format(bytes), Ok(ImageFormat::Pnm))
        && largest_of_header(bytes).is_some_and(|largest| largest != u32::from(u16::MAX))
}

/// The largest sample of an image that has 16 bits a sample, of which a setting says how many are used;
/// `None` for other images, and for bytes that [`decode`] refuses.
pub(crate) fn largest_of_sixteen_bits(bytes: &[u8]) -> Option<u16> {
    let colours = match image::guess_format(bytes) {
        // The header says it, without all being decoded.
        _ if !may_have_sixteen_bits(bytes) || is_scaled_pnm(bytes) => return None,
        Ok(ImageFormat::Png | ImageFormat::Tiff | ImageFormat::Pnm) => {
            guarded(|| other(bytes)).ok()?.0
        }
        _ => return None,
    };
    match colours {
        DynamicImage::ImageLuma16(image) => image.iter().max().copied(),
        DynamicImage::ImageRgb16(image) => image.iter().max().copied(),
        // Alpha is not part of the picture.
        DynamicImage::ImageLumaA16(image) => image.pixels().map(|pixel| pixel.0[0]).max(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|pixel| pixel.0.into_iter().take(3)).max()
        }
        _ => None,
    }
}

fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    caught(decode).unwrap_or_else(|panic| Err(format!("the decoder panicked: {panic}")))
}

/// Decodes the formats other than JPEG.
fn other(bytes: &[u8]) -> Result<(DynamicImage, Option<Orientation>), String> {
    let format = match image::guess_format(bytes) {
        Ok(
            format @ (ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Tiff
            | ImageFormat::Pnm),
        ) => format,
        _ => return Err(signature::named(bytes)),
    };
    let damaged = |error: ImageError| match error {
        ImageError::Unsupported(error) => format!(
            "this kind of {} is not supported: {error}; convert the image, for example to PNG",
            format!("{format:?}").to_uppercase()
        ),
        error => format!("damaged {format:?}: {error}"),
    };
    let mut decoder =
        ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(u64::from(width), u64::from(height))?;
    // Broken metadata do not damage the pixels.
    let orientation = match format {
        ImageFormat::Tiff => decoder.orientation().ok(),
        _ => {
            let exif = decoder.exif_metadata().ok().flatten();
            let xmp = decoder.xmp_metadata().ok().flatten();
            orientation::of(exif.as_deref(), xmp.as_deref())
        }
    };
    Ok((DynamicImage::from_decoder(decoder).map_err(damaged)?, orientation))
}

/// Converts to RGB with 8 bits a sample. Of 16 bits, the highest eight of those in use are taken, as Pillow
/// does; `into_rgb8` would round.
///
/// # Errors
/// Samples that are floating-point numbers: nothing says which number is white.
fn eight_bits(image: DynamicImage, bits_used: u32) -> Result<RgbImage, String> {
    let short = |sample: u16| (sample >> (bits_used - 8)).min(255) as u8;
    let (width, height) = (image.width(), image.height());
    let rgb: Vec<u8> = match &image {
        DynamicImage::ImageLuma16(grey) => grey.iter().flat_map(|&y| [short(y); 3]).collect(),
        DynamicImage::ImageLumaA16(grey) => {
            grey.pixels().flat_map(|pixel| [short(pixel.0[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(rgb) => rgb.iter().map(|&sample| short(sample)).collect(),
        DynamicImage::ImageRgba16(rgba) => rgba
            .pixels()
            .flat_map(|pixel| {
                let [red, green, blue, _] = pixel.0;
                [short(red), short(green), short(blue)]
            })
            .collect(),
        DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_) => {
            return Err(
                "samples of 32-bit floating point are not read: convert the image to 8 or 16 bits"
                    .into(),
            );
        }
        _ => return Ok(image.into_rgb8()),
    };
    Ok(RgbImage::from_raw(width, height, rgb).expect("three bytes a pixel were collected"))
}
