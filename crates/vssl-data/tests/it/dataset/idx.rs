//! IDX files, made up and embedded.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};
use vssl_data::dataset::{Format, Labels};
use vssl_data::{DataError, Splits};

use super::{assert_says, gzip, refusal, write};

fn images(count: u32, height: u32, width: u32) -> Vec<u8> {
    let header = [0x803, count, height, width].map(u32::to_be_bytes).concat();
    let pixels = (0..count * height * width).map(|value| value as u8);
    header.into_iter().chain(pixels).collect()
}

fn labels(labels: &[u8]) -> Vec<u8> {
    [&[0, 0, 8, 1], (labels.len() as u32).to_be_bytes().as_slice(), labels].concat()
}

fn open(path: &Path) -> Result<Splits, DataError> {
    super::open(Format::Idx, path, Labels::Auto)
}

/// A folder with three training images, given the files' bytes.
fn folder(images: &[u8], labels: &[u8]) -> TempDir {
    let folder = tempdir().unwrap();
    write(folder.path().join("train-images-idx3-ubyte"), images);
    write(folder.path().join("train-labels-idx1-ubyte"), labels);
    folder
}

#[test]
fn grey_becomes_rgb_in_row_order() {
    let folder = folder(&images(3, 2, 4), &labels(&[7, 0, 9]));
    let splits = open(folder.path()).unwrap();
    let image = splits.train.image(1).unwrap();
    assert_eq!((image.height, image.width), (2, 4));
    let expected: Vec<u8> = (8..16).flat_map(|grey| [grey; 3]).collect();
    assert_eq!(image.values, expected);
    assert_eq!(splits.train.labels(), Some([7, 0, 9].as_slice()));
    assert_eq!(splits.train.classes().len(), 10);
    assert!(splits.train.name(1).ends_with("train-images-idx3-ubyte record 1"));
    assert!(splits.validation.is_none());
}

#[test]
fn gzipped_and_plain_files_are_the_same() {
    let plain = folder(&images(3, 2, 4), &labels(&[7, 0, 9]));
    let packed = tempdir().unwrap();
    write(packed.path().join("train-images-idx3-ubyte.gz"), &gzip(&images(3, 2, 4)));
    // Unpacked on the way, but not renamed.
    write(packed.path().join("train-labels-idx1-ubyte.gz"), &labels(&[7, 0, 9]));
    let (plain, packed) = (open(plain.path()).unwrap(), open(packed.path()).unwrap());
    assert_eq!(plain.train.image(2).unwrap(), packed.train.image(2).unwrap());
    assert_eq!(plain.train.labels(), packed.train.labels());
}

#[test]
fn labels_are_optional_and_can_be_left_out_or_asked_for() {
    let folder = folder(&images(3, 2, 4), &labels(&[7, 0, 9]));
    let splits = super::open(Format::Idx, folder.path(), Labels::None).unwrap();
    assert!(splits.train.labels().is_none() && splits.train.classes().is_empty());
    fs::remove_file(folder.path().join("train-labels-idx1-ubyte")).unwrap();
    assert!(open(folder.path()).unwrap().train.labels().is_none());
    let message = refusal(super::open(Format::Idx, folder.path(), Labels::Fine));
    assert_says(&message, &["train-labels-idx1-ubyte", "does not exist"]);
}

#[test]
fn class_names_and_their_number_come_from_the_file() {
    let folder = folder(&images(3, 2, 4), &labels(&[1, 0, 1]));
    write(folder.path().join("classes.txt"), b"cat\nbig dog\n\n");
    assert_eq!(open(folder.path()).unwrap().train.classes(), ["cat", "big dog"]);
    write(folder.path().join("train-labels-idx1-ubyte"), &labels(&[1, 2, 1]));
    assert_says(&refusal(open(folder.path())), &["label 2 at record 1", "labels below 2"]);
}

#[test]
fn a_truncated_file_says_how_much_is_there() {
    let bytes = images(3, 2, 4);
    let folder = folder(&bytes[..bytes.len() - 5], &labels(&[1, 2, 3]));
    let path = folder.path().join("train-images-idx3-ubyte");
    let message = refusal(open(folder.path()));
    assert_says(&message, &["train-images-idx3-ubyte", "19 bytes", "expected 24"]);
    write(&path, &bytes[..9]);
    assert_says(&refusal(open(folder.path())), &["9 bytes", "header of 16 bytes"]);
    write(&path, &[bytes.as_slice(), &[0]].concat());
    assert_says(&refusal(open(folder.path())), &["more than 24 bytes", "expected 24"]);
    write(&path, b"");
    assert_says(&refusal(open(folder.path())), &["0 bytes", "header of 16 bytes"]);
}

#[test]
fn a_false_header_cannot_fill_the_memory() {
    let mut bytes = images(3, 2, 4);
    bytes[4..16].fill(0xff);
    assert_says(&refusal(open(folder(&bytes, &[]).path())), &["sizes that fit"]);
    bytes[4..16].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0, 0, 9]);
    assert_says(&refusal(open(folder(&bytes, &[]).path())), &["24 bytes after the header"]);
}

#[test]
fn a_wrong_magic_number_is_shown() {
    let folder = folder(&labels(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), &labels(&[1, 2, 3]));
    assert_says(&refusal(open(folder.path())), &["0x00000801", "0x00000803"]);
}

#[test]
fn there_must_be_a_label_for_each_image() {
    let folder = folder(&images(3, 2, 4), &labels(&[1, 2]));
    assert_says(&refusal(open(folder.path())), &["idx1", "2 labels", "expected 3", "idx3"]);
}

#[test]
fn no_images_or_no_pixels_is_an_error() {
    let message = refusal(open(folder(&images(0, 2, 4), &labels(&[])).path()));
    assert_says(&message, &["0 images of 4×2"]);
    let message = refusal(open(folder(&images(3, 0, 4), &labels(&[1, 2, 3])).path()));
    assert_says(&message, &["3 images of 4×0"]);
}

#[test]
fn a_damaged_gzip_stream_is_an_error() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("train-images-idx3-ubyte.gz");
    let packed = gzip(&images(200, 20, 20));
    write(&path, &packed[..packed.len() - 12]);
    assert_says(&refusal(open(folder.path())), &["ubyte.gz", "damaged or truncated archive"]);
    let mut wrong_sum = packed.clone();
    let sum = packed.len() - 8;
    wrong_sum[sum] ^= 1;
    write(&path, &wrong_sum);
    assert_says(&refusal(open(folder.path())), &["ubyte.gz", "damaged or truncated archive"]);
}

#[test]
fn missing_files_and_folders_in_their_place_are_told_apart() {
    let folder = tempdir().unwrap();
    assert_says(&refusal(open(folder.path())), &["train-images-idx3-ubyte", "does not exist"]);
    fs::create_dir(folder.path().join("train-images-idx3-ubyte")).unwrap();
    assert_says(&refusal(open(folder.path())), &["is a folder", "expected an IDX file"]);
}

#[test]
fn the_embedded_subset_is_balanced() {
    let path =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/fashion-mnist-tenth"));
    let splits = super::open(Format::Idx, &path, Labels::Fine).unwrap();
    let validation = splits.validation.unwrap();
    for (set, each) in [(&splits.train, 1000), (&validation, 200)] {
        let mut counts = [0; 10];
        set.labels().unwrap().iter().for_each(|&label| counts[label as usize] += 1);
        assert_eq!(counts, [each; 10]);
        assert_eq!(set.len(), each * 10);
        assert_eq!(set.classes()[9], "Ankle boot");
        let image = set.image(set.len() - 1).unwrap();
        assert_eq!((image.width, image.height), (28, 28));
        // Pictures, not padding: clothes are brighter than the black ground.
        assert!(image.values.iter().any(|&value| value > 100));
    }
}
