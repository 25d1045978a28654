//! Decodes the bytes of a file to an upright [`Image`], in RGB unless another number of channels is asked for. Called by
//! the data sets whose images are files.
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

use super::orientation::{self, turned, upright};
use super::samples::{Refused, Samples, grey};
use super::size::check_size;
use super::stored::Stored;
use super::tones::{Range, Tones};
use super::{gif, jpeg, jxl, signature, tiff};
use crate::Image;
use crate::panics::caught;

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Jpeg,
    JpegXl,
    Gif,
    Tiff,
    /// What the crate `image` reads.
    Other(Plain),
}

/// A format that the crate `image` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Png,
    WebP,
    Bmp,
    Pnm,
}

impl Plain {
    fn format(self) -> ImageFormat {
        match self {
            Self::Png => ImageFormat::Png,
            Self::WebP => ImageFormat::WebP,
            Self::Bmp => ImageFormat::Bmp,
            Self::Pnm => ImageFormat::Pnm,
        }
    }
}

impl Kind {
    /// The format of a file that begins with `bytes`.
    fn of(bytes: &[u8]) -> Option<Self> {
        // The crate `image` does not know BigTIFF.
        if bytes.starts_with(b"II\x2b\0") || bytes.starts_with(b"MM\0\x2b") {
            return Some(Self::Tiff);
        }
        if bytes.starts_with(jxl::CODESTREAM) || bytes.starts_with(jxl::CONTAINER) {
            return Some(Self::JpegXl);
        }
        Some(match image::guess_format(bytes).ok()? {
            ImageFormat::Jpeg => Self::Jpeg,
            ImageFormat::Gif => Self::Gif,
            ImageFormat::Tiff => Self::Tiff,
            ImageFormat::Png => Self::Other(Plain::Png),
            ImageFormat::WebP => Self::Other(Plain::WebP),
            ImageFormat::Bmp => Self::Other(Plain::Bmp),
            ImageFormat::Pnm => Self::Other(Plain::Pnm),
            _ => return None,
        })
    }
}

/// The usual ending of the name of an image file by what it holds; `None` for what is not read.
pub(crate) fn ending_of(bytes: &[u8]) -> Option<&'static str> {
    Some(match Kind::of(bytes)? {
        Kind::Jpeg => "jpg",
        Kind::JpegXl => "jxl",
        Kind::Gif => "gif",
        Kind::Tiff => "tif",
        Kind::Other(Plain::Png) => "png",
        Kind::Other(Plain::WebP) => "webp",
        Kind::Other(Plain::Bmp) => "bmp",
        Kind::Other(Plain::Pnm) => "pnm",
    })
}

/// Decodes an image. The content decides the format, not the extension: ImageNet has a PNG named
/// `.JPEG`. A PNM file says itself how large its samples are. An image of 3 channels is in RGB; one of another number
/// has the channels of the file.
///
/// # Errors
/// Why the bytes are not an image, or not one of so many channels, for a [`crate::DataError::BadImage`].
pub(crate) fn decode(bytes: Vec<u8>, tones: Tones, channels: usize) -> Result<Image, String> {
    read(bytes, tones, channels).map_err(String::from)
}

/// Whether the picture in these bytes, which is whole, is refused because it has not so many channels.
pub(super) fn has_other_channels(bytes: Vec<u8>, channels: usize) -> bool {
    // With percentiles no numbers lack a black and a white.
    let tones = Tones { range: Range::Percentiles, ..Tones::default() };
    matches!(read(bytes, tones, channels), Err(Refused::Channels(_)))
}

fn read(bytes: Vec<u8>, tones: Tones, channels: usize) -> Result<Image, Refused> {
    guarded(|| match channels {
        3 => rgb(bytes, tones).map(in_three),
        _ => in_channels(bytes, tones, channels),
    })
}

fn in_three(rgb: RgbImage) -> Image {
    let (width, height) = rgb.dimensions();
    Image { width: width as usize, height: height as usize, values: rgb.into_raw() }
}

/// The picture in RGB.
fn rgb(mut bytes: Vec<u8>, tones: Tones) -> Result<RgbImage, Refused> {
    match Kind::of(&bytes) {
        Some(Kind::Jpeg) => Ok(jpeg::decode(&mut bytes)?),
        Some(Kind::JpegXl) => {
            let (samples, scaled_from) = jxl::decode(&bytes)?;
            let (samples, tones) = unscaled(samples, scaled_from, tones);
            samples.rgb(tones)
        }
        Some(Kind::Gif) => Ok(gif::decode(&bytes)?),
        Some(Kind::Tiff) => {
            let (samples, orientation) = tiff::decode(&mut bytes)?;
            Ok(upright(samples.rgb(tones)?, orientation))
        }
        Some(Kind::Other(format)) => {
            let (image, orientation) = other(&bytes, format)?;
            Ok(upright(eight_bits(image, &bytes, tones)?, orientation))
        }
        None => Err(signature::named(&bytes).into()),
    }
}

/// The picture with exactly so many channels, as they are stored.
fn in_channels(mut bytes: Vec<u8>, tones: Tones, channels: usize) -> Result<Image, Refused> {
    let (samples, tones, orientation) = match Kind::of(&bytes) {
        // These are read as RGB, be they grey or not.
        Some(Kind::Jpeg | Kind::Gif) => {
            let rgb = in_three(rgb(bytes, tones)?);
            return match channels {
                1 => grey(&rgb),
                _ => Err(Refused::Channels(format!(
                    "it has 3 channels or is grey; expected {channels} (data.channels)"
                ))),
            };
        }
        Some(Kind::JpegXl) => {
            let (samples, scaled_from) = jxl::decode(&bytes)?;
            let (samples, tones) = unscaled(samples, scaled_from, tones);
            (samples, tones, None)
        }
        Some(Kind::Tiff) => {
            let (samples, orientation) = tiff::decode(&mut bytes)?;
            (samples, tones, orientation)
        }
        Some(Kind::Other(format)) => {
            let (image, orientation) = other(&bytes, format)?;
            let (samples, tones) = match wide(image) {
                Ok(samples) => unscaled(samples, scaled_from(&bytes), tones),
                Err(image) => (narrow(image), tones),
            };
            (samples, tones, orientation)
        }
        None => return Err(signature::named(&bytes).into()),
    };
    Ok(turned(samples.exactly(channels, tones)?, orientation))
}

/// The channels of the picture in these bytes; `None` where they are no image that is read. Pixels are not decoded, but
/// those of a JPEG XL. The bytes may be changed.
pub(super) fn stored(bytes: &mut [u8]) -> Option<Stored> {
    let kind = Kind::of(bytes)?;
    guarded(|| match kind {
        Kind::Jpeg => jpeg::stored(bytes),
        // Their palettes are looked up.
        Kind::Gif => Ok(Stored::plain(3)),
        Kind::Tiff => tiff::stored(bytes),
        Kind::JpegXl => {
            let (samples, _) = jxl::decode(bytes)?;
            Ok(Stored::of(samples.channels, samples.channels > samples.colours))
        }
        Kind::Other(format) => {
            let reader = ImageReader::with_format(Cursor::new(&*bytes), format.format());
            let colour = reader.into_decoder().map_err(|error| error.to_string())?.color_type();
            Ok(Stored::of(usize::from(colour.channel_count()), colour.has_alpha()))
        }
    })
    .ok()
}

/// Whether a file that begins with `first` (64 bytes, unless the file is shorter) may have 16 bits a sample.
pub(crate) fn may_have_sixteen_bits(first: &[u8]) -> bool {
    match Kind::of(first) {
        Some(Kind::Other(Plain::Png)) => first.get(24) == Some(&16),
        Some(Kind::Tiff | Kind::JpegXl) => true,
        // A header with comments may be longer.
        Some(Kind::Other(Plain::Pnm)) => {
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
    let is_pnm = Kind::of(bytes) == Some(Kind::Other(Plain::Pnm));
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
        Some(Kind::JpegXl) => match jxl::decode(bytes)? {
            (samples, None) => Ok(samples),
            _ => Err("it says how many of its bits are used".to_owned()),
        },
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

fn guarded<T, E: From<String>>(decode: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    caught(decode).unwrap_or_else(|panic| Err(format!("the decoder panicked: {panic}").into()))
}

/// Decodes the formats that the crate `image` reads.
fn other(bytes: &[u8], format: Plain) -> Result<(DynamicImage, Option<Orientation>), String> {
    let format = format.format();
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
    Ok(Samples { width, height, colours, channels, is_cmyk: false, numbers: Numbers::U16(values) })
}

/// The numbers of an image with 8 bits a sample.
fn narrow(image: DynamicImage) -> Samples {
    let (width, height) = (image.width(), image.height());
    let (colours, channels, values) = match image {
        DynamicImage::ImageLuma8(grey) => (1, 1, grey.into_raw()),
        DynamicImage::ImageLumaA8(grey) => (1, 2, grey.into_raw()),
        DynamicImage::ImageRgba8(rgba) => (3, 4, rgba.into_raw()),
        other => (3, 3, other.into_rgb8().into_raw()),
    };
    Samples { width, height, colours, channels, is_cmyk: false, numbers: Numbers::U8(values) }
}

/// Samples of 16 bits, and the tones with which they are read, where the decoder has scaled numbers from 0 to `largest` to
/// all bits; `None` where it has not.
fn unscaled(mut samples: Samples, largest: Option<u32>, mut tones: Tones) -> (Samples, Tones) {
    if let (Some(largest), Numbers::U16(values)) = (largest, &mut samples.numbers) {
        match tones.range.is_full() {
            true => tones.bits_used = 16,
            // A range is in the numbers of the file.
            false => values.iter_mut().for_each(|value| {
                *value = ((u32::from(*value) * largest + 32_767) / 65_535) as u16;
            }),
        }
    }
    (samples, tones)
}

/// Converts to RGB with 8 bits a sample. Of 16 bits, the highest eight of those in use are taken by default, as
/// Pillow does; `into_rgb8` would round.
fn eight_bits(image: DynamicImage, bytes: &[u8], tones: Tones) -> Result<RgbImage, Refused> {
    match wide(image) {
        Err(image) => Ok(image.into_rgb8()),
        Ok(samples) => {
            let (samples, tones) = unscaled(samples, scaled_from(bytes), tones);
            samples.rgb(tones)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_picture_is_refused_because_of_its_channels() {
        let png = |colour: fn(u8) -> [u8; 3]| {
            let mut bytes = Cursor::new(Vec::new());
            let pixel = |x: u32, y: u32| image::Rgb(colour((x * x * 31 + x * y * 57) as u8));
            let picture = RgbImage::from_fn(40, 40, pixel);
            picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
            bytes.into_inner()
        };
        let (grey, red) = (png(|value| [value; 3]), png(|value| [value, 0, 0]));
        for (bytes, channels, expected) in [
            (&grey[..], 1, false),
            (&grey, 3, false),
            (&grey, 4, true),
            (&red, 1, true),
            (&red, 3, false),
            // Cut within the pixels, behind a header that says three channels.
            (&grey[..grey.len() / 2], 1, false),
            (&red[..red.len() / 2], 5, false),
        ] {
            let found = has_other_channels(bytes.to_vec(), channels);
            assert_eq!(found, expected, "{} bytes, {channels}", bytes.len());
            assert_eq!(stored(&mut bytes.to_vec()), Some(Stored::plain(3)));
        }
    }
}
