//! A Parquet file of `columns`, read one row group at a time. Used by `index`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use parquet::{
    column::reader::{ColumnReader, ColumnReaderImpl, get_typed_column_reader},
    data_type::{ByteArrayType, DataType, FloatType, Int64Type},
    errors::ParquetError,
    file::{
        reader::{FileReader, RowGroupReader},
        serialized_reader::SerializedFileReader,
    },
};

use vssl_data::panics::caught;

use super::{
    ORIGIN, Origin,
    table::{Entry, IndexError, Table, origin},
};
use crate::features::{FeatureError, MOST_CLASSES, Source};

/// The largest number of floats or labels for which memory is reserved before they are read.
const MOST_RESERVED: usize = 1 << 24;

/// Calls a function that reads the file. The library panics at some numbers that no writer makes, such as a
/// column that starts before the file.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    caught(read).unwrap_or_else(|panic| Err(ParquetError::General(panic)))
}

/// A Parquet file of features.
pub(super) struct StoredColumns {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    /// First row of each row group, and the number of rows.
    starts: Vec<usize>,
    dim: usize,
    has_labels: bool,
    /// The features that were decoded last, and of which row group: rows are read in order.
    decoded: Mutex<Option<(usize, Vec<f32>)>>,
}

impl StoredColumns {
    pub(super) fn open(path: &Path) -> Result<(Origin, Self), IndexError> {
        let file =
            File::open(path).map_err(|source| IndexError::Io { path: path.to_owned(), source })?;
        let contents = |what: String| IndexError::Contents { path: path.to_owned(), what };
        let reader = guarded(|| SerializedFileReader::new(file))
            .map_err(|error| contents(error.to_string()))?;
        let metadata = reader.metadata();
        let about = metadata.file_metadata().key_value_metadata().into_iter().flatten();
        let about =
            about.filter(|entry| entry.key == ORIGIN).find_map(|entry| entry.value.as_ref());
        let origin = origin(path, about.map(String::as_str))?;
        let mut starts = vec![0_usize];
        for group in metadata.row_groups() {
            let rows = usize::try_from(group.num_rows()).ok();
            let start = rows.and_then(|rows| starts[starts.len() - 1].checked_add(rows));
            starts.push(start.ok_or_else(|| contents(format!("{} rows", group.num_rows())))?);
        }
        let mut columns = Self {
            path: path.to_owned(),
            reader,
            starts,
            dim: 0,
            has_labels: false,
            decoded: Mutex::default(),
        };
        for name in ["image", "path", "features.list.element"] {
            columns.column(name).ok_or_else(|| contents(format!("no column {name:?}")))?;
        }
        columns.has_labels = columns.column("label").is_some();
        columns.dim = guarded(|| columns.width()).map_err(|error| contents(error.to_string()))?;
        Ok((origin, columns))
    }

    /// Position of a column.
    fn column(&self, name: &str) -> Option<usize> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        schema.columns().iter().position(|column| column.path().string() == name)
    }

    /// The typed reader of a column, at the row `skip` of its group.
    fn reader<T: DataType>(
        &self,
        group: &dyn RowGroupReader,
        name: &str,
        skip: usize,
    ) -> Result<ColumnReaderImpl<T>, ParquetError> {
        let wrong = |what: String| ParquetError::General(what);
        let at = self.column(name).ok_or_else(|| wrong(format!("no column {name:?}")))?;
        let column: ColumnReader = group.get_column_reader(at)?;
        let kind = self.reader.metadata().file_metadata().schema_descr().column(at).physical_type();
        if kind != T::get_physical_type() {
            return Err(wrong(format!(
                "column {name:?} is {kind}, expected {}",
                T::get_physical_type()
            )));
        }
        let mut column = get_typed_column_reader::<T>(column);
        column.skip_records(skip)?;
        Ok(column)
    }

    /// Numbers in the features of the first row.
    fn width(&self) -> Result<usize, ParquetError> {
        if self.rows() == 0 {
            return Ok(0);
        }
        Ok(self.features(0, Some(1))?.len())
    }

    /// Features of a row group, or of its first rows.
    fn features(&self, group: usize, rows: Option<usize>) -> Result<Vec<f32>, ParquetError> {
        let count = self.starts[group + 1] - self.starts[group];
        let reader = self.reader.get_row_group(group)?;
        let mut column = self.reader::<FloatType>(&*reader, "features.list.element", 0)?;
        // The count is the file's own claim: memory for more rows is taken as they come.
        let expected = rows.unwrap_or(count).saturating_mul(self.dim);
        let mut values = Vec::with_capacity(expected.min(MOST_RESERVED));
        let (mut present, mut levels) = (Vec::new(), Vec::new());
        let wanted = rows.unwrap_or(count);
        let mut read = 0;
        while read < wanted {
            // In pieces: two levels a number would take as much room as the numbers.
            present.clear();
            levels.clear();
            let piece = (wanted - read).min(256);
            let (records, ..) =
                column.read_records(piece, Some(&mut present), Some(&mut levels), &mut values)?;
            if records == 0 {
                break;
            }
            read += records;
        }
        Ok(values)
    }

    fn copy(&self, mut first: usize, mut out: &mut [f32]) -> Result<(), ParquetError> {
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        while !out.is_empty() {
            let group = self.group_of(first);
            let rows = self.starts[group + 1] - self.starts[group];
            let values = match &mut *decoded {
                Some((known, values)) if *known == group => values,
                other => {
                    // Before the next is read: one group at a time.
                    *other = None;
                    let values = self.features(group, None)?;
                    if values.len() != rows * self.dim {
                        return Err(ParquetError::General(format!(
                            "{} numbers in {rows} rows of {} in row group {group}",
                            values.len(),
                            self.dim
                        )));
                    }
                    &mut other.insert((group, values)).1
                }
            };
            let from = &values[(first - self.starts[group]) * self.dim..];
            let count = from.len().min(out.len());
            out[..count].copy_from_slice(&from[..count]);
            out = &mut out[count..];
            first += count / self.dim;
        }
        Ok(())
    }

    /// Returns the class of each row; `None` for a file without labels.
    ///
    /// # Errors
    /// The file cannot be read, or a label is no class.
    pub(super) fn read_labels(&self) -> Result<Option<Vec<i64>>, IndexError> {
        let contents = |what: String| IndexError::Contents { path: self.path.clone(), what };
        if !self.has_labels {
            return Ok(None);
        }
        let labels =
            guarded(|| self.labels_of_groups()).map_err(|error| contents(error.to_string()))?;
        if labels.len() != self.rows() {
            let what = format!("{} labels for {} rows", labels.len(), self.rows());
            return Err(contents(what));
        }
        match labels.iter().position(|label| !(0..MOST_CLASSES).contains(label)) {
            None => Ok(Some(labels)),
            Some(row) => Err(contents(format!("label of row {row} is {}", labels[row]))),
        }
    }

    fn labels_of_groups(&self) -> Result<Vec<i64>, ParquetError> {
        let mut labels = Vec::with_capacity(self.rows().min(MOST_RESERVED));
        for (group, starts) in self.starts.windows(2).enumerate() {
            let reader = self.reader.get_row_group(group)?;
            let mut column = self.reader::<Int64Type>(&*reader, "label", 0)?;
            let mut left = starts[1] - starts[0];
            while left > 0 {
                let (records, ..) =
                    column.read_records(left.min(1 << 16), None, None, &mut labels)?;
                if records == 0 {
                    break;
                }
                left -= records;
            }
        }
        Ok(labels)
    }

    fn group_of(&self, row: usize) -> usize {
        self.starts.partition_point(|&start| start <= row) - 1
    }

    fn read_entry(&self, row: usize) -> Result<Entry, ParquetError> {
        let group = self.group_of(row);
        let at = row - self.starts[group];
        let reader = self.reader.get_row_group(group)?;
        let (mut images, mut paths, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        self.reader::<Int64Type>(&*reader, "image", at)?.read_records(
            1,
            None,
            None,
            &mut images,
        )?;
        self.reader::<ByteArrayType>(&*reader, "path", at)?
            .read_records(1, None, None, &mut paths)?;
        if self.has_labels {
            self.reader::<Int64Type>(&*reader, "label", at)?.read_records(
                1,
                None,
                None,
                &mut labels,
            )?;
        }
        match (images.first(), paths.first()) {
            (Some(&image), Some(path)) => Ok(Entry {
                image: image as usize,
                path: String::from_utf8_lossy(path.data()).into_owned(),
                label: labels.first().copied(),
            }),
            _ => Err(ParquetError::General(format!("no image or path in row {row}"))),
        }
    }
}

impl Source for StoredColumns {
    fn rows(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    fn dim(&self) -> usize {
        self.dim
    }

    /// A search needs no labels; [`Table::entry`] has the label of a row that was found.
    fn labels(&self) -> Option<&[i64]> {
        None
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), FeatureError> {
        guarded(|| self.copy(first, out)).map_err(|error| FeatureError::Read {
            name: self.path.display().to_string(),
            first,
            last: first + out.len() / self.dim.max(1),
            what: error.to_string(),
        })?;
        match out.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let (row, column) = (first + at / self.dim, at % self.dim);
                let name = self.path.display().to_string();
                Err(FeatureError::StoredNotFinite { name, row, column, value: out[at] })
            }
        }
    }
}

impl StoredColumns {
    fn paths_of_groups(&self) -> Result<Vec<String>, ParquetError> {
        let mut paths = Vec::with_capacity(self.rows().min(MOST_RESERVED));
        for (group, starts) in self.starts.windows(2).enumerate() {
            let reader = self.reader.get_row_group(group)?;
            let mut column = self.reader::<ByteArrayType>(&*reader, "path", 0)?;
            let (mut left, mut read) = (starts[1] - starts[0], Vec::new());
            while left > 0 {
                read.clear();
                let (records, ..) =
                    column.read_records(left.min(1 << 16), None, None, &mut read)?;
                if records == 0 {
                    break;
                }
                paths.extend(
                    read.iter().map(|path| String::from_utf8_lossy(path.data()).into_owned()),
                );
                left -= records;
            }
        }
        Ok(paths)
    }
}

impl Table for StoredColumns {
    fn paths(&self) -> Result<Vec<String>, IndexError> {
        let contents = |what: String| IndexError::Contents { path: self.path.clone(), what };
        let paths =
            guarded(|| self.paths_of_groups()).map_err(|error| contents(error.to_string()))?;
        match paths.len() == self.rows() {
            true => Ok(paths),
            false => Err(contents(format!("{} paths for {} rows", paths.len(), self.rows()))),
        }
    }

    fn labels_of_rows(&self) -> Result<Option<Vec<i64>>, IndexError> {
        self.read_labels()
    }

    fn entry(&self, row: usize) -> Result<Entry, IndexError> {
        guarded(|| self.read_entry(row)).map_err(|error| IndexError::Contents {
            path: self.path.clone(),
            what: error.to_string(),
        })
    }
}
