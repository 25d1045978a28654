//! What is fuzzed: every reader of the files of a data set.
//!
//! A target reads its bytes as the program would. It must come back, without a panic and with little memory; that
//! a file is refused is as good as that it is read. `tests/it/corpora.rs` runs the stored inputs through the same
//! functions.

#[path = "folder.rs"]
mod folder;

use std::fs;
use std::path::Path;

use vssl_data::dataset::{self, Folder, Format, Labels, Range, Tones};
use vssl_data::{DataConfig, DataError, Dataset, panics};

use folder::folder;

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("the file is written");
}

/// An image file of any format, with every setting of its tones and several numbers of channels. What is read has as
/// many pixels and channels as it says, and is read the same again.
pub fn image(bytes: &[u8]) {
    let folder = folder();
    let file = folder.path().join("x.jpg");
    write(&file, bytes);
    for range in [Range::Full, Range::Between([-1.0, 300.0]), Range::Percentiles] {
        for channels in [3, 1, 2, 4, 5] {
            let tones = Tones { range, ..Tones::default() };
            let set =
                Folder::of_files(vec![file.clone()]).with_tones(tones).with_channels(channels);
            let largest = set.largest_of_sixteen_bits(0);
            assert!(!panics::is_caught());
            match set.image(0) {
                Ok(image) => {
                    assert_eq!(image.values.len(), image.width * image.height * channels);
                    assert!(!image.values.is_empty());
                    assert_eq!(set.image(0).ok().as_ref(), Some(&image));
                }
                Err(DataError::BadImage { what, .. }) => {
                    assert!(!what.contains("panicked"), "{what}");
                    assert!(largest.is_none() || channels != 3);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Opens a set and reads its first and last image.
fn open(format: Format, path: &Path) {
    for labels in [Labels::Auto, Labels::Fine, Labels::Coarse, Labels::None] {
        let config = DataConfig { format, path: path.into(), labels, ..DataConfig::default() };
        match dataset::open(&config, None) {
            Ok(splits) => {
                for split in [Some(splits.train), splits.validation].into_iter().flatten() {
                    assert!(!split.is_empty());
                    for index in [0, split.len() - 1] {
                        let image = split.image(index).expect("images in memory can be read");
                        assert_eq!(image.values.len(), image.width * image.height * 3);
                    }
                    if let Some(labels) = split.labels() {
                        assert_eq!(labels.len(), split.len());
                        let classes = split.classes().len() as u32;
                        assert!(labels.iter().all(|&label| label < classes));
                    }
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A tar file as a shard. What is found can be read, or is a bad image.
pub fn tar_shard(bytes: &[u8]) {
    shard(Format::Tar, "x.tar", bytes);
}

/// A Parquet file as a shard, and as a list.
pub fn parquet_shard(bytes: &[u8]) {
    shard(Format::Parquet, "x.parquet", bytes);
    let folder = folder();
    let path = folder.path().join("x.parquet");
    write(&path, bytes);
    let config = DataConfig { format: Format::List, path, ..DataConfig::default() };
    if let Err(error) = dataset::open(&config, None) {
        assert!(!error.to_string().is_empty());
    }
}

fn shard(format: Format, name: &str, bytes: &[u8]) {
    let folder = folder();
    write(&folder.path().join(name), bytes);
    for labels in [Labels::Auto, Labels::Fine] {
        let path = folder.path().into();
        let config = DataConfig { format, path, labels, ..DataConfig::default() };
        match dataset::open(&config, None) {
            Ok(splits) => {
                let split = splits.train;
                for index in [0, split.len() - 1] {
                    if let Some(Ok(file)) = split.file(index) {
                        assert_eq!(
                            split.stored_as(index).map(|(_, bytes)| bytes),
                            Some(file.len() as u64)
                        );
                    }
                    if let Err(error) = split.image(index) {
                        assert!(matches!(error, DataError::BadImage { .. }), "{error}");
                    }
                }
                let classes = split.classes().len() as u32;
                assert!(split.labels().is_none_or(|own| own.iter().all(|&label| label < classes)));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// IDX files, plain or gzipped: a file of images and a file of labels, between them the bytes `LABELS`.
pub fn idx(bytes: &[u8]) {
    let mark = b"LABELS";
    let folder = folder();
    let at = bytes.windows(mark.len()).position(|window| window == mark);
    let (images, labels) = match at {
        Some(at) => (&bytes[..at], Some(&bytes[at + mark.len()..])),
        None => (bytes, None),
    };
    write(&folder.path().join("train-images-idx3-ubyte"), images);
    if let Some(labels) = labels {
        write(&folder.path().join("train-labels-idx1-ubyte"), labels);
    }
    open(Format::Idx, folder.path());
}

/// A file as the archive of CIFAR-10 and of CIFAR-100, and as the one training file of CIFAR-100.
pub fn cifar(bytes: &[u8]) {
    let folder = folder();
    let archive = folder.path().join("cifar.tar.gz");
    write(&archive, bytes);
    open(Format::Cifar10, &archive);
    open(Format::Cifar100, &archive);
    let unpacked = folder.path().join("cifar-100-binary");
    fs::create_dir(&unpacked).expect("the folder is made");
    write(&unpacked.join("train.bin"), bytes);
    open(Format::Cifar100, &unpacked);
}
