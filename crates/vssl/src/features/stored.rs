//! Features in file formats that other programs write as well: `.npy` and `.safetensors`.
//!
//! Only the header is read here; the rows stay in the file and are read block by block through [`FileRows`].
//! Called by `vssl knn` and by the index of `vssl search`.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

use safetensors::Dtype;

use super::{FileRows, MOST_CLASSES, rows::Number};
use crate::formats::{Array, HeaderError, npy, safetensors as format};

/// The name of the tensor in a safetensors file that holds the rows.
const FEATURES: &str = "features";
/// The name of the tensor in a safetensors file that holds the class of each row.
const LABELS: &str = "labels";

/// Why a file of features cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoredError {
    /// The operating system refused.
    #[error("{}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The name of the file has the ending of neither format.
    #[error("{}: expected features in a file called *.npy or *.safetensors", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// The header is not valid.
    #[error("{}: not a {format} file: {what}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The format that the name of the file promises.
        format: &'static str,
        /// The fault of the header.
        what: String,
    },
    /// The array is stored in a way that is not read.
    #[error("{}: {what}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// How the array is stored, and how it can be stored instead.
        what: String,
    },
    /// The file has no tensor of the expected name.
    #[error("{}: no tensor {wanted:?}, it has: {}", path.display(), known.join(", "))]
    Missing {
        /// The file.
        path: PathBuf,
        /// The name of the tensor.
        wanted: &'static str,
        /// The names of the tensors that the file has.
        known: Vec<String>,
    },
    /// The numbers have a type or an order that is not supported.
    #[error("{}: {what} is {got}, expected {expected}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// The name of the tensor.
        what: &'static str,
        /// The type or shape that the tensor has.
        got: String,
        /// The types or shapes that are supported.
        expected: &'static str,
    },
    /// The file has fewer bytes than the header promises.
    #[error(
        "{}: {got} bytes, but the header speaks of {expected}; was the file cut short?",
        path.display()
    )]
    Short {
        /// The file.
        path: PathBuf,
        /// The length of the file in bytes.
        got: u64,
        /// The end of the last tensor in bytes.
        expected: u64,
    },
    /// A label is outside of the range of classes.
    #[error(
        "{}: label of row {row} is {label}; expected a class index from 0 to {most}",
        path.display()
    )]
    Label {
        /// The file of the labels.
        path: PathBuf,
        /// The index of the row.
        row: usize,
        /// The label.
        label: i64,
        /// The largest label that is allowed.
        most: i64,
    },
    /// The number of labels is not the number of rows.
    #[error("{}: {got} labels for {expected} rows of features", path.display())]
    Labels {
        /// The file of the labels.
        path: PathBuf,
        /// The number of labels.
        got: usize,
        /// The number of rows.
        expected: usize,
    },
}

/// Opens the rows of `path` and finds their labels. They are in `labels` if it is given, else in the tensor
/// `labels` of a safetensors file or, for `NAME.npy`, in `NAME.labels.npy` beside it. Without any of these
/// files the rows have no labels.
///
/// # Errors
/// [`StoredError`], which names the file.
pub fn open(path: &Path, labels: Option<&Path>) -> Result<FileRows, StoredError> {
    let (file, arrays) = read_header(path)?;
    let features = array(path, &arrays, FEATURES)?;
    let kind = |got: String, expected| {
        let (path, what) = (path.to_owned(), FEATURES);
        StoredError::Kind { path, what, got, expected }
    };
    let number = match features.kind {
        Dtype::F16 => Number::F16,
        Dtype::F32 => Number::F32,
        Dtype::F64 => Number::F64,
        other => return Err(kind(format!("{other:?}"), "F32 (numpy: float32), F16 or F64")),
    };
    let [rows, dim] = features.shape[..] else {
        return Err(kind(format!("of shape {:?}", features.shape), "the shape [rows, numbers]"));
    };
    if rows == 0 || dim == 0 {
        return Err(kind(format!("of shape [{rows}, {dim}]"), "at least one row and one number"));
    }
    let beside = path.with_extension("labels.npy");
    let labels = match labels {
        Some(labels) => Some(read_labels(labels, rows)?),
        None if arrays.iter().any(|(name, _)| name == LABELS) => Some(read_labels(path, rows)?),
        None if is(path, "npy") && beside.is_file() => Some(read_labels(&beside, rows)?),
        None => None,
    };
    let (name, offset) = (path.display().to_string(), features.offset);
    Ok(FileRows { file, name, offset, number, rows, dim, labels })
}

/// Reads the class of each of `rows` rows: the only array of an `.npy` file, or the tensor `labels` of a
/// safetensors file.
///
/// # Errors
/// [`StoredError`], which names the file.
pub fn read_labels(path: &Path, rows: usize) -> Result<Vec<i64>, StoredError> {
    let (mut file, arrays) = read_header(path)?;
    let found = array(path, &arrays, LABELS)?;
    let kind = |got: String, expected| {
        let (path, what) = (path.to_owned(), LABELS);
        StoredError::Kind { path, what, got, expected }
    };
    let [got] = found.shape[..] else {
        return Err(kind(format!("of shape {:?}", found.shape), "the shape [rows]"));
    };
    if got != rows {
        return Err(StoredError::Labels { path: path.to_owned(), got, expected: rows });
    }
    let width = found.kind.bitsize() / 8;
    let mut bytes = vec![0; rows * width];
    let io = |source| StoredError::Io { path: path.to_owned(), source };
    file.seek(io::SeekFrom::Start(found.offset)).map_err(io)?;
    file.read_exact(&mut bytes).map_err(io)?;
    let number: fn(&[u8]) -> i64 = match found.kind {
        Dtype::I64 => |b| i64::from_le_bytes(whole(b)),
        Dtype::I32 => |b| i32::from_le_bytes(whole(b)).into(),
        Dtype::I16 => |b| i16::from_le_bytes(whole(b)).into(),
        Dtype::I8 => |b| i8::from_le_bytes(whole(b)).into(),
        // Larger numbers are no class either.
        Dtype::U64 => |b| i64::try_from(u64::from_le_bytes(whole(b))).unwrap_or(i64::MAX),
        Dtype::U32 => |b| u32::from_le_bytes(whole(b)).into(),
        Dtype::U16 => |b| u16::from_le_bytes(whole(b)).into(),
        Dtype::U8 => |b| b[0].into(),
        other => return Err(kind(format!("{other:?}"), "whole numbers, I64 for example")),
    };
    let labels: Vec<i64> = bytes.chunks_exact(width).map(number).collect();
    match labels.iter().position(|label| !(0..MOST_CLASSES).contains(label)) {
        None => Ok(labels),
        Some(row) => {
            let (path, label, most) = (path.to_owned(), labels[row], MOST_CLASSES - 1);
            Err(StoredError::Label { path, row, label, most })
        }
    }
}

fn whole<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("cut into pieces of the number's own width")
}

/// Returns the array `name`. An `.npy` file has only one array, which has no name.
fn array<'a>(
    path: &Path,
    arrays: &'a [(String, Array)],
    name: &'static str,
) -> Result<&'a Array, StoredError> {
    if is(path, "npy") {
        return Ok(&arrays[0].1);
    }
    let found = arrays.iter().find(|(known, _)| known == name);
    found.map(|(_, array)| array).ok_or_else(|| {
        let mut known: Vec<String> = arrays.iter().map(|(name, _)| name.clone()).collect();
        known.sort_unstable();
        StoredError::Missing { path: path.to_owned(), wanted: name, known }
    })
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|got| got.eq_ignore_ascii_case(extension))
}

/// Reads the names and places of all arrays, and checks that the file is as long as its header says.
fn read_header(path: &Path) -> Result<(File, Vec<(String, Array)>), StoredError> {
    let io = |source| StoredError::Io { path: path.to_owned(), source };
    let (is_npy, is_safetensors) = (is(path, "npy"), is(path, "safetensors"));
    if !is_npy && !is_safetensors {
        return Err(StoredError::Name { path: path.to_owned() });
    }
    let mut file = File::open(path).map_err(io)?;
    let (kind, arrays) = match is_npy {
        true => ("npy", npy::read_header(&mut file).map(|array| vec![(String::new(), array)])),
        false => ("safetensors", format::read_header(&mut file).map(|header| header.arrays)),
    };
    let malformed = |what| StoredError::Header { path: path.to_owned(), format: kind, what };
    let arrays = arrays.map_err(|error| match error {
        HeaderError::Io(source) => io(source),
        HeaderError::Malformed(what) => malformed(what),
        HeaderError::Unread(what) => StoredError::Unread { path: path.to_owned(), what },
    })?;
    let got = file.metadata().map_err(io)?.len();
    for (_, array) in &arrays {
        let end = array.end();
        let end = end.ok_or_else(|| malformed(format!("an array of shape {:?}", array.shape)))?;
        if end > got {
            return Err(StoredError::Short { path: path.to_owned(), got, expected: end });
        }
    }
    Ok((file, arrays))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fs};

    use safetensors::tensor::TensorView;

    use super::*;
    use crate::features::Source;

    fn npy_file(path: &Path, kind: Dtype, shape: &[usize], values: &[u8]) {
        fs::write(path, [&npy::header(kind, shape)[..], values].concat()).unwrap();
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    const VALUES: [f32; 6] = [1.0, -2.0, 3.5, 4.0, 5.0, 1e-3];

    #[test]
    fn rows_and_labels_come_out_of_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        let npy = folder.path().join("a.b.npy");
        npy_file(&npy, Dtype::F32, &[3, 2], &bytes(&VALUES));
        assert_eq!(open(&npy, None).unwrap().labels(), None);
        npy_file(&folder.path().join("a.b.labels.npy"), Dtype::U8, &[3], &[7, 0, 255]);
        let safe = folder.path().join("a.safetensors");
        let (features, labels) = (bytes(&VALUES), [7i64, 0, 255].map(i64::to_le_bytes).concat());
        let views = HashMap::from([
            ("features", TensorView::new(Dtype::F32, vec![3, 2], &features).unwrap()),
            ("labels", TensorView::new(Dtype::I64, vec![3], &labels).unwrap()),
        ]);
        let about = HashMap::from([("encoder".to_owned(), "a run".to_owned())]);
        fs::write(&safe, safetensors::serialize(views, Some(about)).unwrap()).unwrap();
        for path in [&npy, &safe] {
            let rows = open(path, None).unwrap();
            assert_eq!((rows.rows(), rows.dim()), (3, 2));
            assert_eq!(rows.load().unwrap().values, VALUES, "{path:?}");
            assert_eq!(rows.labels(), Some(&[7, 0, 255][..]), "{path:?}");
        }
        let other = folder.path().join("other.npy");
        npy_file(&other, Dtype::I32, &[3], &[1i32, 2, 0].map(i32::to_le_bytes).concat());
        assert_eq!(open(&safe, Some(&other)).unwrap().labels(), Some(&[1, 2, 0][..]));
        npy_file(&other, Dtype::U64, &[3], &[1u64, 2, 0].map(u64::to_le_bytes).concat());
        assert_eq!(open(&safe, Some(&other)).unwrap().labels(), Some(&[1, 2, 0][..]));
        // Halves are exact; doubles are rounded.
        npy_file(&other, Dtype::F16, &[1, 2], &[0x3c00_u16, 0xc100].map(u16::to_le_bytes).concat());
        assert_eq!(open(&other, None).unwrap().load().unwrap().values, [1.0, -2.5]);
        npy_file(&other, Dtype::F64, &[1, 2], &[0.1f64, -3.0].map(f64::to_le_bytes).concat());
        assert_eq!(open(&other, None).unwrap().load().unwrap().values, [0.1, -3.0]);
    }

    #[test]
    fn what_is_no_file_of_features_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let error =
            |path: &Path, labels: Option<&Path>| open(path, labels).unwrap_err().to_string();
        assert!(error(&at("a.txt"), None).contains("*.npy or *.safetensors"));
        assert!(error(&at("no.npy"), None).contains("no.npy: does not exist (No such file"));
        let npy = at("a.npy");
        let cases: [(Dtype, &[usize], &str); 4] = [
            (Dtype::I32, &[3, 2], "features is I32, expected F32"),
            (Dtype::F32, &[6], "features is of shape [6], expected the shape [rows, numbers]"),
            (Dtype::F32, &[4, 2], "was the file cut short?"),
            (Dtype::F32, &[99_999_999_999, 99_999_999_999], "an array of shape"),
        ];
        for (kind, shape, part) in cases {
            npy_file(&npy, kind, shape, &bytes(&VALUES));
            assert!(error(&npy, None).contains(part), "{}", error(&npy, None));
        }
        npy_file(&npy, Dtype::F32, &[3, 2], &bytes(&VALUES));
        let labels = at("l.npy");
        npy_file(&labels, Dtype::I64, &[2], &[0; 16]);
        assert!(error(&npy, Some(&labels)).contains("l.npy: 2 labels for 3 rows"));
        npy_file(&labels, Dtype::I8, &[3], &[0, 3, 255]);
        assert!(error(&npy, Some(&labels)).contains("l.npy: label of row 2 is -1"));
        npy_file(&labels, Dtype::U64, &[3], &[0, 3, u64::MAX].map(u64::to_le_bytes).concat());
        assert!(
            error(&npy, Some(&labels)).contains("l.npy: label of row 2 is 9223372036854775807")
        );
        npy_file(&labels, Dtype::F32, &[3], &[0; 12]);
        assert!(error(&npy, Some(&labels)).contains("expected whole numbers"));
        npy_file(&npy, Dtype::F32, &[3, 2], &bytes(&[0.0, 1.0, 2.0, f32::NAN, 1.0, 1.0]));
        let unread = open(&npy, None).unwrap().load().unwrap_err().to_string();
        assert!(unread.contains("a.npy: row 1, column 1 is NaN"), "{unread}");
        fs::write(&npy, b"\x93NUMPY\x01\x00\x50").unwrap();
        assert!(error(&npy, None).contains("ends within its header"));
        let safe = at("a.safetensors");
        fs::write(&safe, [&20u64.to_le_bytes()[..], b"not json, but enough"].concat()).unwrap();
        assert!(error(&safe, None).contains("not a safetensors file"));
        fs::write(&safe, u64::MAX.to_le_bytes()).unwrap();
        assert!(error(&safe, None).contains("a header of"));
        let data = bytes(&VALUES);
        let views = [("weights", TensorView::new(Dtype::F32, vec![3, 2], &data).unwrap())];
        fs::write(&safe, safetensors::serialize(views, None).unwrap()).unwrap();
        assert!(error(&safe, None).contains("no tensor \"features\", it has: weights"));
    }
}
