//! safetensors: the length of a JSON header, the header, and the bytes of all tensors without gaps.
//!
//! The crate `safetensors` writes and reads files that fit into memory. It can neither write a file piece by
//! piece nor read a header alone, so [`StreamWriter`] and [`read_header`] do this.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use ::safetensors::{
    Dtype, SafeTensorError, SafeTensors,
    tensor::{Metadata, TensorInfo, TensorView},
};
use serde_json::{Map, Value, json};

use super::{Array, HeaderError};

#[cfg(target_endian = "big")]
compile_error!("safetensors are little-endian: the bytes of a tensor are written as they are");

/// The largest header in bytes that is accepted, as in the crate `safetensors`.
const LONGEST_HEADER: u64 = 100_000_000;
/// The size in bytes of the number before the header.
const BEFORE: u64 = 8;
/// The number of bytes that are moved at once.
const PIECE: usize = 1 << 20;

/// The content of a file's header.
pub struct Header {
    /// The names and places of the tensors.
    pub arrays: Vec<(String, Array)>,
    /// The metadata: texts under their keys.
    pub metadata: HashMap<String, String>,
}

impl Header {
    /// Returns the tensor called `name`.
    pub fn array(&self, name: &str) -> Option<&Array> {
        self.arrays.iter().find(|(known, _)| known == name).map(|(_, array)| array)
    }
}

/// Reads only the header at the start of `file`.
///
/// # Errors
/// The header was cut short or is not valid.
pub fn read_header(file: &mut impl Read) -> Result<Header, HeaderError> {
    let mut length = [0; BEFORE as usize];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return Err(HeaderError::Malformed(format!("a header of {length} bytes")));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header)?;
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|error| HeaderError::Malformed(error.to_string()))?;
    let array = |(name, info): (String, &TensorInfo)| {
        let offset = BEFORE + length + info.data_offsets.0 as u64;
        (name, Array { kind: info.dtype, shape: info.shape.clone(), offset })
    };
    let arrays = header.tensors().into_iter().map(array).collect();
    Ok(Header { arrays, metadata: header.metadata().clone().unwrap_or_default() })
}

/// A tensor for [`to_bytes`]: its name, type, shape and bytes.
pub type Named<'a> = (&'a str, Dtype, Vec<usize>, &'a [u8]);

/// Makes a whole file in memory.
///
/// # Errors
/// The bytes of a tensor do not fit its shape.
pub fn to_bytes<'a>(
    tensors: impl Iterator<Item = Named<'a>>,
    metadata: &[(&str, &str)],
) -> Result<Vec<u8>, SafeTensorError> {
    let view = |(name, kind, shape, bytes)| Ok((name, TensorView::new(kind, shape, bytes)?));
    let views = tensors.map(view).collect::<Result<Vec<_>, SafeTensorError>>()?;
    let bytes = ::safetensors::serialize(views, None)?;
    Ok(if metadata.is_empty() { bytes } else { with_metadata(&bytes, metadata) })
}

/// Puts metadata into the header of a file. The crate `safetensors` would write the keys in another order each
/// time; files of equal content should be equal.
fn with_metadata(file: &[u8], metadata: &[(&str, &str)]) -> Vec<u8> {
    let (before, rest) = file.split_at(BEFORE as usize);
    let length = u64::from_le_bytes(before.try_into().expect("these are eight bytes"));
    let (header, tensors) = rest.split_at(length as usize);
    let entries = header.trim_ascii_end().strip_prefix(b"{").expect("a header is a JSON object");
    let metadata: BTreeMap<_, _> = metadata.iter().copied().collect();
    let metadata = serde_json::to_vec(&metadata).expect("texts are plain data");
    let comma: &[u8] = if entries == b"}" { b"" } else { b"," };
    let mut header = [b"{\"__metadata__\":", metadata.as_slice(), comma, entries].concat();
    header.resize(header.len().next_multiple_of(BEFORE as usize), b' ');
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), tensors].concat()
}

/// Reads the tensors of a whole file.
///
/// # Errors
/// The bytes are not a whole file.
pub fn from_bytes(bytes: &[u8]) -> Result<SafeTensors<'_>, SafeTensorError> {
    SafeTensors::deserialize(bytes)
}

/// Reads the metadata of a whole file: texts under their keys.
///
/// # Errors
/// The bytes do not begin with a header.
pub fn metadata(bytes: &[u8]) -> Result<HashMap<String, String>, SafeTensorError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    Ok(header.metadata().clone().unwrap_or_default())
}

/// A tensor that a [`StreamWriter`] fills.
pub struct Column {
    /// The name of the tensor.
    pub name: &'static str,
    /// The type of the tensor's numbers.
    pub kind: Dtype,
    /// The shape of the tensor.
    pub shape: ColumnShape,
    /// The largest number of bytes of the tensor.
    pub room: u64,
}

/// The shape of a tensor that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnShape {
    /// The shape is `[rows]`.
    Rows,
    /// The shape is `[rows, dim]`.
    RowsOf(usize),
    /// The shape is `[rows, lines, columns]`.
    RowsOfMatrices(usize, usize),
    /// The shape is `[bytes]`, for any number of bytes.
    Bytes,
}

/// Writes several tensors piece by piece; in memory it holds one piece of each.
///
/// The header tells where each tensor begins, so each tensor gets a place of its largest size, and its bytes
/// are written there as they come. If there were fewer rows, [`StreamWriter::finish`] moves the tensors
/// together. Columns of wider numbers have to come first, so that every tensor is aligned.
pub struct StreamWriter {
    file: File,
    columns: Vec<Growing>,
    metadata: Value,
    /// The number of bytes of the header, with the spaces at its end.
    header: u64,
}

struct Growing {
    column: Column,
    /// The number of bytes between the end of the header and this tensor.
    start: u64,
    /// The number of bytes that were written.
    filled: u64,
}

impl StreamWriter {
    /// Makes a writer of at most `rows` rows into an empty file. `metadata` are texts under their keys.
    pub fn new(file: File, columns: Vec<Column>, rows: usize, metadata: &[(&str, String)]) -> Self {
        let mut start = 0;
        let place = |column: Column| {
            let growing = Growing { start, filled: 0, column };
            start += growing.column.room;
            growing
        };
        let columns = columns.into_iter().map(place).collect();
        let texts = metadata.iter().map(|(key, text)| ((*key).to_owned(), json!(text)));
        let metadata = Value::Object(texts.collect());
        let mut writer = Self { file, columns, metadata, header: 0 };
        // A header for fewer rows is never longer than the header for all rows.
        let longest = writer.header_text(rows, |growing| growing.column.room).len() as u64;
        writer.header = (BEFORE + longest).next_multiple_of(8) - BEFORE;
        writer
    }

    fn header_text(&self, rows: usize, size: impl Fn(&Growing) -> u64) -> String {
        let mut header = Map::from_iter([("__metadata__".to_owned(), self.metadata.clone())]);
        let mut start = 0;
        for growing in &self.columns {
            let Column { name, kind, shape, .. } = growing.column;
            let end = start + size(growing);
            let shape: Value = match shape {
                ColumnShape::Rows => json!([rows]),
                ColumnShape::RowsOf(dim) => json!([rows, dim]),
                ColumnShape::RowsOfMatrices(lines, columns) => json!([rows, lines, columns]),
                ColumnShape::Bytes => json!([end - start]),
            };
            let entry = json!({ "dtype": kind, "shape": shape, "data_offsets": [start, end] });
            header.insert(name.to_owned(), entry);
            start = end;
        }
        Value::Object(header).to_string()
    }

    /// Adds bytes to the tensor `name`.
    ///
    /// # Errors
    /// The system refuses to write.
    ///
    /// # Panics
    /// No column has the name.
    pub fn push(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let growing = self.columns.iter_mut().find(|growing| growing.column.name == name);
        let growing = growing.expect("the name is that of a column");
        debug_assert!(growing.filled + bytes.len() as u64 <= growing.column.room);
        let at = BEFORE + self.header + growing.start + growing.filled;
        growing.filled += bytes.len() as u64;
        self.file.write_all_at(bytes, at)
    }

    /// Closes the gaps between the tensors, writes the header for `rows` rows and returns the file.
    ///
    /// # Errors
    /// The system refuses to write.
    pub fn finish(self, rows: usize) -> io::Result<File> {
        let first = BEFORE + self.header;
        let mut at = first;
        for Growing { start, filled, .. } in &self.columns {
            shift(&self.file, first + start, at, *filled)?;
            at += filled;
        }
        self.file.set_len(at)?;
        let mut text = self.header_text(rows, |growing| growing.filled).into_bytes();
        text.resize(self.header as usize, b' ');
        self.file.write_all_at(&self.header.to_le_bytes(), 0)?;
        self.file.write_all_at(&text, BEFORE)?;
        Ok(self.file)
    }
}

/// Moves `length` bytes from `from` down to `to`, a piece at a time.
fn shift(file: &File, from: u64, to: u64, length: u64) -> io::Result<()> {
    if from == to {
        return Ok(());
    }
    let mut piece = vec![0; PIECE.min(length as usize)];
    let mut done = 0;
    while done < length {
        let count = (length - done).min(PIECE as u64) as usize;
        file.read_exact_at(&mut piece[..count], from + done)?;
        file.write_all_at(&piece[..count], to + done)?;
        done += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;

    fn columns(rows: u64) -> Vec<Column> {
        let column = |name, kind, shape, room| Column { name, kind, shape, room };
        vec![
            column("numbers", Dtype::I64, ColumnShape::Rows, 8 * rows),
            column("rows", Dtype::F32, ColumnShape::RowsOf(2), 8 * rows),
            column("text", Dtype::U8, ColumnShape::Bytes, 100),
        ]
    }

    #[test]
    fn a_streamed_file_reads_back_with_fewer_rows_than_it_had_room_for() {
        let about = [("about", "a run".to_owned())];
        let mut writer = StreamWriter::new(tempfile::tempfile().unwrap(), columns(4), 4, &about);
        for row in 0..3_i64 {
            writer.push("numbers", &row.to_le_bytes()).unwrap();
            let pair = [row as f32, 0.5].map(f32::to_le_bytes).concat();
            writer.push("rows", &pair).unwrap();
            writer.push("text", &vec![b'x'; row as usize]).unwrap();
        }
        let mut file = writer.finish(3).unwrap();
        file.rewind().unwrap();
        let header = read_header(&mut file).unwrap();
        assert_eq!(header.metadata["about"], "a run");
        assert_eq!(header.array("rows").unwrap().shape, [3, 2]);
        assert!(header.array("other").is_none());
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(header.array("text").unwrap().end(), Some(bytes.len() as u64));
        let all = from_bytes(&bytes).unwrap();
        let numbers: Vec<u8> = (0..3_i64).flat_map(i64::to_le_bytes).collect();
        assert_eq!(all.tensor("numbers").unwrap().data(), numbers);
        assert_eq!(all.tensor("text").unwrap().data(), b"xxx");
    }

    #[test]
    fn a_file_from_memory_reads_back_whole_and_by_its_header() {
        let data = [1.0_f32, -2.0].map(f32::to_le_bytes).concat();
        let tensors = [("a", Dtype::F32, vec![1, 2], &data[..])];
        let bytes = to_bytes(tensors.into_iter(), &[("format", "pt")]).unwrap();
        let view = from_bytes(&bytes).unwrap();
        assert_eq!(view.tensor("a").unwrap().data(), data);
        let header = read_header(&mut &bytes[..]).unwrap();
        assert_eq!(header.metadata["format"], "pt");
        let array = header.array("a").unwrap();
        assert_eq!(bytes[array.offset as usize..array.end().unwrap() as usize], data[..]);
    }

    #[test]
    fn a_header_that_makes_no_sense_is_refused() {
        let malformed = |bytes: &[u8]| match read_header(&mut &*bytes) {
            Err(HeaderError::Malformed(what)) => what,
            _ => panic!("{bytes:?} is no header"),
        };
        assert!(malformed(&[1, 2]).contains("ends within"));
        assert!(malformed(&u64::MAX.to_le_bytes()).contains("a header of"));
        malformed(&[&20_u64.to_le_bytes()[..], b"not json, but enough"].concat());
    }

    #[test]
    fn files_of_equal_content_are_equal_whatever_the_order_of_the_keys() {
        let data = [1.0_f32, -2.0].map(f32::to_le_bytes).concat();
        let tensors = || [("a", Dtype::F32, vec![1, 2], &data[..])].into_iter();
        let metadata = [("vssl", "0.1"), ("a \"quoted\" key", "ü"), ("step", "3")];
        let bytes = to_bytes(tensors(), &metadata).unwrap();
        let mut other = metadata;
        other.reverse();
        assert_eq!(to_bytes(tensors(), &other).unwrap(), bytes);
        let known = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(super::metadata(&bytes).unwrap(), HashMap::from(known.clone()));
        assert_eq!(from_bytes(&bytes).unwrap().tensor("a").unwrap().data(), data);
        let empty = to_bytes([].into_iter(), &metadata).unwrap();
        assert_eq!(super::metadata(&empty).unwrap(), HashMap::from(known));
        assert!(from_bytes(&empty).unwrap().is_empty());
    }
}
