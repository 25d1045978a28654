//! Decodes the bytes of a file to an upright RGB [`Image`]. Called by the data sets whose images are files.
//!
//! The pixels are those of Pillow's `Image.open(f).convert("RGB")` after `exif_transpose`: grey is
//! repeated, alpha is dropped, palettes are looked up, and CMYK is read as Adobe writes it (inverted in a JPEG).
//! Lossless formats agree exactly; [`super::jpeg`] says how closely JPEGs do. What samples of more than 8 bits
//! become, [`super::tones`] says; Pillow clips 16-bit grey at 255, which loses the picture.

use std::io::Cursor;

use ::tiff::decoder::DecodingResult as Numbers;
use image::codecs::pnm::PnmDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};

use super::orientation::{self, upright};
use super::size::check_size;
use super::tones::{Samples, Tones};
use super::{gif, jpeg, signature, tiff};
use crate::Image;
use crate::panics::caught;

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Jpeg,
    Gif,
    Tiff,
    /// A PNG, WebP, BMP or PNM, which the crate `image` reads.
    Other(ImageFormat),
}

impl Kind {
    /// The format of a file that begins with `bytes`.
    fn of(bytes: &[u8]) -> Option<Self> {
        // The crate `image` does not know BigTIFF.
        if bytes.starts_with(b"II\x2b\0") || bytes.starts_with(b"MM\0\x2b") {
            return Some(Self::Tiff);
        }
        Some(match image::guess_format(bytes).ok()? {
            ImageFormat::Jpeg => Self::Jpeg,
            ImageFormat::Gif => Self::Gif,
            ImageFormat::Tiff => Self::Tiff,
            format @ (ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Pnm) => Self::Other(format),
            _ => return None,
        })
    }
}

/// Decodes an image. The content decides the format, not the extension: ImageNet has a PNG named
/// `.JPEG`. A PNM file says itself how large its samples are.
///
/// # Errors
/// Why the bytes are not an image, for a [`crate::DataError::BadImage`].
pub(crate) fn decode(mut bytes: Vec<u8>, tones: Tones) -> Result<Image, String> {
    let rgb = guarded(|| match Kind::of(&bytes) {
        Some(Kind::Jpeg) => jpeg::decode(&mut bytes),
        Some(Kind::Gif) => gif::decode(&bytes),
        Some(Kind::Tiff) => {
            let (samples, orientation) = tiff::decode(&mut bytes)?;
            Ok(upright(samples.rgb(tones)?, orientation))
        }
        Some(Kind::Other(format)) => {
            let (image, orientation) = other(&bytes, format)?;
            Ok(upright(eight_bits(image, &bytes, tones)?, orientation))
        }
        None => Err(signature::named(&bytes)),
    })?;
    let (width, height) = rgb.dimensions();
    Ok(Image { width: width as usize, height: height as usize, rgb: rgb.into_raw() })
}

/// Whether a file that begins with `first` (64 bytes, unless the file is shorter) may have 16 bits a sample.
pub(crate) fn may_have_sixteen_bits(first: &[u8]) -> bool {
    match Kind::of(first) {
        Some(Kind::Other(ImageFormat::Png)) => first.get(24) == Some(&16),
        Some(Kind::Tiff) => true,
        // A header with comments may be longer.
        Some(Kind::Other(ImageFormat::Pnm)) => {
            largest_of_header(first).is_none_or(|largest| largest > 255)
        }
        _ => false,
    }
}

/// The largest sample that the header of a PNM file allows; `None` where the header cannot be read.
fn largest_of_header(bytes: &[u8]) -> Option<u32> {
    let decoder = caught(|| PnmDecoder::new(Cursor::new(bytes)).ok()).ok().flatten()?;
    Some(decoder.into_inner().1.maximal_sample())
}

/// The largest sample of the header of a PNM file whose samples do not use all bits, which the decoder scales to
/// all bits; `None` for other files.
fn scaled_from(bytes: &[u8]) -> Option<u32> {
    let is_pnm = Kind::of(bytes) == Some(Kind::Other(ImageFormat::Pnm));
    let largest = if is_pnm { largest_of_header(bytes) } else { None };
    largest.filter(|&largest| largest != u32::from(u16::MAX))
}

/// The largest sample of an image that has 16 bits a sample, of which a setting says how many are used;
/// `None` for other images, and for bytes that [`decode`] refuses.
pub(crate) fn largest_of_sixteen_bits(bytes: &[u8]) -> Option<u16> {
    // The header says it, without all being decoded.
    if !may_have_sixteen_bits(bytes) || scaled_from(bytes).is_some() {
        return None;
    }
    let samples = guarded(|| match Kind::of(bytes) {
        Some(Kind::Tiff) if tiff::is_wide(bytes) => Ok(tiff::decode(&mut bytes.to_vec())?.0),
        Some(Kind::Other(format)) => {
            wide(other(bytes, format)?.0).map_err(|_| "it has 8 bits a sample".to_owned())
        }
        _ => Err("it has 8 bits a sample".to_owned()),
    });
    let Samples { colours, channels, numbers: Numbers::U16(values), .. } = samples.ok()? else {
        return None;
    };
    // Alpha is not part of the picture.
    values.chunks_exact(channels).flat_map(|pixel| &pixel[..colours]).max().copied()
}

fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    caught(decode).unwrap_or_else(|panic| Err(format!("the decoder panicked: {panic}")))
}

/// Decodes the formats that the crate `image` reads.
fn other(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Option<Orientation>), String> {
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
    let exif = decoder.exif_metadata().ok().flatten();
    let xmp = decoder.xmp_metadata().ok().flatten();
    let orientation = orientation::of(exif.as_deref(), xmp.as_deref());
    Ok((DynamicImage::from_decoder(decoder).map_err(damaged)?, orientation))
}

/// The numbers of an image with 16 bits a sample; the image itself where it has 8.
fn wide(image: DynamicImage) -> Result<Samples, DynamicImage> {
    let (width, height) = (image.width(), image.height());
    let (colours, channels, values) = match image {
        DynamicImage::ImageLuma16(grey) => (1, 1, grey.into_raw()),
        DynamicImage::ImageLumaA16(grey) => (1, 2, grey.into_raw()),
        DynamicImage::ImageRgb16(rgb) => (3, 3, rgb.into_raw()),
        DynamicImage::ImageRgba16(rgba) => (3, 4, rgba.into_raw()),
        other => return Err(other),
    };
    Ok(Samples { width, height, colours, channels, numbers: Numbers::U16(values) })
}

/// Converts to RGB with 8 bits a sample. Of 16 bits, the highest eight of those in use are taken by default, as
/// Pillow does; `into_rgb8` would round.
fn eight_bits(image: DynamicImage, bytes: &[u8], tones: Tones) -> Result<RgbImage, String> {
    match wide(image) {
        Err(image) => Ok(image.into_rgb8()),
        Ok(mut samples) => {
            let mut tones = tones;
            if let (Some(largest), Numbers::U16(values)) =
                (scaled_from(bytes), &mut samples.numbers)
            {
                match tones.range.is_full() {
                    // The decoder has scaled the samples by the largest one of the header.
                    true => tones.bits_used = 16,
                    // A range is in the numbers of the file.
                    false => values.iter_mut().for_each(|value| {
                        *value = ((u32::from(*value) * largest + 32_767) / 65_535) as u16;
                    }),
                }
            }
            samples.rgb(tones)
        }
    }
}
