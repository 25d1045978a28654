//! Small files in the layout of CIFAR-10 and CIFAR-100.

use std::fs;
use std::path::Path;

use tempfile::{TempDir, tempdir};
use vssl_data::dataset::{Format, Labels};
use vssl_data::{DataError, Splits};

use super::{assert_says, gzip, refusal, write};

/// One record: the label bytes, then planes of the values 10·n + 0, 1, 2, whose first pixel is n.
fn record(labels: &[u8], number: u8) -> Vec<u8> {
    let mut bytes = labels.to_vec();
    for channel in 0..3 {
        bytes.push(number);
        bytes.extend([10 * number + channel; 1023]);
    }
    bytes
}

fn batch(labels: &[u8], first: u8) -> Vec<u8> {
    labels.iter().zip(first..).flat_map(|(&label, number)| record(&[label], number)).collect()
}

/// Two images a training batch, three test images.
fn files10() -> Vec<(String, Vec<u8>)> {
    let batches = (0..5_u8)
        .map(|part| (format!("data_batch_{}.bin", part + 1), batch(&[part, 9 - part], 2 * part)));
    batches.chain([("test_batch.bin".into(), batch(&[3, 3, 4], 20))]).collect()
}

fn cifar10() -> TempDir {
    let folder = tempdir().unwrap();
    for (name, bytes) in files10() {
        write(folder.path().join("cifar-10-batches-bin").join(name), &bytes);
    }
    folder
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    // Not in the order of the batches, as in the published archive.
    for (name, bytes) in files.iter().rev() {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        let name = format!("cifar-10-batches-bin/{name}");
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn open(path: &Path) -> Result<Splits, DataError> {
    super::open(Format::Cifar10, path, Labels::Auto)
}

#[test]
fn planes_become_pixels_in_the_order_of_the_batches() {
    let folder = cifar10();
    let splits = open(&folder.path().join("cifar-10-batches-bin")).unwrap();
    assert_eq!(splits.train.labels().unwrap(), [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]);
    assert_eq!(splits.train.classes()[9], "truck");
    let image = splits.train.image(7).unwrap();
    assert_eq!((image.width, image.height, image.rgb.len()), (32, 32, 3072));
    assert_eq!(image.rgb[..6], [7, 7, 7, 70, 71, 72]);
    assert!(splits.train.name(7).ends_with("data_batch_4.bin record 1"));
    assert_eq!(splits.validation.unwrap().labels().unwrap(), [3, 3, 4]);
}

#[test]
fn the_folder_its_parent_and_the_archive_are_the_same() {
    let folder = cifar10();
    let direct = open(&folder.path().join("cifar-10-batches-bin")).unwrap();
    let packed = tempdir().unwrap();
    let file = packed.path().join("cifar-10-binary.tar.gz");
    write(&file, &gzip(&archive(&files10())));
    let places = [folder.path(), packed.path(), &file];
    for splits in places.map(|path| open(path).unwrap()) {
        assert_eq!(splits.train.labels(), direct.train.labels());
        for index in 0..10 {
            assert_eq!(splits.train.image(index).unwrap(), direct.train.image(index).unwrap());
        }
        assert_eq!(splits.validation.unwrap().len(), 3);
    }
}

#[test]
fn the_test_batch_and_the_labels_are_optional() {
    let folder = cifar10();
    fs::remove_file(folder.path().join("cifar-10-batches-bin/test_batch.bin")).unwrap();
    let splits = super::open(Format::Cifar10, folder.path(), Labels::None).unwrap();
    assert!(splits.validation.is_none());
    assert!(splits.train.labels().is_none() && splits.train.classes().is_empty());
}

#[test]
fn cifar100_has_fine_and_coarse_labels() {
    let folder = tempdir().unwrap();
    let place = folder.path().join("cifar-100-binary");
    write(place.join("train.bin"), &[record(&[19, 99], 1), record(&[0, 7], 2)].concat());
    write(place.join("test.bin"), &record(&[3, 4], 3));
    let names: String = (0..20).map(|class| format!("group {class}\n")).collect();
    write(place.join("coarse_label_names.txt"), names.as_bytes());
    let fine = super::open(Format::Cifar100, folder.path(), Labels::Auto).unwrap();
    assert_eq!(fine.train.labels().unwrap(), [99, 7]);
    assert_eq!((fine.train.classes().len(), fine.train.classes()[99].as_str()), (100, "99"));
    let coarse = super::open(Format::Cifar100, folder.path(), Labels::Coarse).unwrap();
    assert_eq!(coarse.train.labels().unwrap(), [19, 0]);
    assert_eq!(coarse.train.classes()[19], "group 19");
    assert_eq!(coarse.validation.unwrap().labels().unwrap(), [3]);
    assert_eq!(fine.train.image(1).unwrap().rgb[..6], [2, 2, 2, 20, 21, 22]);
}

#[test]
fn coarse_labels_of_cifar10_are_refused() {
    let folder = cifar10();
    let message = refusal(super::open(Format::Cifar10, folder.path(), Labels::Coarse));
    assert_says(&message, &["data.labels", "only CIFAR-100"]);
}

#[test]
fn a_truncated_batch_says_how_much_is_there() {
    let folder = cifar10();
    let path = folder.path().join("cifar-10-batches-bin/data_batch_3.bin");
    write(&path, &batch(&[1, 2], 0)[..6000]);
    let parts = ["data_batch_3.bin", "6000 bytes", "30730000", "multiple of 3073"];
    assert_says(&refusal(open(folder.path())), &parts);
    write(&path, b"");
    assert_says(&refusal(open(folder.path())), &["data_batch_3.bin", "0 bytes"]);
    fs::remove_file(&path).unwrap();
    assert_says(&refusal(open(folder.path())), &["data_batch_3.bin", "does not exist"]);
    fs::create_dir(&path).unwrap();
    assert_says(&refusal(open(folder.path())), &["data_batch_3.bin", "is a folder"]);
}

#[test]
fn a_label_out_of_range_is_shown_with_its_record() {
    let folder = cifar10();
    write(folder.path().join("cifar-10-batches-bin/test_batch.bin"), &batch(&[3, 10, 4], 0));
    let parts = ["test_batch.bin", "label 10 at record 1", "labels below 10"];
    assert_says(&refusal(open(folder.path())), &parts);
}

#[test]
fn class_names_must_be_as_many_as_classes() {
    let folder = cifar10();
    write(folder.path().join("cifar-10-batches-bin/batches.meta.txt"), b"cat\ndog\n\n");
    assert_says(&refusal(open(folder.path())), &["batches.meta.txt", "2 names", "expected 10"]);
}

#[test]
fn damaged_archives_are_errors() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("cifar-10-binary.tar.gz");
    let packed = gzip(&archive(&files10()));
    let mut wrong_sum = packed.clone();
    let sum = packed.len() - 8;
    wrong_sum[sum] ^= 1;
    let mut overwritten = packed.clone();
    overwritten[packed.len() / 2..][..20].fill(0x55);
    for bytes in
        [&packed[..packed.len() / 2], &packed[..packed.len() - 4], &wrong_sum, &overwritten]
    {
        write(&path, bytes);
        let message = refusal(open(folder.path()));
        assert_says(&message, &["cifar-10-binary.tar.gz", "damaged or truncated", "get it again"]);
    }
    write(&path, b"<html>not found</html>");
    assert_says(&refusal(open(folder.path())), &["cifar-10-binary.tar.gz", "damaged"]);
    write(&path, &gzip(&archive(&[("readme.html".into(), b"hello".to_vec())])));
    assert_says(&refusal(open(&path)), &["none of the files"]);
}

#[test]
fn a_missing_or_empty_place_says_what_is_expected() {
    let folder = tempdir().unwrap();
    let missing = refusal(open(&folder.path().join("nowhere")));
    assert_says(&missing, &["nowhere", "does not exist", "cifar-10-binary.tar.gz"]);
    assert_says(&refusal(open(folder.path())), &["none of the files", "data_batch_1.bin"]);
}
