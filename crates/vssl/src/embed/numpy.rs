//! `.npy` (numpy's NEP 1, version 1): one array a file, so that `numpy.load` gives the features and
//! nothing else.
//!
//! What else there is lies beside `NAME.npy`: `NAME.labels.npy` (which `features::open` finds),
//! `NAME.mean.npy`, `NAME.variance.npy` or `NAME.variance_direction.npy`, `NAME.uncertainty.npy`,
//! `NAME.tokens.npy`, and
//! the images in `NAME.paths.csv`, row by row. The features get their name last: when they are there,
//! so is the rest. Files of these names that an earlier array left and this one has not are removed,
//! because they would be taken for its own.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use safetensors::Dtype;

use super::{Block, EmbedError, Layout, Rows, partial::Partial};
use crate::formats::{bytes, csv, npy};

/// Endings of all files that may lie beside the features.
const BESIDE: [&str; 8] = [
    "labels.npy",
    "mean.npy",
    "variance.npy",
    "variance_direction.npy",
    "uncertainty.npy",
    "predicted_loss.npy",
    "tokens.npy",
    "paths.csv",
];

/// The arrays in the making; the features are the last.
pub(super) struct Numpy {
    to: PathBuf,
    arrays: Vec<Array>,
    paths: (Partial, csv::FileWriter),
    layout: Layout,
}

struct Array {
    name: &'static str,
    kind: Dtype,
    /// The shape of a row; nothing for an array of one dimension.
    row: Vec<usize>,
    rows: usize,
    partial: Partial,
    file: BufWriter<File>,
}

impl Numpy {
    pub(super) fn create(to: &Path, layout: Layout) -> Result<Self, EmbedError> {
        let beside = |name: &str| to.with_extension(name);
        let mut arrays = Vec::new();
        if layout.labels {
            arrays.push(Array::create(&beside("labels.npy"), "labels", Dtype::I64, &[])?);
        }
        if let Some(of) = &layout.posterior {
            for name in ["mean", of.variance()] {
                let path = beside(&format!("{name}.npy"));
                arrays.push(Array::create(&path, name, Dtype::F32, &[of.dim])?);
            }
            let path = beside("uncertainty.npy");
            arrays.push(Array::create(&path, "uncertainty", Dtype::F32, &[])?);
        }
        if layout.predicted_loss {
            let path = beside("predicted_loss.npy");
            arrays.push(Array::create(&path, "predicted_loss", Dtype::F32, &[])?);
        }
        if let Some(tokens) = &layout.tokens {
            arrays.push(Array::create(&beside("tokens.npy"), "tokens", Dtype::F32, tokens)?);
        }
        arrays.push(Array::create(to, "features", Dtype::F32, &[layout.dim])?);
        let (partial, file) = Partial::create(&beside("paths.csv"))?;
        let mut writer = csv::writer(file);
        let header: &[&str] =
            if layout.labels { &["image", "path", "label", "class"] } else { &["image", "path"] };
        writer.write_record(header).map_err(csv_error(&partial))?;
        Ok(Self { to: to.to_owned(), arrays, paths: (partial, writer), layout })
    }
}

fn csv_error(partial: &Partial) -> impl Fn(::csv::Error) -> EmbedError + use<> {
    let path = partial.to().to_owned();
    move |error| EmbedError::Write { path: path.clone(), format: "CSV", what: error.to_string() }
}

impl Array {
    fn create(
        path: &Path,
        name: &'static str,
        kind: Dtype,
        row: &[usize],
    ) -> Result<Self, EmbedError> {
        let (partial, file) = Partial::create(path)?;
        let (row, file) = (row.to_vec(), BufWriter::new(file));
        let mut array = Self { name, kind, row, rows: 0, partial, file };
        array.file.write_all(&array.header()).map_err(array.partial.io())?;
        Ok(array)
    }

    fn header(&self) -> Vec<u8> {
        npy::header(self.kind, &[&[self.rows], &self.row[..]].concat())
    }

    fn push(&mut self, rows: usize, bytes: &[u8]) -> io::Result<()> {
        self.rows += rows;
        self.file.write_all(bytes)
    }

    /// Writes the number of rows into the header.
    fn finish(mut self) -> Result<(), EmbedError> {
        let header = self.header();
        let Self { partial, file, .. } = &mut self;
        let done = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header));
        done.and_then(|()| file.flush()).map_err(partial.io())?;
        self.partial.finish(self.file.get_ref())
    }
}

impl Rows for Numpy {
    fn write(&mut self, block: &Block) -> Result<(), EmbedError> {
        let numbers = block.arrays(&self.layout);
        for array in &mut self.arrays {
            let bytes = match (&block.labels, numbers.iter().find(|(name, ..)| *name == array.name))
            {
                (_, Some((_, _, values))) => bytes(values, f32::to_le_bytes),
                (Some(labels), None) => bytes(labels, i64::to_le_bytes),
                (None, None) => Vec::new(),
            };
            array.push(block.paths.len(), &bytes).map_err(array.partial.io())?;
        }
        let (partial, writer) = &mut self.paths;
        for (row, path) in block.paths.iter().enumerate() {
            let mut fields = vec![block.images[row].to_string(), path.clone()];
            if let Some(labels) = &block.labels {
                let class = &self.layout.origin.classes[labels[row] as usize];
                fields.extend([labels[row].to_string(), class.clone()]);
            }
            writer.write_record(fields).map_err(csv_error(partial))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), EmbedError> {
        let Self { to, arrays, paths: (partial, writer), layout } = *self;
        let mut written = vec!["paths.csv".to_owned()];
        written.extend(layout.labels.then(|| "labels.npy".to_owned()));
        written.extend(arrays.iter().map(|array| format!("{}.npy", array.name)));
        for name in BESIDE.iter().filter(|name| !written.iter().any(|written| written == *name)) {
            let stale = to.with_extension(name);
            match fs::remove_file(&stale) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(EmbedError::Io { path: stale, source });
                }
                _ => {}
            }
        }
        let file = csv::finish(writer).map_err(partial.io())?;
        partial.finish(&file)?;
        arrays.into_iter().try_for_each(Array::finish)
    }
}
