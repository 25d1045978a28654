//! Parquet files in the layout of Hugging Face's `datasets`: a column `image` with `bytes` and `path`, and a
//! column `label`; and tables of texts. Called by [`super::open`] and by the lists of images.
//!
//! Read are files that are packed with Snappy or gzip or not at all, pages of both kinds, plain values and
//! dictionaries.

mod column;
mod footer;
mod pages;
mod runs;

use std::fs::File;
use std::path::Path;

use column::{labels, places};
use footer::{Column, Footer, Kind, wrong};
use serde_json::Value;

use super::part::{Entry, Label, Part};
use crate::DataError;

/// The names of a column of images, and of labels, the usual ones first.
const IMAGES: [&str; 6] = ["image", "img", "jpg", "png", "picture", "webp"];
const LABELS: [&str; 4] = ["label", "labels", "fine_label", "cls"];
const COARSE: [&str; 1] = ["coarse_label"];

/// Looks a Parquet file of images through. With `coarse`, the labels are those of the superclasses.
///
/// # Errors
/// A file that is damaged, has no column of images, or is written in a way that is not read.
pub(super) fn scan(path: &Path, coarse: bool) -> Result<Part, DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let length = file.metadata().map_err(DataError::io(path))?.len();
    let footer = Footer::read(path, &file, length)?;
    let images = images(path, &footer)?;
    let mut part = Part::default();
    let rows = places((path, &file), images, &mut part.blocks)?;
    let kinds: &[&str] = if coarse { &COARSE } else { &LABELS };
    let label = single(&footer, kinds);
    if coarse && label.is_none() {
        let expected = format!("that of coarse labels, {}", COARSE[0]);
        return Err(wrong(path, format!("no such column among {}", listed(&footer)), &expected));
    }
    let own = match label {
        Some(column) => labels((path, &file), column)?,
        None => vec![Label::None; rows.len()],
    };
    if own.len() != rows.len() || rows.len() as u64 != footer.rows {
        return Err(footer::damaged(path, "its columns have different numbers of rows"));
    }
    let mut kept = Vec::new();
    for (row, (entry, label)) in rows.into_iter().zip(own).enumerate() {
        let name = format!("row {row}");
        match entry {
            Some(entry) if !part.is_full() => {
                part.push(entry, &name);
                kept.push(label);
            }
            Some(_) => return Err(wrong(path, "too many images", "several smaller files")),
            None => part.leave_out("rows without an image", &name),
        }
    }
    if part.entries.is_empty() && footer.rows > 0 {
        return Err(wrong(
            path,
            "no row holds the bytes of an image, as where images are kept in files of their own",
            "images in the column itself, as `datasets` writes them with embed_external_files",
        ));
    }
    part.set_labels(kept);
    part.class_names = label.map_or(Vec::new(), |column| class_names(&footer, column));
    check(&part, length).ok_or_else(|| footer::damaged(path, "an image lies beyond its end"))?;
    Ok(part)
}

/// Whether all images that are not packed lie in the file.
fn check(part: &Part, length: u64) -> Option<()> {
    let lies = |entry: &Entry| {
        entry.block != Entry::PLAIN
            || entry.offset.checked_add(entry.bytes.into()).is_some_and(|end| end <= length)
    };
    part.entries.iter().all(lies).then_some(())
}

/// The texts of columns of a Parquet file, `None` for a column that is not there; numbers become texts.
///
/// # Errors
/// As [`scan`].
pub(in super::super) fn table<const N: usize>(
    path: &Path,
    names: [&str; N],
) -> Result<[Option<Vec<Option<String>>>; N], DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let length = file.metadata().map_err(DataError::io(path))?.len();
    let footer = Footer::read(path, &file, length)?;
    let mut columns = [const { None }; N];
    for (place, name) in columns.iter_mut().zip(names) {
        let Some(column) = single(&footer, &[name]) else { continue };
        let text = |label| match label {
            Label::None => None,
            Label::Number(number) => Some(number.to_string()),
            Label::Word(word) => Some(word),
        };
        *place = Some(labels((path, &file), column)?.into_iter().map(text).collect());
    }
    Ok(columns)
}

/// The column of images: `bytes` in a column of its own structure, or a column of bytes with a usual name.
fn images<'a>(path: &Path, footer: &'a Footer) -> Result<&'a Column, DataError> {
    let is_image = |column: &&Column| {
        let usual = || IMAGES.contains(&column.path[0].as_str());
        column.kind == Kind::Bytes
            && match column.path.as_slice() {
                [_, inner] => inner == "bytes",
                [_] => usual(),
                _ => false,
            }
    };
    let found: Vec<&Column> = footer.columns.iter().filter(is_image).collect();
    let usual = |name: &&str| found.iter().find(|column| column.path[0] == *name).copied();
    match (IMAGES.iter().find_map(usual), found.as_slice()) {
        (Some(column), _) => Ok(column),
        (None, [column]) => Ok(column),
        (None, []) => Err(wrong(
            path,
            format!("no column of images among {}", listed(footer)),
            "a column image with bytes and path, as Hugging Face's datasets write it",
        )),
        (None, several) => Err(wrong(
            path,
            format!("{} columns of images, and none is called image", several.len()),
            "one of them called image",
        )),
    }
}

/// A column of single values with one of the names.
fn single<'a>(footer: &'a Footer, names: &[&str]) -> Option<&'a Column> {
    names.iter().find_map(|name| {
        footer.columns.iter().find(|column| {
            column.path.len() == 1
                && column.path[0].eq_ignore_ascii_case(name)
                && !column.is_list
                && column.kind != Kind::Other
        })
    })
}

fn listed(footer: &Footer) -> String {
    let names: Vec<String> =
        footer.columns.iter().take(12).map(|column| column.path.join(".")).collect();
    names.join(", ")
}

/// The names of the classes of a column of numbers, as `datasets` keeps them in the file.
fn class_names(footer: &Footer, column: &Column) -> Vec<String> {
    let text = footer.huggingface.as_deref().unwrap_or_default();
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let names = &value["info"]["features"][&column.path[0]]["names"];
    let names = names.as_array().map_or(&[][..], Vec::as_slice);
    names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}
