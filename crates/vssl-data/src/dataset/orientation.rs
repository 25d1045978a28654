//! Which way up a picture is: the orientation in EXIF metadata, or else in XMP, as Pillow's
//! `exif_transpose` finds and applies it. Called by the decoders.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use memchr::memmem;

use crate::Image;

/// Tag of the orientation in a TIFF directory (EXIF 2.32, 4.6.4).
const TAG: u16 = 0x112;

/// The orientation that the metadata state; `None` where they state nothing that makes sense. `exif` begins
/// with its TIFF header, before which the name of EXIF may stand once more.
pub(super) fn of(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Option<Orientation> {
    // XMP counts only where EXIF is silent.
    let value = exif.and_then(in_exif).or_else(|| xmp.and_then(in_xmp))?;
    Orientation::from_exif(value)
}

/// Turns a picture the way that its metadata state.
pub(super) fn upright(rgb: RgbImage, orientation: Option<Orientation>) -> RgbImage {
    match orientation {
        None | Some(Orientation::NoTransforms) => rgb,
        Some(orientation) => {
            let mut image = DynamicImage::ImageRgb8(rgb);
            image.apply_orientation(orientation);
            image.into_rgb8()
        }
    }
}

/// Turns a picture of any number of channels the way that its metadata state.
pub(super) fn turned(image: Image, orientation: Option<Orientation>) -> Image {
    let Some(orientation) = orientation.filter(|kind| *kind != Orientation::NoTransforms) else {
        return image;
    };
    let (width, height, channels) = (image.width, image.height, image.channels());
    let swaps = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let (wide, high) = if swaps { (height, width) } else { (width, height) };
    // Where the pixel at (x, y) of the turned picture stands in the other.
    let from = |x: usize, y: usize| match orientation {
        Orientation::NoTransforms => (x, y),
        Orientation::FlipHorizontal => (width - 1 - x, y),
        Orientation::FlipVertical => (x, height - 1 - y),
        Orientation::Rotate180 => (width - 1 - x, height - 1 - y),
        Orientation::Rotate90 => (y, height - 1 - x),
        Orientation::Rotate270 => (width - 1 - y, x),
        Orientation::Rotate90FlipH => (y, x),
        Orientation::Rotate270FlipH => (width - 1 - y, height - 1 - x),
    };
    let mut values = Vec::with_capacity(image.values.len());
    for y in 0..high {
        for x in 0..wide {
            let (column, row) = from(x, y);
            values
                .extend_from_slice(&image.values[(row * width + column) * channels..][..channels]);
        }
    }
    Image { width: wide, height: high, values }
}

/// The value of the tag in the first directory.
fn in_exif(mut exif: &[u8]) -> Option<u8> {
    while let Some(rest) = exif.strip_prefix(b"Exif\0\0") {
        exif = rest;
    }
    let big = match exif.get(..4)? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };
    let bytes = |at: usize, count: usize| exif.get(at..at.checked_add(count)?);
    let two = |at| {
        let two = bytes(at, 2)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
    };
    let four = |at| {
        let four = bytes(at, 4)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
    };
    let directory = four(4)? as usize;
    let entries = usize::from(two(directory)?);
    let entry = (0..entries)
        .map(|index| directory + 2 + 12 * index)
        .find(|&entry| two(entry) == Some(TAG))?;
    // The types byte, short and long, signed or not; the value stands in the entry itself.
    let value = match two(entry + 2)? {
        1 | 6 => u32::from(*bytes(entry + 8, 1)?.first()?),
        3 | 8 => u32::from(two(entry + 8)?),
        4 | 9 => four(entry + 8)?,
        _ => return None,
    };
    u8::try_from(value).ok()
}

/// The digit of `tiff:Orientation`, an attribute or an element.
fn in_xmp(xmp: &[u8]) -> Option<u8> {
    let name = b"tiff:Orientation";
    memmem::find_iter(xmp, name).find_map(|at| {
        let rest = &xmp[at + name.len()..];
        let value = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?;
        value.first().filter(|digit| digit.is_ascii_digit()).map(|digit| digit - b'0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of one entry.
    fn exif(big: bool, kind: u16, value: [u8; 4]) -> Vec<u8> {
        let two = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let four = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let start: &[u8] = if big { b"MM\0*" } else { b"II*\0" };
        [start, &four(8), &two(1), &two(TAG), &two(kind), &four(1), &value, &four(0)].concat()
    }

    #[test]
    fn exif_states_it_in_either_order_of_bytes_and_as_any_whole_number() {
        for (big, kind, value) in [
            (false, 3, [6, 0, 0, 0]),
            (true, 3, [0, 6, 0, 0]),
            (false, 4, [6, 0, 0, 0]),
            (true, 4, [0, 0, 0, 6]),
            (true, 1, [6, 0, 0, 0]),
        ] {
            let exif = exif(big, kind, value);
            assert_eq!(of(Some(&exif), None), Some(Orientation::Rotate90), "{big} {kind}");
            for cut in 0..exif.len() - 8 {
                assert_eq!(of(Some(&exif[..cut]), None), None);
            }
            let doubled = [b"Exif\0\0", exif.as_slice()].concat();
            assert_eq!(of(Some(&doubled), None), Some(Orientation::Rotate90));
        }
        assert_eq!(of(Some(&exif(false, 3, [9, 0, 0, 0])), None), None);
        assert_eq!(of(Some(&exif(false, 2, *b"6\0\0\0")), None), None);
    }

    #[test]
    fn pictures_of_any_channels_are_turned_as_those_in_rgb() {
        let (width, height) = (4, 3);
        let of = |channels: usize| -> Vec<u8> {
            let pixel = |at: usize| (0..channels).map(move |channel| (at * 16 + channel) as u8);
            (0..width * height).flat_map(pixel).collect()
        };
        for value in 1..=8 {
            let orientation = Orientation::from_exif(value);
            let rgb = RgbImage::from_raw(width as u32, height as u32, of(3)).unwrap();
            let expected = upright(rgb, orientation);
            for channels in [1, 2, 3, 5] {
                let found = turned(Image { width, height, values: of(channels) }, orientation);
                let (wide, high) = expected.dimensions();
                assert_eq!((found.width as u32, found.height as u32), (wide, high), "{value}");
                let firsts = found.values.iter().step_by(channels);
                assert!(firsts.eq(expected.iter().step_by(3)), "{value}, {channels} channels");
                assert_eq!(found.channels(), channels);
            }
        }
    }

    #[test]
    fn xmp_counts_where_exif_is_silent() {
        for xmp in ["<a tiff:Orientation=\"3\"/>", "<tiff:Orientation>3</tiff:Orientation>"] {
            assert_eq!(of(None, Some(xmp.as_bytes())), Some(Orientation::Rotate180));
            let silent = b"II*\0\x08\0\0\0\0\0\0\0\0\0";
            assert_eq!(of(Some(silent), Some(xmp.as_bytes())), Some(Orientation::Rotate180));
            let said = exif(false, 3, [6, 0, 0, 0]);
            assert_eq!(of(Some(&said), Some(xmp.as_bytes())), Some(Orientation::Rotate90));
        }
        assert_eq!(of(None, Some(b"tiff:Orientation=\"x\"")), None);
    }
}
