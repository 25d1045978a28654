//! The pages of a column in a Parquet file.

use std::fs::File;
use std::path::Path;

use super::super::file::{read_at, unpack};
use super::super::part::{Block, Method};
use super::super::thrift::{self, Value};
use super::super::{part::Entry, snappy};
use super::footer::{Piece, damaged, wrong};
use crate::DataError;

/// Bytes in which the header of a page is looked for first, and at most: statistics may hold long values.
const HEADER: u64 = 1 << 10;
const MOST_HEADER: u64 = 1 << 26;

/// The largest page, in bytes and in values.
const MOST_PAGE: u64 = 1 << 31;
const MOST_VALUES: usize = 1 << 24;

/// How the values of a page are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    /// Numbers of the values in the dictionary of the piece.
    Dictionary,
}

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Dictionary,
    Data,
}

/// A page, unpacked.
pub(super) struct Page {
    pub(super) role: Role,
    /// The number of values, nulls among them.
    pub(super) values: usize,
    pub(super) encoding: Encoding,
    /// The definition levels, as a run-length code without its size; `None` where none are written.
    pub(super) levels: Vec<u8>,
    /// The values.
    pub(super) body: Vec<u8>,
    pub(super) place: Place,
}

/// Where the values of a page lie in the file.
pub(super) struct Place {
    /// As they are, from here.
    plain: Option<u64>,
    /// Packed, in these pieces, with values from `skip` bytes on.
    blocks: Vec<Block>,
    skip: u64,
}

impl Place {
    /// Where the bytes `from` of the values lie. The number of the first block of the page is `first`.
    pub(super) fn entry(&self, from: usize, bytes: u32, first: u32) -> Entry {
        if let Some(start) = self.plain {
            return Entry { offset: start + from as u64, bytes, block: Entry::PLAIN };
        }
        let (mut offset, mut block) = (self.skip + from as u64, 0);
        while block + 1 < self.blocks.len() && offset >= u64::from(self.blocks[block].unpacked) {
            offset -= u64::from(self.blocks[block].unpacked);
            block += 1;
        }
        Entry { offset, bytes, block: first + block as u32 }
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }
}

/// Calls `each` with every page of a piece, in their order.
///
/// # Errors
/// Damaged pages, kinds of pages that are not read, and the errors of `each`.
pub(super) fn pages(
    (path, file): (&Path, &File),
    piece: Piece,
    has_levels: bool,
    each: &mut dyn FnMut(Page) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let end = piece.offset + piece.bytes;
    let mut at = piece.offset;
    let mut rows = 0;
    while at < end && rows < piece.rows {
        let (header, size) = header(path, file, at, end)?;
        at += size;
        let count = |id| header.int(id).and_then(|count| u64::try_from(count).ok());
        let (Some(unpacked), Some(stored)) = (count(2), count(3)) else {
            return Err(damaged(path, "the header of a page"));
        };
        if stored > end - at || unpacked > MOST_PAGE {
            return Err(damaged(path, "a page is larger than its column"));
        }
        let mut packed = vec![0; stored as usize];
        read_at(file, &mut packed, at).map_err(DataError::io(path))?;
        let page = match header.int(1) {
            Some(0) => Some(data((path, at), &header, packed, unpacked, piece.codec, has_levels)?),
            Some(2) => Some(dictionary((path, at), &header, packed, unpacked, piece.codec)?),
            Some(3) => Some(second((path, at), &header, packed, unpacked, piece.codec)?),
            _ => None,
        };
        at += stored;
        if let Some(page) = page {
            rows += if page.role == Role::Data { page.values as u64 } else { 0 };
            each(page)?;
        }
    }
    if rows != piece.rows {
        return Err(damaged(path, "a column has fewer values than rows"));
    }
    Ok(())
}

/// The header of a page and its size.
fn header(path: &Path, file: &File, at: u64, end: u64) -> Result<(Value, u64), DataError> {
    let mut room = HEADER;
    loop {
        let bytes = room.min(end - at);
        let mut buffer = vec![0; bytes as usize];
        read_at(file, &mut buffer, at).map_err(DataError::io(path))?;
        match thrift::structure(&buffer) {
            Some((header, used)) => return Ok((header, used as u64)),
            None if bytes == end - at || room >= MOST_HEADER => {
                return Err(damaged(path, "the header of a page"));
            }
            None => room *= 8,
        }
    }
}

/// Unpacks a page, and says where its bytes lie.
fn unpacked(
    (path, at): (&Path, u64),
    packed: Vec<u8>,
    unpacked: u64,
    codec: i64,
) -> Result<(Vec<u8>, Place), DataError> {
    let size = unpacked as u32;
    match codec {
        0 => Ok((packed, Place { plain: Some(at), blocks: Vec::new(), skip: 0 })),
        1 => {
            let torn = || damaged(path, "a Snappy page");
            let blocks = if size == 0 {
                Vec::new()
            } else {
                snappy::pieces(&packed, at, size).ok_or_else(torn)?
            };
            let mut bytes = Vec::new();
            for block in &blocks {
                let from = (block.offset - at) as usize;
                let stored = &packed[from..from + block.stored as usize];
                let piece = unpack(stored, block.unpacked as usize, block.method);
                bytes.extend(piece.map_err(|_| torn())?);
            }
            Ok((bytes, Place { plain: None, blocks, skip: 0 }))
        }
        2 => {
            let bytes = unpack(&packed, size as usize, Method::Gzip);
            let bytes = bytes.map_err(|_| damaged(path, "a gzip page"))?;
            let stored = packed.len() as u32;
            let blocks = vec![Block { offset: at, stored, unpacked: size, method: Method::Gzip }];
            Ok((bytes, Place { plain: None, blocks, skip: 0 }))
        }
        other => {
            let names = ["", "", "", "LZO", "Brotli", "LZ4", "ZSTD", "LZ4"];
            let name = names.get(usize::try_from(other).unwrap_or(0)).copied().unwrap_or_default();
            Err(wrong(
                path,
                format!("the images are packed with {name} (codec {other}), which is not read"),
                "Parquet files packed with Snappy or gzip, or not at all: images are packed already",
            ))
        }
    }
}

fn encoding(path: &Path, number: Option<i64>) -> Result<Encoding, DataError> {
    match number {
        Some(0) => Ok(Encoding::Plain),
        Some(2 | 8) => Ok(Encoding::Dictionary),
        other => {
            let names = [
                (5, "DELTA_BINARY_PACKED"),
                (6, "DELTA_LENGTH_BYTE_ARRAY"),
                (7, "DELTA_BYTE_ARRAY"),
            ];
            let name = names
                .iter()
                .find(|(number, _)| Some(*number) == other)
                .map_or("", |(_, name)| name);
            Err(wrong(
                path,
                format!(
                    "a column in the encoding {name} ({}), which is not read",
                    other.unwrap_or(-1)
                ),
                "plain values or a dictionary, as pyarrow and datasets write them",
            ))
        }
    }
}

fn values(path: &Path, header: &Value) -> Result<usize, DataError> {
    let count = header.int(1).and_then(|count| usize::try_from(count).ok());
    count
        .filter(|&count| count <= MOST_VALUES)
        .ok_or_else(|| damaged(path, "the number of values of a page"))
}

fn part<'a>(path: &Path, header: &'a Value, id: i16) -> Result<&'a Value, DataError> {
    header.field(id).ok_or_else(|| damaged(path, "the header of a page"))
}

fn dictionary(
    place: (&Path, u64),
    header: &Value,
    packed: Vec<u8>,
    size: u64,
    codec: i64,
) -> Result<Page, DataError> {
    let own = part(place.0, header, 7)?;
    let count = values(place.0, own)?;
    let (body, at) = unpacked(place, packed, size, codec)?;
    let (role, encoding) = (Role::Dictionary, Encoding::Plain);
    Ok(Page { role, values: count, encoding, levels: Vec::new(), body, place: at })
}

/// A page of the first kind: levels and values are packed together.
fn data(
    place: (&Path, u64),
    header: &Value,
    packed: Vec<u8>,
    size: u64,
    codec: i64,
    has_levels: bool,
) -> Result<Page, DataError> {
    let path = place.0;
    let own = part(path, header, 5)?;
    let (count, encoding) = (values(path, own)?, encoding(path, own.int(2))?);
    let (mut bytes, mut at) = unpacked(place, packed, size, codec)?;
    let mut levels = Vec::new();
    if has_levels {
        if own.int(3) != Some(3) {
            return Err(damaged(path, "its levels are in an encoding of old files"));
        }
        let torn = || damaged(path, "the levels of a page");
        let size = bytes.first_chunk::<4>().map(|size| u32::from_le_bytes(*size) as usize);
        let size = size.ok_or_else(torn)?;
        let end = size.checked_add(4).filter(|&end| end <= bytes.len()).ok_or_else(torn)?;
        let body = bytes.split_off(end);
        levels = bytes.split_off(4);
        bytes = body;
        at.plain = at.plain.map(|plain| plain + end as u64);
        at.skip = end as u64;
    }
    Ok(Page { role: Role::Data, values: count, encoding, levels, body: bytes, place: at })
}

/// A page of the second kind: the levels are not packed.
fn second(
    (path, at): (&Path, u64),
    header: &Value,
    mut packed: Vec<u8>,
    size: u64,
    codec: i64,
) -> Result<Page, DataError> {
    let own = part(path, header, 8)?;
    let (count, encoding) = (values(path, own)?, encoding(path, own.int(4))?);
    let torn = || damaged(path, "the levels of a page");
    let length = |id| own.int(id).and_then(|bytes| u32::try_from(bytes).ok()).ok_or_else(torn);
    let (defined, repeated) = (length(5)? as usize, length(6)? as usize);
    let end = defined + repeated;
    if end > packed.len() || end as u64 > size {
        return Err(torn());
    }
    let body = packed.split_off(end);
    let levels = packed.split_off(repeated);
    let is_packed = own.field(7) != Some(&Value::Bool(false));
    let codec = if is_packed { codec } else { 0 };
    let (body, place) = unpacked((path, at + end as u64), body, size - end as u64, codec)?;
    Ok(Page { role: Role::Data, values: count, encoding, levels, body, place })
}
