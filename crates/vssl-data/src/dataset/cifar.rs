//! CIFAR-10 and CIFAR-100 in the binary version of <https://www.cs.toronto.edu/~kriz/cifar.html>:
//! records of one label byte (CIFAR-100: coarse, then fine) and 3 × 32 × 32 bytes of planes. The version for Python,
//! which torchvision downloads, has the same images in the same order.
//!
//! Read from the unpacked folder or straight from the `.tar.gz`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::memory::{Layout, Memory};
use super::read::{self, names, stream_error};
use super::{Labels, cifar_python};
use crate::DataError;

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;

/// The differences between the two sets.
struct Kind {
    folder: &'static str,
    archive: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// Number of records in each training file as published; a test file has 10,000.
    train_records: usize,
    /// Number of label bytes before the pixels of a record.
    label_bytes: usize,
    /// The label byte that is used, the number of classes, and the file that names the classes.
    label: usize,
    classes: usize,
    class_file: &'static str,
    class_names: &'static [&'static str],
    python: Python,
}

/// The version for Python: its folder and archive, each file with the one of the binary version that it stands
/// for, the labels of a record, and the file and key of the names of classes.
struct Python {
    folder: &'static str,
    archive: &'static str,
    batches: &'static [(&'static str, &'static str)],
    labels: &'static [&'static str],
    classes: (&'static str, &'static str),
}

const CIFAR10: Kind = Kind {
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    train_records: 10_000,
    label_bytes: 1,
    label: 0,
    classes: 10,
    class_file: "batches.meta.txt",
    class_names: &[
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
    python: Python {
        folder: "cifar-10-batches-py",
        archive: "cifar-10-python.tar.gz",
        batches: &[
            ("data_batch_1", "data_batch_1.bin"),
            ("data_batch_2", "data_batch_2.bin"),
            ("data_batch_3", "data_batch_3.bin"),
            ("data_batch_4", "data_batch_4.bin"),
            ("data_batch_5", "data_batch_5.bin"),
            ("test_batch", "test_batch.bin"),
        ],
        labels: &["labels"],
        classes: ("batches.meta", "label_names"),
    },
};

const CIFAR100: Kind = Kind {
    folder: "cifar-100-binary",
    archive: "cifar-100-binary.tar.gz",
    train: &["train.bin"],
    test: "test.bin",
    train_records: 50_000,
    label_bytes: 2,
    label: 1,
    classes: 100,
    class_file: "fine_label_names.txt",
    class_names: &[],
    python: Python {
        folder: "cifar-100-python",
        archive: "cifar-100-python.tar.gz",
        batches: &[("train", "train.bin"), ("test", "test.bin")],
        labels: &["coarse_labels", "fine_labels"],
        classes: ("meta", "fine_label_names"),
    },
};

const CIFAR100_COARSE: Kind = Kind {
    label: 0,
    classes: 20,
    class_file: "coarse_label_names.txt",
    python: Python { classes: ("meta", "coarse_label_names"), ..CIFAR100.python },
    ..CIFAR100
};

/// Opens CIFAR-10; see [`open`].
pub(super) fn open_ten(path: &Path, labels: Labels) -> Result<(Memory, Option<Memory>), DataError> {
    if labels == Labels::Coarse {
        return Err(DataError::Setting(
            "data.labels = \"coarse\": only CIFAR-100 has coarse labels; use \"auto\"".into(),
        ));
    }
    open(path, &CIFAR10, labels != Labels::None)
}

/// Opens CIFAR-100; see [`open`].
pub(super) fn open_hundred(
    path: &Path,
    labels: Labels,
) -> Result<(Memory, Option<Memory>), DataError> {
    let kind = if labels == Labels::Coarse { &CIFAR100_COARSE } else { &CIFAR100 };
    open(path, kind, labels != Labels::None)
}

/// Opens the folder with the `.bin` files, a folder that holds it or the archive, or the archive
/// itself. The test split and the file of class names may be absent.
///
/// # Errors
/// Missing or truncated files, labels beyond the classes.
fn open(path: &Path, kind: &Kind, labelled: bool) -> Result<(Memory, Option<Memory>), DataError> {
    let (place, mut files) = files(path, kind)?;
    let classes = class_names(&place, &mut files, kind)?;
    let train: Vec<_> = kind
        .train
        .iter()
        .map(|&name| {
            let bytes = files.remove(name).ok_or_else(|| DataError::Missing {
                path: place.join(name),
                expected: "a batch of the training set: unpack the archive again".into(),
            })?;
            Ok((place.join(name), bytes))
        })
        .collect::<Result<_, DataError>>()?;
    let train = records(train, kind.train_records, kind, &classes, labelled)?;
    let validation = files
        .remove(kind.test)
        .map(|bytes| {
            let part = vec![(place.join(kind.test), bytes)];
            records(part, 10_000, kind, &classes, labelled)
        })
        .transpose()?;
    Ok((train, validation))
}

/// The files of the set by name, and the folder or archive that holds them.
fn files(path: &Path, kind: &Kind) -> Result<(PathBuf, BTreeMap<String, Vec<u8>>), DataError> {
    let first = kind.train[0];
    let expected = || {
        format!(
            "a folder with {first}, with {}/ or with {}, or that archive; or the same of the version for Python, \
             {}; `vssl data fetch` gets the first",
            kind.folder, kind.archive, kind.python.archive
        )
    };
    if !path.exists() {
        return Err(DataError::Missing { path: path.into(), expected: expected() });
    }
    if path.is_file() {
        return Ok((path.into(), unpack(path, kind)?));
    }
    for folder in [path.to_path_buf(), path.join(kind.folder)] {
        // Any batch identifies the folder, so that a missing first batch is named in the message.
        if kind.train.iter().any(|name| folder.join(name).exists()) {
            return Ok((folder.clone(), read_folder(&folder, kind)?));
        }
    }
    for folder in [path.to_path_buf(), path.join(kind.python.folder)] {
        let is_batch = |(name, _): &&(&str, &str)| folder.join(name).is_file();
        if kind.python.batches.iter().filter(is_batch).count() == kind.python.batches.len() {
            return Ok((folder.clone(), read_folder(&folder, kind)?));
        }
    }
    for archive in [kind.archive, kind.python.archive].map(|archive| path.join(archive)) {
        if archive.exists() {
            return Ok((archive.clone(), unpack(&archive, kind)?));
        }
    }
    Err(DataError::Format {
        path: path.into(),
        what: "none of the files of the set".into(),
        expected: expected(),
    })
}

fn wanted<'a>(kind: &'a Kind) -> impl Iterator<Item = &'static str> + use<'a> {
    let python = kind.python.batches.iter().map(|(name, _)| *name).chain([kind.python.classes.0]);
    kind.train.iter().copied().chain([kind.test, kind.class_file]).chain(python)
}

/// Turns files of the version for Python into those of the binary version.
///
/// # Errors
/// A file that is not what it should be.
fn as_binary(
    place: &Path,
    mut files: BTreeMap<String, Vec<u8>>,
    kind: &Kind,
) -> Result<BTreeMap<String, Vec<u8>>, DataError> {
    let Python { batches, labels, classes: (class_file, key), .. } = kind.python;
    let wrong = |name: &str, what| DataError::Format {
        path: place.join(name),
        what,
        expected: "a file of CIFAR's version for Python as published: get it again".into(),
    };
    if let Some(bytes) = files.remove(class_file) {
        let names = cifar_python::names(&bytes, key).map_err(|what| wrong(class_file, what))?;
        files.entry(kind.class_file.to_owned()).or_insert(names);
    }
    for (name, binary) in batches {
        if let Some(bytes) = files.remove(*name) {
            let records =
                cifar_python::records(&bytes, labels).map_err(|what| wrong(name, what))?;
            files.entry((*binary).to_owned()).or_insert(records);
        }
    }
    Ok(files)
}

fn read_folder(folder: &Path, kind: &Kind) -> Result<BTreeMap<String, Vec<u8>>, DataError> {
    let mut files = BTreeMap::new();
    for name in wanted(kind) {
        let path = folder.join(name);
        // The version for Python has names that a folder of other things may have.
        let is_there = if name.contains('.') { path.exists() } else { path.is_file() };
        if is_there {
            files.insert(name.into(), read::whole(&path, "a file of the set")?);
        }
    }
    as_binary(folder, files, kind)
}

fn unpack(archive: &Path, kind: &Kind) -> Result<BTreeMap<String, Vec<u8>>, DataError> {
    let mut reader = read::open(archive, "the .tar.gz of the binary version")?;
    let mut files = BTreeMap::new();
    let mut unpacked = 0;
    let mut tar = tar::Archive::new(&mut reader);
    let damaged = |error, unpacked| stream_error(archive, error, unpacked);
    for entry in tar.entries().map_err(|error| damaged(error, 0))? {
        let mut entry = entry.map_err(|error| not_tar(archive, error, unpacked))?;
        let path = entry.path().map_err(|error| damaged(error, unpacked))?.into_owned();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if let Some(name) = wanted(kind).find(|wanted| *wanted == name) {
            let mut bytes = Vec::new();
            entry
                .read_to_end(&mut bytes)
                .map_err(|error| not_tar(archive, error, unpacked + bytes.len()))?;
            unpacked += bytes.len();
            files.insert(name.to_string(), bytes);
        }
    }
    // Reading to the end checks the gzip checksum, which is behind the last record.
    std::io::copy(&mut reader, &mut std::io::sink()).map_err(|error| damaged(error, unpacked))?;
    if files.is_empty() {
        return Err(DataError::Format {
            path: archive.into(),
            what: "none of the files of the set".into(),
            expected: format!("{} as published", kind.archive),
        });
    }
    as_binary(archive, files, kind)
}

/// The error of a damaged archive; the archive reader gives broken headers the kind `Other`.
fn not_tar(archive: &Path, error: std::io::Error, unpacked: usize) -> DataError {
    let kind = match error.kind() {
        std::io::ErrorKind::Other => std::io::ErrorKind::InvalidData,
        kind => kind,
    };
    stream_error(archive, std::io::Error::new(kind, error), unpacked)
}

fn class_names(
    place: &Path,
    files: &mut BTreeMap<String, Vec<u8>>,
    kind: &Kind,
) -> Result<Vec<String>, DataError> {
    let Some(bytes) = files.remove(kind.class_file) else {
        let known = kind.class_names.iter().map(|name| name.to_string());
        let numbers = (kind.class_names.len()..kind.classes).map(|class| class.to_string());
        return Ok(known.chain(numbers).collect());
    };
    let names = names(&String::from_utf8_lossy(&bytes));
    if names.len() != kind.classes {
        return Err(DataError::Format {
            path: place.join(kind.class_file),
            what: format!("{} names", names.len()),
            expected: format!("{}, one a line", kind.classes),
        });
    }
    Ok(names)
}

/// Splits the files of one split into records.
fn records(
    parts: Vec<(PathBuf, Vec<u8>)>,
    published: usize,
    kind: &Kind,
    classes: &[String],
    labelled: bool,
) -> Result<Memory, DataError> {
    let record = kind.label_bytes + PIXELS;
    let count: usize = parts.iter().map(|(_, bytes)| bytes.len() / record).sum();
    let mut pixels = Vec::with_capacity(count * PIXELS);
    let mut labels = Vec::with_capacity(count);
    let mut files = Vec::with_capacity(parts.len());
    for (path, bytes) in parts {
        if bytes.is_empty() || bytes.len() % record != 0 {
            return Err(DataError::Format {
                path,
                what: format!("{} bytes", bytes.len()),
                expected: format!(
                    "{} as published, or another multiple of {record}, the bytes of a record: \
                     get the file again",
                    published * record
                ),
            });
        }
        for (number, bytes) in bytes.chunks_exact(record).enumerate() {
            let label = bytes[kind.label];
            if labelled && usize::from(label) >= kind.classes {
                return Err(DataError::Format {
                    path,
                    what: format!("label {label} at record {number}"),
                    expected: format!("labels below {}: get the file again", kind.classes),
                });
            }
            labels.push(u32::from(label));
            pixels.extend_from_slice(&bytes[kind.label_bytes..]);
        }
        files.push((path, bytes.len() / record));
    }
    Ok(Memory {
        layout: Layout::Planes,
        channels: 3,
        width: SIDE,
        height: SIDE,
        pixels,
        labels: labelled.then_some(labels),
        classes: if labelled { classes.to_vec() } else { Vec::new() },
        files,
    })
}
