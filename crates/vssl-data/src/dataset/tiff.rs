//! TIFF files: their numbers as they are stored, of the first page. Called by [`super::decode`].
//!
//! Read are grey, RGB, CMYK, YCbCr and palettes, with and without alpha, of 1 to 64 bits, integers and
//! floating-point numbers, in strips or tiles, in one plane or several, BigTIFF too; uncompressed, LZW, Deflate,
//! PackBits, JPEG and fax (group 4). The crate `image` reads fewer kinds of the same decoder.

use std::io::Cursor;

use image::metadata::Orientation;
use tiff::decoder::{Decoder, DecodingResult as Numbers, Limits};
use tiff::tags::{CompressionMethod, Tag};
use tiff::{ColorType, TiffError};

use super::samples::Samples;
use super::size::{MAX_PIXELS, check_size};
use super::stored::Stored;

/// The largest number of bytes that a pixel may take on average, where the picture has the largest size.
const BYTES_A_PIXEL: u64 = 8;

/// No method that is read packs more bytes than this into one.
const MOST_PACKED: u64 = 1 << 14;

/// What samples mean: grey, colours, and indices into a palette.
const BLACK_IS_ZERO: u8 = 1;
const RGB: u16 = 2;
const PALETTE: u16 = 3;
const CMYK: u16 = 5;
const YCBCR: u16 = 6;

/// What a sample beside the colours is that is alpha, be the colours multiplied by it or not.
const ALPHA: [u16; 2] = [1, 2];

type Reader<'a> = Decoder<Cursor<&'a [u8]>>;

/// The numbers of the first page, and which way up it is.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn decode(bytes: &mut [u8]) -> Result<(Samples, Option<Orientation>), String> {
    let mut reader = open(bytes)?;
    let orientation = reader.find_tag_unsigned::<u8>(Tag::Orientation).ok().flatten();
    let orientation = orientation.and_then(Orientation::from_exif);
    let kind = reader.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation).ok().flatten();
    let samples = match kind {
        Some(PALETTE) => from_palette(bytes)?,
        Some(RGB) if leaves_samples_out(&mut reader) => with_all_samples(bytes)?,
        _ => samples(&mut reader, bytes.len())?,
    };
    Ok((samples, orientation))
}

/// The channels of the first page. Samples beside the colours that the file calls alpha are alpha; other ones are channels.
///
/// # Errors
/// Its header cannot be read.
pub(super) fn stored(bytes: &[u8]) -> Result<Stored, String> {
    let mut reader = open(bytes)?;
    let mut number = |tag| reader.find_tag_unsigned::<u16>(tag).map_err(said);
    let samples = number(Tag::SamplesPerPixel)?.unwrap_or(1);
    let kind = number(Tag::PhotometricInterpretation)?;
    let extra = reader.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples).map_err(said)?;
    let first = extra.and_then(|kinds| kinds.first().copied());
    Ok(stored_as(kind, samples, first))
}

/// The channels of a picture of this kind, with so many samples, of which the first beside the colours means `extra`. Alpha
/// stands behind one sample of grey or three of RGB, and nothing behind it.
fn stored_as(kind: Option<u16>, samples: u16, extra: Option<u16>) -> Stored {
    let all_with_alpha = if kind == Some(RGB) { 4 } else { 2 };
    let is_alpha = extra.is_some_and(|extra| ALPHA.contains(&extra));
    match kind {
        Some(PALETTE | CMYK | YCBCR) => Stored::plain(3),
        _ => Stored::of(usize::from(samples), is_alpha && samples == all_with_alpha),
    }
}

/// Whether its numbers may be larger than bytes.
pub(super) fn is_wide(bytes: &[u8]) -> bool {
    let bits = open(bytes).ok().and_then(|mut reader| {
        reader.find_tag_unsigned_vec::<u16>(Tag::BitsPerSample).ok().flatten()
    });
    bits.is_some_and(|bits| bits.iter().any(|&bits| bits > 8))
}

fn open(bytes: &[u8]) -> Result<Reader<'_>, String> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = (MAX_PIXELS * BYTES_A_PIXEL) as usize;
    limits.intermediate_buffer_size = (MAX_PIXELS * BYTES_A_PIXEL) as usize;
    // No list in a file is longer than the file.
    limits.ifd_value_size = bytes.len().saturating_mul(4).max(1 << 16);
    let mut reader = Decoder::new(Cursor::new(bytes)).map_err(said)?.with_limits(limits);
    let (width, height) = reader.dimensions().map_err(said)?;
    check_size(u64::from(width), u64::from(height))?;
    Ok(reader)
}

/// The error of the decoder in words.
fn said(error: TiffError) -> String {
    match error {
        TiffError::UnsupportedError(error) => format!(
            "this kind of TIFF is not supported: {error}; convert the image, for example to PNG"
        ),
        TiffError::LimitsExceeded => {
            "this TIFF needs more memory than images of its kind are given".to_owned()
        }
        error => format!("damaged Tiff: {error}"),
    }
}

fn samples(reader: &mut Reader<'_>, length: usize) -> Result<Samples, String> {
    let (width, height) = reader.dimensions().map_err(said)?;
    let colour = reader.colortype().map_err(said)?;
    let (colours, bits) = match colour {
        ColorType::Gray(bits) | ColorType::GrayA(bits) => (1, bits),
        ColorType::RGB(bits) | ColorType::RGBA(bits) | ColorType::YCbCr(bits) => (3, bits),
        ColorType::CMYK(bits) | ColorType::CMYKA(bits) => (4, bits),
        // Grey with one more, such as alpha.
        ColorType::Multiband { bit_depth, num_samples: 2 } => (1, bit_depth),
        ColorType::Multiband { bit_depth, num_samples } => (usize::from(num_samples), bit_depth),
        other => return Err(format!("this kind of TIFF is not supported: {other:?}")),
    };
    if matches!(colour, ColorType::YCbCr(bits) if bits != 8) {
        return Err("this kind of TIFF is not supported: YCbCr of more than 8 bits".to_owned());
    }
    let layout = reader.image_buffer_layout().map_err(said)?;
    claim(reader, layout.complete_len.max(layout.len), length)?;
    let mut numbers = Numbers::U8(Vec::new());
    let layout = reader.read_image_to_buffer(&mut numbers).map_err(said)?;
    let pixels = width as usize * height as usize;
    if layout.planes > 1 {
        numbers = interleaved(numbers, layout.planes, pixels)?;
    }
    if bits < 8 {
        numbers = spread(numbers, (width, height), bits, colours, true)?;
    }
    let count = length_of(&numbers);
    let channels = count / pixels;
    if count != channels * pixels || channels < colours {
        return Err(format!("damaged Tiff: {count} samples for {width}×{height} pixels"));
    }
    if matches!(colour, ColorType::YCbCr(_)) {
        to_rgb(&mut numbers, channels);
    }
    let is_cmyk = matches!(colour, ColorType::CMYK(_) | ColorType::CMYKA(_));
    Ok(Samples { width, height, colours, channels, is_cmyk, numbers })
}

/// Refuses a picture that a file of this length cannot hold, before memory is taken for it.
fn claim(reader: &mut Reader<'_>, needed: usize, length: usize) -> Result<(), String> {
    let method = reader.find_tag_unsigned::<u16>(Tag::Compression).ok().flatten().unwrap_or(1);
    let method = CompressionMethod::from_u16_exhaustive(method);
    let most = if method == CompressionMethod::None { 1 } else { MOST_PACKED };
    if needed as u64 > (length as u64).saturating_mul(most) {
        return Err(format!(
            "damaged Tiff: its header promises {needed} bytes of pixels, and the file has {length} bytes"
        ));
    }
    Ok(())
}

/// Looks the colours of indices up. The decoder refuses palettes; it reads the indices as grey.
fn from_palette(bytes: &mut [u8]) -> Result<Samples, String> {
    let damaged = |what: &str| format!("damaged Tiff: {what}");
    let mut reader = open(bytes)?;
    let map = reader
        .find_tag_unsigned_vec::<u16>(Tag::ColorMap)
        .map_err(said)?
        .ok_or_else(|| damaged("it has no palette for its indices"))?;
    let big = reader.byte_order() == tiff::tags::ByteOrder::BigEndian;
    if !read_as_grey(bytes, big, PALETTE) {
        return Err("this kind of TIFF is not supported: a palette in a BigTIFF".to_owned());
    }
    let mut reader = open(bytes)?;
    let (width, height) = reader.dimensions().map_err(said)?;
    let ColorType::Gray(bits @ (1 | 2 | 4 | 8)) = reader.colortype().map_err(said)? else {
        return Err("this kind of TIFF is not supported: a palette of more than 8 bits, or with \
                    other channels"
            .to_owned());
    };
    let layout = reader.image_buffer_layout().map_err(said)?;
    claim(&mut reader, layout.len, bytes.len())?;
    let mut numbers = reader.read_image().map_err(said)?;
    if bits < 8 {
        numbers = spread(numbers, (width, height), bits, 1, false)?;
    }
    let Numbers::U8(indices) = numbers else { return Err(damaged("its indices are no bytes")) };
    let entries = map.len() / 3;
    // The map has all reds, then all greens and blues, each of 16 bits.
    let colour = |index: u8| {
        [0, 1, 2].map(|plane| {
            let value = (usize::from(index) < entries)
                .then(|| map.get(plane * entries + usize::from(index)))
                .flatten();
            value.map_or(0, |value| (value >> 8) as u8)
        })
    };
    let numbers = Numbers::U8(indices.into_iter().flat_map(colour).collect());
    Ok(Samples { width, height, colours: 3, channels: 3, is_cmyk: false, numbers })
}

/// Whether pixels have samples beside the colours which the decoder would leave out: such that are not said to be alpha.
fn leaves_samples_out(reader: &mut Reader<'_>) -> bool {
    let samples = reader.find_tag_unsigned::<u16>(Tag::SamplesPerPixel).ok().flatten();
    samples.is_some_and(|samples| samples > 3)
        && matches!(reader.colortype(), Ok(ColorType::RGB(_)))
}

/// All samples of a picture in RGB with more channels, such as infrared. The decoder leaves them out; of grey pictures it
/// reads all. In a BigTIFF they stay out.
fn with_all_samples(bytes: &mut [u8]) -> Result<Samples, String> {
    let big = open(bytes)?.byte_order() == tiff::tags::ByteOrder::BigEndian;
    read_as_grey(bytes, big, RGB);
    let length = bytes.len();
    let all = samples(&mut open(bytes)?, length)?;
    Ok(Samples { colours: 3, ..all })
}

/// Makes the tag that says what samples mean say grey instead of `kind`; returns whether it was found, which it is in the
/// first directory of a classic TIFF.
fn read_as_grey(bytes: &mut [u8], big: bool, kind: u16) -> bool {
    let Some(at) = entry(bytes, big, kind) else { return false };
    // In either order of bytes, one of the two is the number.
    let value = bytes[at..at + 2].iter().position(|&byte| u16::from(byte) == kind);
    value.is_some_and(|value| {
        bytes[at + value] = BLACK_IS_ZERO;
        true
    })
}

/// Where the value of the tag stands that says what samples mean, if it is `kind`, in the first directory of a classic
/// TIFF.
fn entry(bytes: &[u8], big: bool, kind: u16) -> Option<usize> {
    let two = |at: usize| {
        let two = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
    };
    let four: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
    let directory = if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) } as usize;
    if two(2)? != 42 {
        return None;
    }
    let entries = usize::from(two(directory)?);
    let tag = Tag::PhotometricInterpretation.to_u16();
    let at = (0..entries)
        .map(|entry| directory + 2 + 12 * entry)
        .find(|&at| two(at) == Some(tag) && two(at + 8) == Some(kind))?;
    Some(at + 8)
}

fn length_of(numbers: &Numbers) -> usize {
    match numbers {
        Numbers::U8(values) => values.len(),
        Numbers::U16(values) => values.len(),
        Numbers::U32(values) => values.len(),
        Numbers::U64(values) => values.len(),
        Numbers::F16(values) => values.len(),
        Numbers::F32(values) => values.len(),
        Numbers::F64(values) => values.len(),
        Numbers::I8(values) => values.len(),
        Numbers::I16(values) => values.len(),
        Numbers::I32(values) => values.len(),
        Numbers::I64(values) => values.len(),
    }
}

/// Planes one behind the other become pixels.
fn interleaved(numbers: Numbers, planes: usize, pixels: usize) -> Result<Numbers, String> {
    fn mixed<T: Copy>(values: &[T], planes: usize, pixels: usize) -> Result<Vec<T>, String> {
        if values.len() != planes * pixels {
            return Err("damaged Tiff: a plane is missing".to_owned());
        }
        let pixel = |at| (0..planes).map(move |plane| values[plane * pixels + at]);
        Ok((0..pixels).flat_map(pixel).collect())
    }
    Ok(match &numbers {
        Numbers::U8(values) => Numbers::U8(mixed(values, planes, pixels)?),
        Numbers::U16(values) => Numbers::U16(mixed(values, planes, pixels)?),
        Numbers::U32(values) => Numbers::U32(mixed(values, planes, pixels)?),
        Numbers::U64(values) => Numbers::U64(mixed(values, planes, pixels)?),
        Numbers::F16(values) => Numbers::F16(mixed(values, planes, pixels)?),
        Numbers::F32(values) => Numbers::F32(mixed(values, planes, pixels)?),
        Numbers::F64(values) => Numbers::F64(mixed(values, planes, pixels)?),
        Numbers::I8(values) => Numbers::I8(mixed(values, planes, pixels)?),
        Numbers::I16(values) => Numbers::I16(mixed(values, planes, pixels)?),
        Numbers::I32(values) => Numbers::I32(mixed(values, planes, pixels)?),
        Numbers::I64(values) => Numbers::I64(mixed(values, planes, pixels)?),
    })
}

/// Samples of less than a byte become bytes, from black to white if they are `tones`. Each row begins with a
/// byte of its own.
fn spread(
    numbers: Numbers,
    (width, height): (u32, u32),
    bits: u8,
    colours: usize,
    tones: bool,
) -> Result<Numbers, String> {
    let (Numbers::U8(packed), 1, 1 | 2 | 4) = (numbers, colours, bits) else {
        return Err(format!("this kind of TIFF is not supported: {bits} bits a sample"));
    };
    let (width, height, bits) = (width as usize, height as usize, usize::from(bits));
    let row = (width * bits).div_ceil(8);
    if packed.len() < row * height {
        return Err("damaged Tiff: fewer samples than its size says".to_owned());
    }
    let most = (1_u8 << bits) - 1;
    let scale = if tones { 255 / most } else { 1 };
    let value = |row: &[u8], at: usize| {
        let bit = at * bits;
        (row[bit / 8] >> (8 - bits - bit % 8) & most) * scale
    };
    let rows = packed.chunks_exact(row).take(height);
    Ok(Numbers::U8(rows.flat_map(|row| (0..width).map(move |at| value(row, at))).collect()))
}

/// YCbCr as JFIF defines it (ITU-T T.871, 7) becomes RGB.
fn to_rgb(numbers: &mut Numbers, channels: usize) {
    let Numbers::U8(values) = numbers else { return };
    for pixel in values.chunks_exact_mut(channels) {
        let [luma, blue, red] = [0, 1, 2].map(|at| f32::from(pixel[at]));
        let (blue, red) = (blue - 128.0, red - 128.0);
        let rgb =
            [luma + 1.402 * red, luma - 0.344_136 * blue - 0.714_136 * red, luma + 1.772 * blue];
        for (place, value) in pixel.iter_mut().zip(rgb) {
            *place = value.round().clamp(0.0, 255.0) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_stands_behind_grey_or_three_colours_only() {
        let grey = Some(u16::from(BLACK_IS_ZERO));
        for (kind, samples, extra, channels, has_alpha) in [
            (grey, 1, None, 1, false),
            (grey, 2, Some(2), 1, true),
            (Some(0), 2, Some(1), 1, true),
            (None, 2, Some(0), 2, false),
            (grey, 4, Some(2), 4, false),
            (Some(RGB), 4, Some(2), 3, true),
            (Some(RGB), 4, Some(0), 4, false),
            (Some(RGB), 5, Some(2), 5, false),
            (Some(CMYK), 4, None, 3, false),
        ] {
            let found = stored_as(kind, samples, extra);
            let expected = (channels, has_alpha);
            assert_eq!((found.channels, found.has_alpha), expected, "{kind:?} {samples} {extra:?}");
        }
    }
}
