//! Decoded pixels against Pillow's: every file of `tests/images` (made by `make.py` there).

use std::fs;
use std::path::Path;

use tempfile::tempdir;
use vssl_data::dataset::{Format, Labels};
use vssl_data::{DataError, Image};

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
            got.rgb.iter().zip(expected.as_raw()).map(|(&a, &b)| a.abs_diff(b)).collect();
        let worst = *difference.iter().max().unwrap();
        let sum: f64 = difference.iter().map(|&d| f64::from(d)).sum();
        let mean = sum / difference.len() as f64;
        // The decoders round differently in the inverse transform and where chroma is enlarged.
        let limit = if path.ends_with(".jpg") { (6, 0.6) } else { (0, 0.0) };
        assert!(worst <= limit.0 && mean <= limit.1, "{path}: worst {worst}, mean {mean}");
        checked += 1;
    }
    assert!(checked >= 39, "{checked}");
    println!("{checked} images checked");
}

#[test]
fn a_truncated_jpeg_is_bad_however_little_is_missing() {
    for missing in [1, 2, 3, 20, 300] {
        let bytes = jpeg();
        assert_says(&complaint(&bytes[..bytes.len() - missing]), &["x.jpg", "truncated"]);
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
    assert_says(&complaint(&whole[..whole.len() - 2]), &["truncated"]);
}

#[test]
fn text_named_jpg_is_bad_and_named() {
    assert_says(&complaint(b"hello"), &["x.jpg", "(image 0)", "not a JPEG"]);
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
    assert_eq!(image, Image { width: 1, height: 1, rgb: vec![9, 8, 7] });
}
