//! IDX files, as MNIST and Fashion-MNIST are published (format: the end of
//! <https://web.archive.org/web/http://yann.lecun.com/exdb/mnist/>): a big-endian header, then
//! unsigned bytes. Files may be gzipped; grey becomes RGB unless one channel is
//! asked for.

use std::path::{Path, PathBuf};

use super::Labels;
use super::memory::{Layout, Memory};
use super::read::{self, read_up_to};
use crate::DataError;

/// Reads `train-{images-idx3,labels-idx1}-ubyte` and, where present, `t10k-…` from a folder.
///
/// A labels file may be absent. Class names come from `classes.txt`, one a line; without that file
/// they are "0" to "9".
///
/// # Errors
/// Missing or damaged files, counts that do not fit, labels beyond the classes.
pub(super) fn open(
    folder: &Path,
    labels: Labels,
    channels: usize,
) -> Result<(Memory, Option<Memory>), DataError> {
    if labels == Labels::Coarse {
        return Err(DataError::Setting(
            "data.labels = \"coarse\": IDX files have one kind of label; use \"auto\"".into(),
        ));
    }
    let classes = match read::lines(&folder.join("classes.txt"))? {
        Some(names) if names.is_empty() => {
            return Err(DataError::Format {
                path: folder.join("classes.txt"),
                what: "no names".into(),
                expected: "one class name a line, or no such file".into(),
            });
        }
        Some(names) => names,
        None => (0..10).map(|digit: u32| digit.to_string()).collect(),
    };
    let Some(images) = find(folder, "train-images-idx3-ubyte") else {
        return Err(DataError::Missing {
            path: folder.join("train-images-idx3-ubyte[.gz]"),
            expected: "a folder with the IDX files of MNIST or Fashion-MNIST; `vssl data fetch \
                       fashion-mnist` gets them"
                .into(),
        });
    };
    let train = split(folder, &images, ("train-labels-idx1-ubyte", &classes), labels, channels)?;
    let validation = find(folder, "t10k-images-idx3-ubyte")
        .map(|images| {
            split(folder, &images, ("t10k-labels-idx1-ubyte", &classes), labels, channels)
        })
        .transpose()?;
    Ok((train, validation))
}

/// The plain file `name` in `folder`, or else the gzipped file.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.exists())
}

fn split(
    folder: &Path,
    images: &Path,
    (label_file, classes): (&str, &[String]),
    labels: Labels,
    channels: usize,
) -> Result<Memory, DataError> {
    let ([count, height, width], pixels) = values(images)?;
    if count == 0 || height == 0 || width == 0 {
        return Err(DataError::Format {
            path: images.into(),
            what: format!("{count} images of {width}×{height} pixels"),
            expected: "at least one image of at least one pixel".into(),
        });
    }
    let label_path = match labels {
        Labels::None => None,
        Labels::Auto => find(folder, label_file),
        Labels::Fine | Labels::Coarse => {
            Some(find(folder, label_file).ok_or_else(|| DataError::Missing {
                path: folder.join(label_file),
                expected:
                    "the labels that data.labels = \"fine\" asks for; \"auto\" does without".into(),
            })?)
        }
    };
    let labels = label_path.map(|path| labels_of(&path, count, images, classes)).transpose()?;
    Ok(Memory {
        layout: Layout::Grey,
        channels,
        width,
        height,
        pixels,
        classes: if labels.is_some() { classes.to_vec() } else { Vec::new() },
        labels,
        files: vec![(images.into(), count)],
    })
}

fn labels_of(
    path: &Path,
    count: usize,
    images: &Path,
    classes: &[String],
) -> Result<Vec<u32>, DataError> {
    let ([labelled], labels) = values(path)?;
    if labelled != count {
        return Err(DataError::Format {
            path: path.into(),
            what: format!("{labelled} labels"),
            expected: format!("{count}, one for each image of {}", super::text_of(images)),
        });
    }
    if let Some(record) = labels.iter().position(|&label| usize::from(label) >= classes.len()) {
        return Err(DataError::Format {
            path: path.into(),
            what: format!("label {} at record {record}", labels[record]),
            expected: format!(
                "labels below {}, the number of classes; name more in classes.txt if there are",
                classes.len()
            ),
        });
    }
    Ok(labels.into_iter().map(u32::from).collect())
}

/// The sizes and values of one file of unsigned bytes in `D` dimensions.
fn values<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>), DataError> {
    let damaged =
        |what: String, expected: String| DataError::Format { path: path.into(), what, expected };
    let mut reader = read::open(path, "an IDX file")?;
    let header = read_up_to(&mut *reader, 4 + 4 * D as u64, path)?;
    // 0x08 is the code of unsigned bytes, the last byte the number of dimensions.
    let magic = [0, 0, 8, D as u8];
    if header.len() >= 4 && header[..4] != magic {
        return Err(damaged(
            format!("magic number 0x{:08x}", be(&header[..4])),
            format!("0x{:08x}: IDX, unsigned bytes, dimensions: {D}", be(&magic)),
        ));
    }
    if header.len() < 4 + 4 * D {
        let (got, want) = (header.len(), 4 + 4 * D);
        return Err(damaged(format!("{got} bytes"), format!("an IDX header of {want} bytes")));
    }
    let mut sizes = [0; D];
    for (size, bytes) in sizes.iter_mut().zip(header[4..].chunks_exact(4)) {
        *size = be(bytes) as usize;
    }
    let expected = sizes
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size))
        .ok_or_else(|| damaged(format!("sizes {sizes:?}"), "sizes that fit into memory".into()))?;
    let values = read_up_to(&mut *reader, expected as u64, path)?;
    let rest = read_up_to(&mut *reader, 1, path)?;
    if values.len() < expected || !rest.is_empty() {
        let more = if rest.is_empty() { "" } else { "more than " };
        return Err(damaged(
            format!("{more}{} bytes after the header", values.len()),
            format!("{expected} (sizes {sizes:?}): get the file again"),
        ));
    }
    Ok((sizes, values))
}

fn be(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte))
}
