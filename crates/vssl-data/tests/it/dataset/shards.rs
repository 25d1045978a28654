//! Sets in shards against the folder of the same images: the files of `tests/shards`, which `make.py` there wrote
//! with webdataset, datasets and pyarrow, and tar files that are made here.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};
use vssl_data::dataset::{Format, Labels};
use vssl_data::{Dataset, Splits};

use super::{assert_says, open, png, refusal, write};

const SHARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shards");

pub fn stored(name: &str) -> PathBuf {
    Path::new(SHARDS).join(name)
}

/// A copy of stored shards, in which an index can be written.
fn copy(name: &str) -> TempDir {
    fn below(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() {
                below(&from, &to);
            } else {
                fs::copy(from, to).unwrap();
            }
        }
    }
    let folder = tempdir().unwrap();
    below(&stored(name), folder.path());
    folder
}

pub fn kind(name: &str) -> Format {
    if name.starts_with("tar") { Format::Tar } else { Format::Parquet }
}

fn folder() -> Splits {
    open(Format::Folder, &stored("folder"), Labels::Fine).unwrap()
}

/// Asserts that two sets hold the same pictures and labels in the same order.
pub fn assert_same(own: &dyn Dataset, expected: &dyn Dataset, what: &str) {
    assert_eq!(own.len(), expected.len(), "{what}");
    assert_eq!(own.labels(), expected.labels(), "{what}");
    for index in 0..own.len() {
        assert_eq!(own.image(index).unwrap(), expected.image(index).unwrap(), "{what} {index}");
        let file = expected.file(index).unwrap().unwrap();
        assert!(own.file(index).unwrap().unwrap() == file, "{what} {index}");
        assert_eq!(own.stored_as(index).unwrap().1, file.len() as u64);
    }
}

#[test]
fn shards_of_every_writer_hold_the_images_of_the_folder() {
    let expected = folder();
    let names = [
        "tar_cls",
        "tar_json",
        "parquet_datasets",
        "parquet_plain",
        "parquet_snappy_pages",
        "parquet_gzip",
        "parquet_second",
        "parquet_second_plain",
        "parquet_words",
    ];
    for name in names {
        let place = copy(name);
        // Once without an index, once through the one that was written.
        for _ in 0..2 {
            let splits = open(kind(name), place.path(), Labels::Fine).unwrap();
            assert_same(&*splits.train, &*expected.train, name);
            assert_same(
                &*splits.validation.unwrap(),
                &**expected.validation.as_ref().unwrap(),
                name,
            );
            if matches!(name, "tar_cls" | "tar_json" | "parquet_datasets" | "parquet_words") {
                assert_eq!(splits.train.classes(), expected.train.classes(), "{name}");
            }
            assert!(splits.found.left_out.is_empty(), "{name}: {}", splits.found);
        }
        let unlabelled = open(kind(name), place.path(), Labels::None).unwrap();
        assert_eq!(unlabelled.train.labels(), None);
    }
}

#[test]
fn rows_without_an_image_are_counted_and_missing_labels_are_told() {
    let place = copy("parquet_nulls");
    let splits = open(Format::Parquet, place.path(), Labels::Auto).unwrap();
    assert_same(&*splits.train, &*folder().train, "nulls");
    assert_says(
        &splits.found.to_string(),
        &["1 rows without an image (row 3)", "no validation images"],
    );
    let place = copy("parquet_no_labels");
    let splits = open(Format::Parquet, place.path(), Labels::Auto).unwrap();
    assert_eq!((splits.train.len(), splits.train.labels()), (18, None));
    assert_says(&splits.found.to_string(), &["no training labels: 2 images have none"]);
    let message = refusal(open(Format::Parquet, place.path(), Labels::Fine));
    assert_says(&message, &["2 training images have no label"]);
}

#[test]
fn superclasses_are_read_from_their_own_column() {
    let place = copy("parquet_coarse");
    for (labels, expected) in [(Labels::Fine, 2), (Labels::Coarse, 1), (Labels::Fine, 2)] {
        let train = open(Format::Parquet, place.path(), labels).unwrap().train;
        assert_eq!(*train.labels().unwrap().last().unwrap(), expected, "{labels:?}");
    }
    let place = copy("parquet_plain");
    let message = refusal(open(Format::Parquet, place.path(), Labels::Coarse));
    assert_says(&message, &["coarse_label", "image.bytes"]);
}

#[test]
fn kinds_that_are_not_read_are_named() {
    let message = refusal(open(Format::Parquet, &stored("parquet_zstd"), Labels::Auto));
    assert_says(&message, &["train.parquet", "ZSTD", "Snappy or gzip"]);
    let message = refusal(open(Format::Parquet, &stored("parquet_delta"), Labels::Auto));
    assert_says(&message, &["DELTA_BINARY_PACKED", "which is not read"]);
    let place = tempdir().unwrap();
    for (start, name) in
        [(&b"\x1f\x8b\x08\0\0\0\0\0"[..], "gunzip"), (b"\x28\xb5\x2f\xfd\0\0\0\0", "unzstd")]
    {
        write(place.path().join("train.tar"), start);
        let message = refusal(open(Format::Tar, place.path(), Labels::Auto));
        assert_says(&message, &["train.tar", "packed with", name]);
    }
    write(place.path().join("train.parquet"), &[7; 100]);
    assert_says(
        &refusal(open(Format::Parquet, place.path(), Labels::Auto)),
        &["train.parquet", "no Parquet file"],
    );
    let packed = tempdir().unwrap();
    write(packed.path().join("train/000000.tar.gz"), b"\x1f\x8b");
    assert_says(
        &refusal(open(Format::Tar, packed.path(), Labels::Auto)),
        &["000000.tar.gz", "is packed", "gunzip"],
    );
    let empty = tempdir().unwrap();
    assert_says(&refusal(open(Format::Tar, empty.path(), Labels::Auto)), &["no shards", ".tar"]);
}

/// Opens a damaged copy of a shard and reads all that it still has. Returns the error.
fn after(change: &dyn Fn(&mut Vec<u8>), name: &str, file: &str) -> Option<String> {
    let place = copy(name);
    let path = place.path().join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    match open(kind(name), place.path(), Labels::Auto) {
        Err(error) => Some(error.to_string()),
        Ok(splits) => {
            let mut first = None;
            for index in 0..splits.train.len() {
                if let Err(error) = splits.train.image(index) {
                    first.get_or_insert(error.to_string());
                }
            }
            first
        }
    }
}

#[test]
fn a_shard_that_is_cut_short_is_refused_with_its_name() {
    for (name, file) in [
        ("tar_cls", "train/000000.tar"),
        ("parquet_plain", "train.parquet"),
        ("parquet_second", "train.parquet"),
    ] {
        let length = fs::metadata(stored(name).join(file)).unwrap().len() as usize;
        // The last record of a tar file may be missing: it holds nothing.
        let most = if kind(name) == Format::Tar { 18_000 } else { length - 1 };
        for parts in 1..24 {
            let end = most * parts / 24;
            let message = after(&|bytes| bytes.truncate(end), name, file);
            let message = message.unwrap_or_else(|| panic!("{name} cut at {end} of {length}"));
            assert_says(&message, &[file]);
        }
    }
}

#[test]
fn changed_bytes_never_end_in_a_panic_or_in_other_lengths() {
    for (name, file) in [
        ("tar_json", "train/000001.tar"),
        ("parquet_snappy_pages", "train.parquet"),
        ("parquet_second", "train.parquet"),
        ("parquet_datasets", "train-00000-of-00001.parquet"),
    ] {
        let length = fs::metadata(stored(name).join(file)).unwrap().len() as usize;
        for at in (0..length).step_by(length / 150) {
            for value in [0, 0x7f, 0xff] {
                after(&|bytes| bytes[at] = value, name, file);
            }
        }
    }
}

#[test]
fn an_index_is_used_again_only_for_the_shard_that_it_was_made_of() {
    let place = copy("tar_cls");
    let index = place.path().join(".vssl-tar.index");
    open(Format::Tar, place.path(), Labels::Fine).unwrap();
    let written = fs::read(&index).unwrap();
    open(Format::Tar, place.path(), Labels::Fine).unwrap();
    assert!(fs::read(&index).unwrap() == written);
    // A damaged index is made anew.
    fs::write(&index, &written[..written.len() - 1]).unwrap();
    open(Format::Tar, place.path(), Labels::Fine).unwrap();
    assert!(fs::read(&index).unwrap() == written);
    // The shards change places: the same names with other bytes.
    let (first, second) =
        (place.path().join("train/000000.tar"), place.path().join("train/000001.tar"));
    let bytes = fs::read(&first).unwrap();
    fs::copy(&second, &first).unwrap();
    fs::write(&second, bytes).unwrap();
    let splits = open(Format::Tar, place.path(), Labels::Fine).unwrap();
    let expected = folder().train;
    assert_eq!(splits.train.image(0).unwrap(), expected.image(7).unwrap());
    assert_eq!(splits.train.image(7).unwrap(), expected.image(0).unwrap());
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_to_is_read_all_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let place = copy("tar_cls");
    let mode = |mode| fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    let splits = open(Format::Tar, place.path(), Labels::Fine).unwrap();
    let may_write = fs::write(place.path().join("x"), "").is_ok();
    mode(0o755);
    assert_same(&*splits.train, &*folder().train, "read only");
    if !may_write {
        assert_says(&splits.found.to_string(), &["is made at every start", ".vssl-tar.index"]);
    }
}

/// As WebDataset has it: the key ends at the first point of the base name, and the last part says what a file is.
#[test]
fn a_name_with_several_points_is_a_sample_by_its_first_and_an_image_by_its_last() {
    let place = tempdir().unwrap();
    let mut tar = tar::Builder::new(fs::File::create(place.path().join("0.tar")).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    let picture = |value| png(2, 1, [value; 3]);
    add("a.v2.0.PNG", &picture(1));
    add("a.v2.0.cls", b"1");
    add("v1.0/b.png", &picture(2));
    add("v1.0/b.cls", b"0");
    add("c.depth.png", &picture(9));
    add("c.png", &picture(3));
    add("c.other.cls", b"7");
    add("c.cls", b"1");
    add("c.more.cls", b"8");
    add("d.left.png", &picture(4));
    add("d.right.png", &picture(8));
    add("d.cls", b"0");
    tar.finish().unwrap();
    let splits = open(Format::Tar, place.path(), Labels::Fine).unwrap();
    let train = &splits.train;
    let values: Vec<u8> = (0..train.len()).map(|at| train.image(at).unwrap().values[0]).collect();
    assert_eq!((values, train.labels().unwrap()), (vec![1, 2, 3, 4], &[1, 0, 1, 0][..]));
    assert!(train.name(0).ends_with("0.tar/a.v2.0.PNG"), "{}", train.name(0));
    assert_says(&splits.found.to_string(), &["2 further images of a sample (c.depth.png)"]);
}

#[test]
fn a_single_shard_is_a_set_of_training_images() {
    let place = copy("tar_cls");
    let shard = place.path().join("validation/000000.tar");
    let splits = open(Format::Tar, &shard, Labels::Auto).unwrap();
    assert!(splits.validation.is_none());
    assert_says(&splits.found.to_string(), &["training images: 000000.tar", "single shard"]);
    let expected = folder().validation.unwrap();
    assert_eq!(splits.train.len(), expected.len());
    assert_eq!(splits.train.image(0).unwrap(), expected.image(0).unwrap());
    let parquet = stored("parquet_plain").join("train.parquet");
    let parquet = open(Format::Parquet, &parquet, Labels::Fine).unwrap();
    assert_same(&*parquet.train, &*folder().train, "a single Parquet file");
    assert_says(&refusal(open(Format::Parquet, &shard, Labels::Auto)), &["000000.tar", ".parquet"]);
    let config = vssl_data::DataConfig {
        format: Format::Tar,
        path: shard,
        train: Some("train".into()),
        ..Default::default()
    };
    let message = refusal(vssl_data::dataset::open(&config, None));
    assert_says(&message, &["single shard", "data.train"]);
}

#[test]
fn samples_of_a_tar_file_are_told_apart_by_their_first_point() {
    let place = tempdir().unwrap();
    let mut tar = tar::Builder::new(fs::File::create(place.path().join("0.tar")).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    let long = "a/".repeat(70) + "x";
    let picture = |value| png(2, 1, [value; 3]);
    add("n01/1.cls", b"2\n");
    add("n01/1.PNG", &picture(1));
    add("n01/1.seg.png", &picture(9));
    add("n02/1.jpg", &picture(2));
    add("n02/1.png", &picture(8));
    add("n02/1.cls", b"0");
    add("only.txt", b"a caption");
    add(&format!("{long}.png"), &picture(3));
    add(&format!("{long}.json"), br#"{"cls": 1}"#);
    add("README", b"about");
    tar.finish().unwrap();
    let splits = open(Format::Tar, place.path(), Labels::Fine).unwrap();
    let values: Vec<u8> =
        (0..3).map(|index| splits.train.image(index).unwrap().values[0]).collect();
    assert_eq!(values, [1, 2, 3]);
    assert_eq!(splits.train.labels().unwrap(), [2, 0, 1]);
    assert_eq!(splits.train.classes(), ["0", "1", "2"]);
    assert!(
        splits.train.name(2).ends_with("0.tar/".to_owned().as_str())
            || splits.train.name(2).contains("a/a/")
    );
    assert_says(
        &splits.found.to_string(),
        &[
            "2 further images of a sample (n01/1.seg.png)",
            "1 samples without an image (only)",
            "1 without an ending, in shards (README)",
        ],
    );
}

#[test]
fn labels_of_the_images_to_evaluate_on_are_classes_of_training() {
    let place = copy("tar_json");
    let validation = place.path().join("validation/000000.tar");
    let bytes = fs::read(&validation).unwrap();
    let at = bytes.windows(5).position(|window| window == b"\"ant\"").unwrap();
    let mut changed = bytes.clone();
    changed[at + 1..at + 4].copy_from_slice(b"owl");
    fs::write(&validation, changed).unwrap();
    let message = refusal(open(Format::Tar, place.path(), Labels::Auto));
    assert_says(&message, &["\"owl\"", "no class of the training images"]);
    // More numbers than names.
    let place = copy("tar_cls");
    write(place.path().join("classes.txt"), b"ant\nbee\n");
    let message = refusal(open(Format::Tar, place.path(), Labels::Auto));
    assert_says(&message, &["the label 2", "2 names of classes"]);
}

#[test]
fn a_list_names_images_labels_and_splits() {
    let expected = folder();
    for name in ["list.csv", "list.parquet"] {
        let splits = open(Format::List, &stored("list").join(name), Labels::Auto).unwrap();
        assert_same(&*splits.train, &*expected.train, name);
        assert_same(&*splits.validation.unwrap(), &**expected.validation.as_ref().unwrap(), name);
        assert_eq!(splits.train.classes(), ["ant", "bee", "cat"]);
        assert_says(&splits.found.to_string(), &["training images: 18 of the list"]);
    }
    let place = tempdir().unwrap();
    let list = place.path().join("x.csv");
    let with = |text: &str, labels| {
        fs::write(&list, text).unwrap();
        open(Format::List, &list, labels)
    };
    write(place.path().join("a,b.png"), &png(1, 1, [7; 3]));
    let splits = with("Label,Path\n10,\"a,b.png\"\n9,\"a,b.png\"\n", Labels::Auto).unwrap();
    assert_eq!(splits.train.classes(), ["9", "10"]);
    assert_eq!(splits.train.labels().unwrap(), [1, 0]);
    assert_eq!(splits.train.image(1).unwrap().values, [7; 3]);
    let text = "path , label, split\n\"a,b.png \", oak, train\n\"a,b.png\",oak ,train \n";
    let splits = with(text, Labels::Auto).unwrap();
    assert_eq!((splits.train.classes(), splits.train.len()), (&["oak".to_owned()][..], 2));
    assert_eq!(splits.train.image(0).unwrap().values, [7; 3]);
    let splits = with("path,label\na.png,\nb.png,3\n", Labels::Auto).unwrap();
    assert_eq!(splits.train.labels(), None);
    assert_says(&splits.train.image(0).unwrap_err().to_string(), &["a.png", "No such file"]);
    for (text, parts) in [
        ("file_path\na.png\n", &["no column of paths", "called path"][..]),
        ("path,label\na.png\n", &["line 2 has 1 cells"]),
        ("path,split\na.png,val\n", &["no training images"]),
        ("path,label\n,3\n", &["image 0 has no path"]),
        ("path,label,split\na,1,train\nb,2,val\n", &["\"2\"", "no class of training"]),
    ] {
        assert_says(&refusal(with(text, Labels::Auto)), parts);
    }
    assert_says(
        &refusal(with("path,label\na.png,\n", Labels::Fine)),
        &["1 training image has no label"],
    );
    let splits = with("path,split\na.png,train\nb.png,holdout\n", Labels::Auto).unwrap();
    assert_says(&splits.found.to_string(), &["1 of other splits (b.png)"]);
}
