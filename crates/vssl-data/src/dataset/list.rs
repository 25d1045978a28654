//! A list of images, as CSV or Parquet: a column `path`, and where they are known `label` and `split`.
//!
//! Paths are taken from the folder of the list. Splits have the usual names; without the column, all images are
//! for training. Classes are sorted by their numbers if all labels are numbers, else by the bytes of their names.
//! Spaces at the ends of a cell do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::found::{Found, LeftOut};
use super::shards::table;
use super::usual_names::{TEST, TRAIN, VALIDATION};
use super::{DataConfig, Evaluated, Labels};
use crate::DataError;
use crate::counted::having;

/// The columns, and the other names that they may have.
const COLUMNS: [(&str, &[&str]); 3] = [
    ("path", &["path", "file", "filename", "file_name", "image"]),
    ("label", &["label", "class"]),
    ("split", &["split", "set"]),
];

/// A line of the list.
struct Row {
    path: PathBuf,
    label: Option<String>,
}

/// The lines by the key of their split.
type Rows = BTreeMap<&'static str, Vec<Row>>;

/// Opens the splits of the list.
///
/// # Errors
/// A list that is missing, cannot be read or has no column of paths; no training images, or no images to
/// evaluate on where they are asked for; labels that are asked for and missing.
pub(super) fn open(
    path: &Path,
    config: &DataConfig,
    evaluated: Evaluated,
) -> Result<(Folder, Option<Folder>, Found), DataError> {
    if config.labels == Labels::Coarse {
        return Err(DataError::Setting(
            "data.labels = \"coarse\": a list has one kind of label; use \"auto\" or \"fine\""
                .into(),
        ));
    }
    let mut found = Found::default();
    let mut rows = rows(path, &mut found)?;
    let train = rows
        .remove(TRAIN.key)
        .ok_or_else(|| wrong(path, "no training images", "lines whose split is train"))?;
    let (validation, test) = (rows.remove(VALIDATION.key), rows.remove(TEST.key));
    found.taken.push(format!("training images: {} of the list", train.len()));
    let judged = match (evaluated, validation, test) {
        (Evaluated::Test, _, None) => {
            return Err(wrong(path, "no test images", "lines whose split is test"));
        }
        (Evaluated::Test, _, test) => test,
        (Evaluated::Validation, Some(validation), _) => Some(validation),
        (Evaluated::Validation, None, test) => test,
    };
    if let Some(judged) = &judged {
        found.taken.push(format!("{} images: {} of the list", evaluated.name(), judged.len()));
    }
    let classes = classes(path, &train, config.labels, &mut found)?;
    let root = path.parent().unwrap_or(Path::new(""));
    let build = |rows: Vec<Row>, found: &mut Found, split: &str| {
        let labels = labels(path, &rows, classes.as_deref(), config.labels, found, split)?;
        let files = rows.into_iter().map(|row| row.path).collect();
        Ok(Folder::listed(root, files, labels, classes.clone().unwrap_or_default()))
    };
    let training = build(train, &mut found, "training")?;
    let judged = judged.map(|rows| build(rows, &mut found, evaluated.name())).transpose()?;
    Ok((training, judged, found))
}

/// Whether the list has test images beside validation images.
///
/// # Errors
/// As [`open`].
pub(super) fn has_own_test(path: &Path) -> Result<bool, DataError> {
    let rows = rows(path, &mut Found::default())?;
    Ok(rows.contains_key(TEST.key) && rows.contains_key(VALIDATION.key))
}

fn wrong(path: &Path, what: impl Into<String>, expected: &str) -> DataError {
    DataError::Format { path: path.into(), what: what.into(), expected: expected.into() }
}

fn rows(path: &Path, found: &mut Found) -> Result<Rows, DataError> {
    if !path.is_file() {
        let expected = "a list of images, a .csv or .parquet file".to_owned();
        return match path.exists() {
            true => Err(wrong(path, "is no file", &expected)),
            false => Err(DataError::Missing { path: path.into(), expected }),
        };
    }
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    let [paths, labels, splits] = match ending.as_ref().and_then(|ending| ending.to_str()) {
        Some("parquet") => in_parquet(path)?,
        Some("tsv") => in_text(path, b'\t')?,
        _ => in_text(path, b',')?,
    };
    let Some(paths) = paths else {
        let expected = "a column called path, with the files of the images";
        return Err(wrong(path, "no column of paths", expected));
    };
    let mut rows = Rows::new();
    for (at, file) in paths.into_iter().enumerate() {
        let cell = |column: &Option<Vec<Option<String>>>| {
            let text = column.as_ref().and_then(|column| column.get(at).cloned().flatten());
            text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let file = file.map(|file| file.trim().to_owned());
        let Some(file) = file.filter(|file| !file.is_empty()) else {
            return Err(wrong(path, format!("image {at} has no path"), "a path in every line"));
        };
        let split = match (cell(&splits), &splits) {
            (None, None) => Some(TRAIN.key),
            (text, _) => text.and_then(|text| split(&text)),
        };
        match split {
            None => found.leave_out("of other splits", LeftOut { count: 1, example: file.into() }),
            Some(split) => {
                let row = Row { path: file.into(), label: cell(&labels) };
                rows.entry(split).or_default().push(row);
            }
        }
    }
    Ok(rows)
}

fn split(text: &str) -> Option<&'static str> {
    let names = [&TRAIN, &VALIDATION, &TEST];
    names.into_iter().find(|names| names.has(text.as_ref())).map(|names| names.key)
}

type Columns = [Option<Vec<Option<String>>>; 3];

fn in_parquet(path: &Path) -> Result<Columns, DataError> {
    let mut columns = [const { None }; 3];
    for (place, (_, names)) in columns.iter_mut().zip(COLUMNS) {
        for name in names {
            if place.is_none() {
                let [column] = table(path, [name])?;
                *place = column;
            }
        }
    }
    Ok(columns)
}

fn in_text(path: &Path, separator: u8) -> Result<Columns, DataError> {
    let damaged = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(source) => DataError::Io { path: path.into(), source },
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.map_or(0, |pos| pos.line());
            let expected = format!("{expected_len}, as the first line has");
            wrong(path, format!("line {line} has {len} cells"), &expected)
        }
        csv::ErrorKind::Utf8 { pos, .. } => {
            let line = pos.map_or(0, |pos| pos.line());
            wrong(path, format!("line {line} is no text"), "UTF-8")
        }
        other => wrong(path, format!("{other:?}"), "lines of cells"),
    };
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(file);
    let header = reader.headers().map_err(damaged)?.clone();
    let is = |cell: &str, names: &[&str]| {
        let cell = cell.trim_start_matches('\u{feff}').trim();
        names.iter().any(|name| cell.eq_ignore_ascii_case(name))
    };
    let places = COLUMNS.map(|(_, names)| {
        names.iter().find_map(|name| header.iter().position(|cell| is(cell, &[name])))
    });
    let mut columns: Columns = places.map(|place| place.map(|_| Vec::new()));
    for record in reader.records() {
        let record = record.map_err(damaged)?;
        for (column, place) in columns.iter_mut().zip(places) {
            if let (Some(column), Some(place)) = (column, place) {
                column.push(record.get(place).map(str::to_owned));
            }
        }
    }
    Ok(columns)
}

/// The classes of the training images, sorted; `None` without labels.
fn classes(
    path: &Path,
    rows: &[Row],
    labels: Labels,
    found: &mut Found,
) -> Result<Option<Vec<String>>, DataError> {
    let without = rows.iter().filter(|row| row.label.is_none()).count();
    match labels {
        Labels::None => return Ok(None),
        Labels::Auto if without > 0 => {
            found.taken.push(format!("no training labels: {} none", having(without, "image")));
            return Ok(None);
        }
        _ if without > 0 => {
            let expected = "a label for each, as data.labels asks; \"auto\" does without";
            return Err(wrong(
                path,
                format!("{} no label", having(without, "training image")),
                expected,
            ));
        }
        _ => {}
    }
    let names: BTreeSet<&str> = rows.iter().filter_map(|row| row.label.as_deref()).collect();
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    if names.iter().all(|name| name.parse::<u64>().is_ok()) {
        names.sort_by_key(|name| name.parse::<u64>().unwrap_or(u64::MAX));
    }
    Ok(Some(names))
}

fn labels(
    path: &Path,
    rows: &[Row],
    classes: Option<&[String]>,
    asked: Labels,
    found: &mut Found,
    split: &str,
) -> Result<Option<Vec<u32>>, DataError> {
    let Some(classes) = classes else { return Ok(None) };
    let places: BTreeMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let mut labels = Vec::with_capacity(rows.len());
    let mut without = 0;
    for row in rows {
        let Some(label) = &row.label else {
            without += 1;
            continue;
        };
        let place = places.get(label.as_str()).ok_or_else(|| {
            let expected = format!("one of the {} classes of the training images", classes.len());
            wrong(
                path,
                format!("the class {label:?} of a {split} image is no class of training"),
                &expected,
            )
        })?;
        labels.push(*place);
    }
    match without {
        0 => Ok(Some(labels)),
        _ if asked == Labels::Fine => {
            let expected = "a label for each, as data.labels asks";
            Err(wrong(
                path,
                format!("{} no label", having(without, &format!("{split} image"))),
                expected,
            ))
        }
        _ => {
            found.taken.push(format!("no {split} labels: {} none", having(without, "image")));
            Ok(None)
        }
    }
}
