//! The values of a column, row by row.

use std::fs::File;
use std::path::Path;

use super::super::part::{Block, Entry, Label};
use super::footer::{Column, Kind, damaged, wrong};
use super::pages::{Encoding, Page, Place, Role, pages};
use super::runs;
use crate::DataError;

/// A value where it lies in a page.
#[derive(Clone, Copy)]
enum Found {
    Int(i64),
    /// Bytes from a place of the values on.
    Bytes(usize, u32),
}

/// Where every value of a column of bytes lies in the file, `None` for a null. Packed pieces of the file are
/// appended to `blocks`.
///
/// # Errors
/// A damaged file, or one that is written in a way that is not read.
pub(super) fn places(
    (path, file): (&Path, &File),
    column: &Column,
    blocks: &mut Vec<Block>,
) -> Result<Vec<Option<Entry>>, DataError> {
    let mut rows = Vec::new();
    for piece in &column.pieces {
        let mut dictionary: Vec<Entry> = Vec::new();
        pages((path, file), *piece, column.most_defined > 0, &mut |page| {
            let first = u32::try_from(blocks.len()).map_err(|_| too_many(path))?;
            blocks.extend_from_slice(page.place.blocks());
            let entries = |found: &[Found], place: &Place| -> Vec<Entry> {
                let entry = |found: &Found| match *found {
                    Found::Bytes(from, bytes) => place.entry(from, bytes, first),
                    Found::Int(_) => unreachable!("the column holds bytes"),
                };
                found.iter().map(entry).collect()
            };
            match page.role {
                Role::Dictionary => {
                    let found = plain(path, Kind::Bytes, &page.body, page.values)?;
                    dictionary = entries(&found, &page.place);
                }
                Role::Data => {
                    let (is_there, count) = defined(path, &page, column.most_defined)?;
                    let own = match page.encoding {
                        Encoding::Plain => {
                            entries(&plain(path, Kind::Bytes, &page.body, count)?, &page.place)
                        }
                        Encoding::Dictionary => numbers(path, &page, count)?
                            .into_iter()
                            .map(|number| dictionary.get(number as usize).copied())
                            .collect::<Option<_>>()
                            .ok_or_else(|| damaged(path, "a number beyond its dictionary"))?,
                    };
                    spread(&mut rows, is_there, own);
                }
            }
            Ok(())
        })?;
    }
    Ok(rows)
}

/// The values of a column as labels: whole numbers, or texts.
///
/// # Errors
/// As [`places`]; also, the column holds neither.
pub(super) fn labels(
    (path, file): (&Path, &File),
    column: &Column,
) -> Result<Vec<Label>, DataError> {
    let label = |found: &Found, body: &[u8]| match *found {
        // -1 is Hugging Face's mark of an image without a label.
        Found::Int(number) => u32::try_from(number)
            .ok()
            .filter(|&number| number < u32::MAX)
            .map_or(Label::None, Label::Number),
        Found::Bytes(from, bytes) => {
            Label::Word(String::from_utf8_lossy(&body[from..from + bytes as usize]).into_owned())
        }
    };
    let mut rows = Vec::new();
    for piece in &column.pieces {
        let mut dictionary: Vec<Label> = Vec::new();
        pages((path, file), *piece, column.most_defined > 0, &mut |page| {
            let values = |count| -> Result<Vec<Label>, DataError> {
                let found = plain(path, column.kind, &page.body, count)?;
                Ok(found.iter().map(|found| label(found, &page.body)).collect())
            };
            match page.role {
                Role::Dictionary => dictionary = values(page.values)?,
                Role::Data => {
                    let (is_there, count) = defined(path, &page, column.most_defined)?;
                    let own = match page.encoding {
                        Encoding::Plain => values(count)?,
                        Encoding::Dictionary => numbers(path, &page, count)?
                            .into_iter()
                            .map(|number| dictionary.get(number as usize).cloned())
                            .collect::<Option<_>>()
                            .ok_or_else(|| damaged(path, "a number beyond its dictionary"))?,
                    };
                    spread(&mut rows, is_there, own);
                }
            }
            Ok(())
        })?;
    }
    Ok(rows.into_iter().map(|row| row.unwrap_or(Label::None)).collect())
}

fn too_many(path: &Path) -> DataError {
    wrong(path, "too many pages", "several smaller Parquet files")
}

/// Which values of a page are there, and how many; `None` if all are.
fn defined(path: &Path, page: &Page, most: u32) -> Result<(Option<Vec<bool>>, usize), DataError> {
    if most == 0 {
        return Ok((None, page.values));
    }
    let bits = u32::BITS - most.leading_zeros();
    let levels = runs::read(&page.levels, bits, page.values);
    let levels = levels.ok_or_else(|| damaged(path, "the levels of a page"))?;
    let is_there: Vec<bool> = levels.into_iter().map(|level| level == most).collect();
    let count = is_there.iter().filter(|&&is_there| is_there).count();
    Ok(if count == page.values { (None, count) } else { (Some(is_there), count) })
}

/// Puts the values that are there in their rows.
fn spread<T>(rows: &mut Vec<Option<T>>, is_there: Option<Vec<bool>>, values: Vec<T>) {
    let mut values = values.into_iter();
    match is_there {
        None => rows.extend(values.map(Some)),
        Some(is_there) => {
            rows.extend(is_there.into_iter().map(|own| if own { values.next() } else { None }));
        }
    }
}

/// The numbers in the dictionary that a page holds.
fn numbers(path: &Path, page: &Page, count: usize) -> Result<Vec<u32>, DataError> {
    let torn = || damaged(path, "the numbers of a dictionary");
    if count == 0 {
        return Ok(Vec::new());
    }
    let (&bits, code) = page.body.split_first().ok_or_else(torn)?;
    runs::read(code, u32::from(bits), count).ok_or_else(torn)
}

/// Plain values.
fn plain(path: &Path, kind: Kind, body: &[u8], count: usize) -> Result<Vec<Found>, DataError> {
    let torn = || damaged(path, "a page ends within its values");
    let sized = |bytes: usize| body.get(..count.checked_mul(bytes)?);
    Ok(match kind {
        Kind::Int32 => {
            let (values, _) = sized(4).ok_or_else(torn)?.as_chunks::<4>();
            values.iter().map(|&value| Found::Int(i32::from_le_bytes(value).into())).collect()
        }
        Kind::Int64 => {
            let (values, _) = sized(8).ok_or_else(torn)?.as_chunks::<8>();
            values.iter().map(|&value| Found::Int(i64::from_le_bytes(value))).collect()
        }
        Kind::Bytes => {
            let mut found = Vec::new();
            let mut at = 0;
            for _ in 0..count {
                let size = body.get(at..).and_then(|rest| rest.first_chunk::<4>());
                let size = u32::from_le_bytes(*size.ok_or_else(torn)?);
                found.push(Found::Bytes(at + 4, size));
                at += 4 + size as usize;
            }
            if at > body.len() {
                return Err(torn());
            }
            found
        }
        Kind::Other => {
            let expected = "a column of whole numbers or texts";
            return Err(wrong(path, "a column of another type than a label has", expected));
        }
    })
}
