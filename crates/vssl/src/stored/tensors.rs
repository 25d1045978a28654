//! A safetensors file of `tensors`, read where a row is asked for. Used by `index`.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    ORIGIN, Origin,
    table::{Entry, IndexError, Table, origin},
};
use crate::{
    features::{self, FeatureError, FileRows, Source},
    formats::{HeaderError, safetensors::read_header},
};

/// A safetensors file of features.
pub(super) struct StoredTensors {
    path: PathBuf,
    file: File,
    rows: FileRows,
    /// The first byte of the tensor `images`, and of `path_ends`.
    images: u64,
    path_ends: u64,
    /// The first byte of the tensor `paths`, and its length.
    paths: (u64, u64),
}

impl StoredTensors {
    pub(super) fn open(path: &Path) -> Result<(Origin, Self), IndexError> {
        // Checks the header and the length of the file.
        let rows = features::open(path, None)?;
        let contents = |what: String| IndexError::Contents { path: path.to_owned(), what };
        let io = |source| IndexError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        let header = read_header(&mut file).map_err(|error| match error {
            HeaderError::Io(source) => io(source),
            HeaderError::Malformed(what) | HeaderError::Unread(what) => contents(what),
        })?;
        let about = header.metadata.get(ORIGIN);
        let origin = origin(path, about.map(String::as_str))?;
        let tensor = |name: &str, expected: Option<u64>| {
            let array =
                header.array(name).ok_or_else(|| contents(format!("no tensor {name:?}")))?;
            let bytes = array.end().unwrap_or(array.offset) - array.offset;
            match expected.is_none_or(|expected| expected == bytes) {
                true => Ok((array.offset, bytes)),
                false => {
                    let rows = rows.rows();
                    Err(contents(format!("{name:?} has {bytes} bytes for {rows} rows")))
                }
            }
        };
        let numbers = Some(8 * rows.rows() as u64);
        let (images, path_ends) = (tensor("images", numbers)?.0, tensor("path_ends", numbers)?.0);
        let paths = tensor("paths", None)?;
        Ok((origin, Self { path: path.to_owned(), file, images, path_ends, paths, rows }))
    }

    fn number(&self, tensor: u64, row: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, tensor + 8 * row as u64)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn image_and_path(&self, row: usize) -> io::Result<(usize, String)> {
        let start = if row == 0 { 0 } else { self.number(self.path_ends, row - 1)? };
        let end = self.number(self.path_ends, row)?;
        if start > end || end > self.paths.1 {
            let what = format!("path of row {row}: bytes {start} to {end} of {}", self.paths.1);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut path = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut path, self.paths.0 + start)?;
        let image = self.number(self.images, row)? as usize;
        Ok((image, String::from_utf8_lossy(&path).into_owned()))
    }
}

impl Source for StoredTensors {
    fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn labels(&self) -> Option<&[i64]> {
        self.rows.labels()
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), FeatureError> {
        self.rows.read(first, out)
    }
}

impl Table for StoredTensors {
    fn paths(&self) -> Result<Vec<String>, IndexError> {
        (0..self.rows()).map(|row| Ok(self.entry(row)?.path)).collect()
    }

    fn labels_of_rows(&self) -> Result<Option<Vec<i64>>, IndexError> {
        Ok(self.labels().map(<[i64]>::to_vec))
    }

    fn entry(&self, row: usize) -> Result<Entry, IndexError> {
        let read = self.image_and_path(row);
        let (image, path) =
            read.map_err(|source| IndexError::Io { path: self.path.clone(), source })?;
        Ok(Entry { image, path, label: self.labels().map(|labels| labels[row]) })
    }
}
