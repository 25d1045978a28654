//! Decoded pixels against Pillow's: every file of `tests/images` (made by `make.py` there).

use std::fs;
use std::path::Path;

use tempfile::tempdir;
use vssl_data::dataset::{Folder, Format, Labels, Range, Tones};
use vssl_data::{DataConfig, DataError, Dataset, Image};

use super::{assert_says, open, png, write};

const IMAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images");

fn read(bytes: &[u8], name: &str) -> Result<Image, DataError> {
    let folder = tempdir().unwrap();
    write(folder.path().join(name), bytes);
    open(Format::Folder, folder.path(), Labels::Auto).unwrap().train.image(0)
}

fn complaint(bytes: &[u8]) -> String {
    match read(bytes, "x.jpg") {
        Err(error @ DataError::BadImage { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn jpeg() -> Vec<u8> {
    fs::read(Path::new(IMAGES).join("jpeg_420.jpg")).unwrap()
}

#[test]
fn pixels_agree_with_pillow() {
    let set = open(Format::Folder, Path::new(IMAGES), Labels::None).unwrap().train;
    let mut checked = 0;
    for index in 0..set.len() {
        let path = set.name(index);
        if path.ends_with(".expected.png") {
            continue;
        }
        let expected = Path::new(&path).with_extension("expected.png");
        let expected = image::open(&expected).unwrap().into_rgb8();
        let got = set.image(index).unwrap();
        let size = (got.width as u32, got.height as u32);
        assert_eq!(size, expected.dimensions(), "{path}");
        let difference: Vec<u8> =
            got.values.iter().zip(expected.as_raw()).map(|(&a, &b)| a.abs_diff(b)).collect();
        let worst = *difference.iter().max().unwrap();
        let sum: f64 = difference.iter().map(|&d| f64::from(d)).sum();
        let mean = sum / difference.len() as f64;
        // The decoders round differently in the inverse transform and where chroma is enlarged; those of lossy JPEG XL
        // where they leave its colour space, in up to half of the values.
        let is_jpeg = path.ends_with(".jpg") || path.ends_with("tiff_jpeg.tif");
        let is_lossy_jxl = path.contains("jxl_lossy");
        let limit = match is_jpeg || path.ends_with("tiff_jpeg_grey.tif") {
            true => (6, 0.6),
            false if is_lossy_jxl => (2, 0.5),
            false => (0, 0.0),
        };
        assert!(worst <= limit.0 && mean <= limit.1, "{path}: worst {worst}, mean {mean}");
        checked += 1;
    }
    assert!(checked >= 80, "{checked}");
    println!("{checked} images checked");
}

#[test]
fn a_truncated_jpeg_is_bad_however_little_is_missing() {
    let bytes = jpeg();
    for missing in [3, 4, 20, 300] {
        let cut = complaint(&bytes[..bytes.len() - missing]);
        assert_says(&cut, &["x.jpg", "truncated", "its end marker is missing", "too few blocks"]);
    }
    // Without its end marker, a picture is whole.
    for missing in [1, 2] {
        assert_eq!(
            read(&bytes[..bytes.len() - missing], "x.jpg").unwrap(),
            read(&bytes, "x.jpg").unwrap()
        );
    }
}

#[test]
fn bytes_after_the_end_of_a_jpeg_are_ignored() {
    let mut bytes = jpeg();
    let clean = read(&bytes, "x.jpg").unwrap();
    bytes.extend_from_slice(b"trailer of some camera");
    assert_eq!(read(&bytes, "x.jpg").unwrap(), clean);
}

#[test]
fn a_thumbnail_does_not_hide_that_a_jpeg_is_truncated() {
    let bytes = jpeg();
    let (start, rest) = bytes.split_at(2);
    // An application segment that holds a whole JPEG of its own.
    let length = (bytes.len() as u16 + 2).to_be_bytes();
    let segment = [&[0xff, 0xe5], length.as_slice(), &bytes].concat();
    let whole = [start, &segment, rest].concat();
    assert_eq!(read(&whole, "x.jpg").unwrap(), read(&bytes, "x.jpg").unwrap());
    assert_says(&complaint(&whole[..whole.len() - 9]), &["truncated"]);
}

#[test]
fn text_named_jpg_is_bad_and_named() {
    assert_says(&complaint(b"hello"), &["x.jpg", "(image 0)", "a text file", "\"hello\""]);
    assert_says(&complaint(b"%PDF-1.7"), &["x.jpg", "a PDF", "expected a JPEG"]);
    assert_says(&complaint(b""), &["x.jpg", "empty"]);
}

#[test]
fn damaged_pngs_are_bad() {
    let bytes = png(8, 8, [1, 2, 3]);
    assert_says(&complaint(&bytes[..bytes.len() / 2]), &["damaged Png"]);
    let mut flipped = bytes.clone();
    let data = bytes.windows(4).position(|window| window == b"IDAT").unwrap();
    flipped[data + 8] ^= 1;
    assert_says(&complaint(&flipped), &["damaged Png"]);
}

#[test]
fn an_image_without_pixels_is_bad() {
    // A bitmap header with width 0.
    let mut header = vec![0; 54];
    header[..2].copy_from_slice(b"BM");
    header[10] = 54;
    header[14] = 40;
    header[22] = 1;
    header[26] = 1;
    header[28] = 24;
    assert_says(&complaint(&header), &["x.jpg", "(image 0)"]);
    let mut bytes = jpeg();
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 9].fill(0);
    assert_says(&complaint(&bytes), &["x.jpg", "(image 0)"]);
}

#[test]
fn a_decompression_bomb_is_refused_before_it_unpacks() {
    let mut bytes = jpeg();
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 9].fill(0xff);
    assert_says(&complaint(&bytes), &["65535×65535", "refused"]);
}

#[test]
fn one_pixel_is_an_image() {
    let image = read(&png(1, 1, [9, 8, 7]), "x.png").unwrap();
    assert_eq!(image, Image { width: 1, height: 1, values: vec![9, 8, 7] });
}

/// A file of the given format.
fn encoded(image: &image::DynamicImage, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn tiff_and_pnm_are_read() {
    let rgb = image::RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8 * 40, y as u8 * 70, 9]));
    let image = image::DynamicImage::ImageRgb8(rgb.clone());
    for (name, format) in [("x.tiff", image::ImageFormat::Tiff), ("x.PPM", image::ImageFormat::Pnm)]
    {
        let bytes = encoded(&image, format);
        assert_eq!(read(&bytes, name).unwrap().values, rgb.as_raw().as_slice(), "{name}");
        let error = read(&bytes[..bytes.len() - 20], name).unwrap_err().to_string();
        assert_says(&error, &[name, "damaged"]);
    }
    // Samples of fewer bits are spread over 0 to 255.
    let grey = read(b"P5\n3 1\n15\n\x00\x05\x0f", "x.pgm").unwrap();
    assert_eq!(grey.values, [[0; 3], [85; 3], [255; 3]].concat());
    let float = image::DynamicImage::ImageRgb32F(image::Rgb32FImage::new(2, 2));
    let bytes = encoded(&float, image::ImageFormat::Tiff);
    let message = read(&bytes, "x.tif").unwrap_err().to_string();
    assert_says(&message, &["floating-point", "data.range", "percentiles"]);
}

#[test]
fn the_setting_says_which_of_16_bits_are_used() {
    let samples = vec![0, 15, 16, 255, 256, 2048, 4095, 4096, 65535];
    let grey = image::ImageBuffer::from_raw(9, 1, samples).unwrap();
    let image = image::DynamicImage::ImageLuma16(grey);
    for (name, format) in [("x.png", image::ImageFormat::Png), ("x.tif", image::ImageFormat::Tiff)]
    {
        let folder = tempdir().unwrap();
        write(folder.path().join(name), &encoded(&image, format));
        let with = |bits_used| {
            let config =
                DataConfig { path: folder.path().into(), bits_used, ..DataConfig::default() };
            let set = vssl_data::dataset::open(&config, None)?.train;
            assert_eq!(set.largest_of_sixteen_bits(0), Some(65535));
            set.image(0).map(|image| image.values.into_iter().step_by(3).collect::<Vec<_>>())
        };
        assert_eq!(with(16).unwrap(), [0, 0, 0, 0, 1, 8, 15, 16, 255], "{name}");
        assert_eq!(with(12).unwrap(), [0, 0, 1, 15, 16, 128, 255, 255, 255], "{name}");
        assert_eq!(with(8).unwrap(), [0, 15, 16, 255, 255, 255, 255, 255, 255], "{name}");
        for bits in [7, 17] {
            assert_says(&with(bits).unwrap_err().to_string(), &["data.bits_used", "8 to 16"]);
        }
    }
}

#[test]
fn the_header_of_a_pnm_file_says_which_bits_are_used() {
    let folder = tempdir().unwrap();
    let samples = [0_u16, 256, 2048, 4095].map(u16::to_be_bytes).concat();
    write(folder.path().join("1.pgm"), &[&b"P5\n4 1\n4095\n"[..], &samples].concat());
    write(folder.path().join("2.pgm"), &[&b"P5\n4 1\n65535\n"[..], &samples].concat());
    let of = |bits_used, index| {
        let config = DataConfig { path: folder.path().into(), bits_used, ..DataConfig::default() };
        let set = vssl_data::dataset::open(&config, None).unwrap().train;
        let largest = set.largest_of_sixteen_bits(index);
        (set.image(index).unwrap().values.into_iter().step_by(3).collect::<Vec<_>>(), largest)
    };
    let bright = vec![0, 16, 128, 255];
    for bits in [12, 16] {
        assert_eq!(of(bits, 0), (bright.clone(), None), "{bits}");
    }
    assert_eq!(of(12, 1), (bright, Some(4095)));
    assert_eq!(of(16, 1), (vec![0, 1, 8, 15], Some(4095)));
}

/// The file of `imagecodecs.jpegxl_encode(numbers, bitspersample=12, lossless=True)` with the numbers 0, 119, 238, … in 5
/// rows of 7.
const TWELVE_BITS: &str = "ff0a204018142d0208040100c8004b188b15c219b1cea0b95f136e6e6e6e6eee7178ca1f031d2a24fd282b2086bb0032ca10ce869b\
                           bb4e3aca9e3f8970573901";

#[test]
fn a_jpeg_xl_file_says_which_bits_are_used() {
    let digits = TWELVE_BITS.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
    let bytes: Vec<u8> = digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
    let folder = tempdir().unwrap();
    write(folder.path().join("x.jxl"), &bytes);
    let own = Range::Between([0.0, 4095.0]);
    for (bits_used, range) in [(12, Range::Full), (16, Range::Full), (16, own)] {
        let path = folder.path().into();
        let config = DataConfig { path, bits_used, range, ..DataConfig::default() };
        let set = vssl_data::dataset::open(&config, None).unwrap().train;
        assert_eq!(set.largest_of_sixteen_bits(0), None);
        let image = set.image(0).unwrap();
        assert_eq!((image.width, image.height), (7, 5));
        for (place, &got) in image.values.iter().step_by(3).enumerate() {
            let expected = (place * 119) as f64 / 4095.0 * 255.0;
            assert!((f64::from(got) - expected).abs() <= 1.0, "{place}: {got}, {expected}");
        }
    }
}

#[test]
fn numbers_become_what_the_range_says() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tones"));
    let mut checked = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some((stem, label)) =
            name.strip_suffix(".expected.png").and_then(|n| n.split_once('@'))
        else {
            continue;
        };
        let range = match label.split_once('_') {
            None => Range::Percentiles,
            Some((low, high)) => Range::Between([low.parse().unwrap(), high.parse().unwrap()]),
        };
        let ending = ["tif", "png", "pgm"].map(|ending| folder.join(format!("{stem}.{ending}")));
        let file = ending.into_iter().find(|file| file.exists()).unwrap();
        let set = Folder::of_files(vec![file]).with_tones(Tones { range, ..Tones::default() });
        let expected = image::open(&path).unwrap().into_rgb8();
        assert!(set.image(0).unwrap().values == *expected.as_raw(), "{name}");
        checked += 1;
    }
    assert!(checked >= 24, "{checked}");
    println!("{checked} pictures checked");
}

#[test]
fn the_range_of_a_recipe_is_told_and_does_not_change_images_of_8_bits() {
    let folder = tempdir().unwrap();
    write(folder.path().join("1.png"), &png(1, 1, [10, 20, 30]));
    let with = |range, bits_used| {
        let path = folder.path().into();
        vssl_data::dataset::open(
            &DataConfig { path, range, bits_used, ..DataConfig::default() },
            None,
        )
    };
    let range = Range::Between([0.0, 20.0]);
    let splits = with(range, 16).unwrap();
    assert_eq!(splits.train.image(0).unwrap().values, [10, 20, 30]);
    assert_says(&splits.found.to_string(), &["0 becomes black and 20 white", "data.range"]);
    let message = super::refusal(with(range, 12));
    assert_says(&message, &["data.bits_used = 12", "data.range = [0, 20]"]);
    assert_says(
        &super::refusal(with(Range::Between([2.0, 1.0]), 16)),
        &["[2, 1]", "the first below"],
    );
}

#[test]
fn tiff_and_gif_that_are_cut_or_damaged_are_named() {
    let (mut cut, mut refused) = (0, 0);
    for entry in fs::read_dir(IMAGES).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let kind = match path.extension().unwrap().to_str().unwrap() {
            "tif" => "Tiff",
            "gif" => "Gif",
            _ => continue,
        };
        let bytes = fs::read(&path).unwrap();
        for parts in 1..8 {
            let end = bytes.len() * parts / 8;
            // A directory may stand before the pixels or behind them, a second picture behind the first.
            if let Err(error) = read(&bytes[..end], "x.png") {
                let message = error.to_string();
                assert!(
                    message.contains(kind) || message.contains(&kind.to_uppercase()),
                    "{name} cut at {end}: {message}"
                );
                refused += 1;
            }
            cut += 1;
        }
    }
    assert!(cut > 150 && refused > cut * 4 / 5, "{refused} of {cut}");
}

#[test]
fn a_tiff_that_promises_more_than_its_file_can_hold_takes_no_memory() {
    let grey = image::DynamicImage::new_luma8(2, 2);
    let bytes = encoded(&grey, image::ImageFormat::Tiff);
    let with = |value: [u8; 4]| {
        let mut bytes = bytes.clone();
        // The width and the height: tags 256 and 257.
        for tag in [[0, 1, 4, 0], [1, 1, 4, 0]] {
            let at = bytes.windows(4).position(|entry| entry == tag).unwrap();
            bytes[at + 8..at + 12].copy_from_slice(&value);
        }
        read(&bytes, "x.tif").unwrap_err().to_string()
    };
    assert_says(&with(10_000_u32.to_le_bytes()), &["Tiff", "100000000 bytes"]);
    assert_says(&with(1_000_000_u32.to_le_bytes()), &["damaged Tiff"]);
}

#[test]
fn a_whole_tiff_of_another_kind_is_not_called_damaged() {
    let grey = image::DynamicImage::new_luma8(2, 2);
    let bytes = encoded(&grey, image::ImageFormat::Tiff);
    let tag = bytes.windows(4).position(|entry| entry == [0x06, 0x01, 3, 0]).unwrap();
    // YCbCr and L*a*b*, by the tag that says what samples mean (262), and a method of compression (259).
    for (tag, kind) in [(tag, 6), (tag, 8), (tag - 12, 0x57)] {
        let mut other = bytes.clone();
        other[tag + 8] = kind;
        let message = read(&other, "x.tif").unwrap_err().to_string();
        assert_says(&message, &["this kind of TIFF is not supported"]);
        assert!(!message.contains("damaged"), "{message}");
    }
    let mut palette = bytes.clone();
    palette[tag + 8] = 3;
    assert_says(&read(&palette, "x.tif").unwrap_err().to_string(), &["no palette"]);
}

#[test]
fn repeated_bytes_before_a_stuffed_zero_are_one_byte() {
    for name in ["jpeg_420.jpg", "jpeg_progressive.jpg"] {
        let bytes = fs::read(Path::new(IMAGES).join(name)).unwrap();
        let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        let stuffed = (scan..bytes.len() - 1).find(|&at| bytes[at..at + 2] == [0xff, 0]).unwrap();
        let mut more = bytes.clone();
        more.insert(stuffed, 0xff);
        let clean = read(&bytes, "x.jpg").unwrap();
        assert_eq!(read(&more, "x.jpg").unwrap(), clean, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_bad_and_not_opened() {
    let folder = tempdir().unwrap();
    write(folder.path().join("a.png"), &png(1, 1, [0; 3]));
    std::os::unix::net::UnixListener::bind(folder.path().join("b.png")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("c.png")).unwrap();
    let pipe = folder.path().join("d.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let set = open(Format::Folder, folder.path(), Labels::Auto).unwrap().train;
    assert_eq!(set.len(), 4);
    for (index, what) in [(1, "a socket"), (2, "a device"), (3, "a named pipe")] {
        assert_says(&set.image(index).unwrap_err().to_string(), &[what, "not a file"]);
    }
}
