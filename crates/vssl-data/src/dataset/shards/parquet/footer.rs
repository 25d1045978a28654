//! The footer of a Parquet file: its columns and where their pieces lie
//! (<https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>).

use std::fs::File;
use std::path::Path;

use super::super::file::read_at;
use super::super::thrift::{self, Value};
use crate::DataError;

/// The first and last bytes of a file.
const MAGIC: [u8; 4] = *b"PAR1";

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int32,
    Int64,
    Bytes,
    Other,
}

/// A column of single values.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// The names on the way to it, such as `image`, `bytes`.
    pub(super) path: Vec<String>,
    pub(super) kind: Kind,
    /// The definition level of a value that is there; below it is a null.
    pub(super) most_defined: u32,
    /// Whether there may be several values a row, as in a list.
    pub(super) is_list: bool,
    /// One piece for each group of rows.
    pub(super) pieces: Vec<Piece>,
}

/// The part of a column in one group of rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) codec: i64,
}

/// What the footer says.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) columns: Vec<Column>,
    pub(super) rows: u64,
    /// The text under the key that Hugging Face's library writes.
    pub(super) huggingface: Option<String>,
}

pub(super) fn wrong(path: &Path, what: impl Into<String>, expected: &str) -> DataError {
    DataError::Format { path: path.into(), what: what.into(), expected: expected.into() }
}

pub(super) fn damaged(path: &Path, what: &str) -> DataError {
    wrong(
        path,
        format!("this Parquet file is damaged or cut short: {what}"),
        "a whole file: get it again",
    )
}

impl Footer {
    /// Reads the footer.
    ///
    /// # Errors
    /// A file that is no Parquet file, or a damaged one.
    pub(super) fn read(path: &Path, file: &File, length: u64) -> Result<Self, DataError> {
        let mut first = [0; 4];
        if length < 12 || read_at(file, &mut first, 0).is_err() || first != MAGIC {
            let expected = "a Parquet file, which begins and ends with PAR1";
            return Err(wrong(path, "this is no Parquet file", expected));
        }
        let mut last = [0; 8];
        read_at(file, &mut last, length - 8).map_err(DataError::io(path))?;
        let [a, b, c, d, magic @ ..] = last;
        let size = u64::from(u32::from_le_bytes([a, b, c, d]));
        if magic == *b"PARE" {
            let expected = "a file that is not encrypted";
            return Err(wrong(path, "this Parquet file is encrypted", expected));
        }
        if magic != MAGIC || size > length - 12 {
            return Err(damaged(path, "it does not end with its footer"));
        }
        let mut bytes = vec![0; size as usize];
        read_at(file, &mut bytes, length - 8 - size).map_err(DataError::io(path))?;
        let (message, _) = thrift::structure(&bytes).ok_or_else(|| damaged(path, "its footer"))?;
        Self::of(&message, length).ok_or_else(|| damaged(path, "its footer"))
    }

    fn of(message: &Value, length: u64) -> Option<Self> {
        let rows = u64::try_from(message.int(3)?).ok()?;
        let mut columns = columns(message.list(2))?;
        let mut counted = 0_u64;
        for group in message.list(4) {
            let rows = u64::try_from(group.int(3)?).ok()?;
            counted = counted.checked_add(rows)?;
            let pieces = group.list(1);
            if pieces.len() != columns.len() {
                return None;
            }
            for (column, piece) in columns.iter_mut().zip(pieces) {
                column.pieces.push(Piece::of(piece.field(3)?, rows, length)?);
            }
        }
        let pairs = message.list(5).iter();
        let huggingface = pairs.filter(|pair| pair.text(1).as_deref() == Some("huggingface"));
        let huggingface = huggingface.filter_map(|pair| pair.text(2)).next();
        (counted == rows).then_some(Self { columns, rows, huggingface })
    }
}

impl Piece {
    fn of(meta: &Value, rows: u64, length: u64) -> Option<Self> {
        let place = |id| meta.int(id).and_then(|offset| u64::try_from(offset).ok());
        let data = place(9)?;
        // A dictionary lies before the data.
        let offset =
            place(11).filter(|&dictionary| dictionary > 0).map_or(data, |own| own.min(data));
        let bytes = place(7)?;
        let fits = offset.checked_add(bytes).is_some_and(|end| end <= length);
        fits.then_some(Self { offset, bytes, rows, codec: meta.int(4)? })
    }
}

/// The columns of the schema, a tree that is written from the root down.
fn columns(schema: &[Value]) -> Option<Vec<Column>> {
    fn below(
        schema: &mut std::slice::Iter<'_, Value>,
        above: (&[String], u32, bool),
        children: i64,
        columns: &mut Vec<Column>,
    ) -> Option<()> {
        for _ in 0..children {
            let element = schema.next()?;
            let (mut path, mut most_defined, mut is_list) = (above.0.to_vec(), above.1, above.2);
            path.push(element.text(4)?);
            let repetition = element.int(3).unwrap_or(0);
            most_defined += u32::from(repetition != 0);
            is_list |= repetition == 2;
            match element.int(5).filter(|&children| children > 0) {
                Some(children) if path.len() < 8 => {
                    below(schema, (&path, most_defined, is_list), children, columns)?;
                }
                Some(_) => return None,
                None => {
                    let kind = match element.int(1)? {
                        1 => Kind::Int32,
                        2 => Kind::Int64,
                        6 => Kind::Bytes,
                        _ => Kind::Other,
                    };
                    let pieces = Vec::new();
                    columns.push(Column { path, kind, most_defined, is_list, pieces });
                }
            }
        }
        Some(())
    }
    let mut schema = schema.iter();
    let children = schema.next()?.int(5).unwrap_or(0);
    let mut columns = Vec::new();
    below(&mut schema, (&[], 0, false), children, &mut columns)?;
    Some(columns)
}
