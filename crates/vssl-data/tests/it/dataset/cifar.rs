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
    assert_eq!((image.width, image.height, image.values.len()), (32, 32, 3072));
    assert_eq!(image.values[..6], [7, 7, 7, 70, 71, 72]);
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
    assert_eq!(fine.train.image(1).unwrap().values[..6], [2, 2, 2, 20, 21, 22]);
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

/// What Python 2 and numpy wrote for a batch: a pickle of protocol 2 with texts as bytes.
fn pickled(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\x80\x02}q\x01(".to_vec();
    for (place, (key, value)) in items.iter().enumerate() {
        bytes.extend([b'U', key.len() as u8]);
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend([b'q', 2 + place as u8]);
        bytes.extend_from_slice(value);
    }
    bytes.extend(b"u.");
    bytes
}

fn pickled_array(pixels: &[u8]) -> Vec<u8> {
    let mut bytes = b"cnumpy.core.multiarray\n_reconstruct\nq\x20cnumpy\nndarray\nq\x21K\x00\x85U\x01b\x87Rq\x22(K\x01".to_vec();
    bytes.push(b'J');
    bytes.extend((pixels.len() as u32 / 3072).to_le_bytes());
    bytes.extend(b"M\x00\x0c\x86cnumpy\ndtype\nq\x23U\x02u1K\x00K\x01\x87Rq\x24(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    bytes.extend((pixels.len() as u32).to_le_bytes());
    bytes.extend_from_slice(pixels);
    bytes.extend(b"tb");
    bytes
}

fn pickled_labels(labels: &[u8]) -> Vec<u8> {
    let values = labels.iter().flat_map(|&label| [b'K', label]);
    [&b"](".to_vec()[..], &values.collect::<Vec<_>>(), b"e"].concat()
}

fn pickled_names(names: &[String]) -> Vec<u8> {
    let texts = names.iter().flat_map(|name| [&[b'U', name.len() as u8], name.as_bytes()].concat());
    [&b"](".to_vec()[..], &texts.collect::<Vec<_>>(), b"e"].concat()
}

/// A batch of the binary version, with `labels` label bytes a record, in the version for Python.
fn as_pickle(batch: &[u8], keys: &[&str]) -> Vec<u8> {
    let records = batch.chunks_exact(keys.len() + 3072);
    let pixels: Vec<u8> =
        records.clone().flat_map(|record| &record[keys.len()..]).copied().collect();
    let mut items = vec![("batch_label", b"U\x05batch".to_vec())];
    for (at, key) in keys.iter().enumerate() {
        let labels: Vec<u8> = records.clone().map(|record| record[at]).collect();
        items.push((key, pickled_labels(&labels)));
    }
    items.push(("data", pickled_array(&pixels)));
    pickled(&items)
}

fn assert_same(own: &Splits, expected: &Splits) {
    let splits = |splits: &Splits| [splits.train.clone(), splits.validation.clone().unwrap()];
    for (own, expected) in splits(own).into_iter().zip(splits(expected)) {
        assert_eq!(own.len(), expected.len());
        assert_eq!(own.labels(), expected.labels());
        assert!((0..own.len()).all(|at| own.image(at).unwrap() == expected.image(at).unwrap()));
        assert_eq!(own.stored_as(1), expected.stored_as(1));
    }
}

#[test]
fn the_version_for_python_has_the_images_of_the_binary_version() {
    let binary = cifar10();
    let expected = open(&binary.path().join("cifar-10-batches-bin")).unwrap();
    let names: Vec<String> = (0..10).map(|class| format!("name {class}")).collect();
    let meta =
        pickled(&[("num_vis", b"M\x00\x0c".to_vec()), ("label_names", pickled_names(&names))]);
    let mut files = vec![("batches.meta".to_owned(), meta)];
    for (name, bytes) in files10() {
        files.push((name.replace(".bin", ""), as_pickle(&bytes, &["labels"])));
    }
    let folder = tempdir().unwrap();
    for (name, bytes) in &files {
        write(folder.path().join("cifar-10-batches-py").join(name), bytes);
    }
    for path in [folder.path().to_path_buf(), folder.path().join("cifar-10-batches-py")] {
        let splits = open(&path).unwrap();
        assert_same(&splits, &expected);
        assert_eq!(splits.train.classes(), names);
    }
    let packed = folder.path().join("x/cifar-10-python.tar.gz");
    write(&packed, &gzip(&archive(&files)));
    assert_same(&open(&packed).unwrap(), &expected);
    assert_same(&open(packed.parent().unwrap()).unwrap(), &expected);
    // Damage is told with the file.
    let batch = folder.path().join("cifar-10-batches-py/data_batch_2");
    let bytes = fs::read(&batch).unwrap();
    for (changed, parts) in [
        (bytes[..bytes.len() / 2].to_vec(), &["data_batch_2", "pickle is damaged"][..]),
        (pickled(&[("labels", pickled_labels(&[1]))]), &["data_batch_2", "it has no data"]),
        (
            pickled(&[("labels", pickled_labels(&[1])), ("data", pickled_array(&[0; 6144]))]),
            &["data_batch_2", "1 labels for 2 images"],
        ),
        (pickled(&[("data", b"K\x01".to_vec())]), &["no array of bytes"]),
    ] {
        fs::write(&batch, changed).unwrap();
        assert_says(&refusal(open(folder.path())), parts);
    }
}

#[test]
fn the_version_for_python_of_cifar100_has_both_kinds_of_labels() {
    let folder = tempdir().unwrap();
    let records = [record(&[3, 17], 1), record(&[19, 99], 2)].concat();
    for name in ["train", "test"] {
        let bytes = as_pickle(&records, &["coarse_labels", "fine_labels"]);
        write(folder.path().join("cifar-100-python").join(name), &bytes);
    }
    for (labels, expected) in [(Labels::Auto, [17, 99]), (Labels::Coarse, [3, 19])] {
        let splits = super::open(Format::Cifar100, folder.path(), labels).unwrap();
        assert_eq!(splits.train.labels().unwrap(), expected);
        assert_eq!(splits.train.image(1).unwrap().values[..3], [2, 2, 2]);
    }
}
