//! safetensors, streamed: a length, a JSON header, and the bytes of all tensors without a gap.
//!
//! The header tells where each tensor begins, so places are given out for the number of images that
//! the set has, and blocks are written to them as they come. Where images were left out, the tensors
//! are moved together at the end. Wide numbers come first: every tensor is aligned to its numbers.
//!
//! | tensor | | |
//! |---|---|---|
//! | `images` | `[n]` I64 | number of the image in its set |
//! | `labels` | `[n]` I64 | class, where known |
//! | `path_ends` | `[n]` I64 | where the path of each row ends in `paths` |
//! | `features` | `[n, dim]` F32 | |
//! | `mean`, `variance` or `variance_direction` | `[n, d]` F32 | the posterior, where there is one |
//! | `uncertainty` | `[n]` F32 | likewise |
//! | `paths` | bytes U8 | all paths, one after the other, UTF-8 |

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use serde_json::{Map, Value, json};

use super::{Block, EmbedError, Layout, ORIGIN, Rows, partial::Partial, rows::bytes};

/// Bytes that are moved at once.
const PIECE: usize = 1 << 20;

/// A safetensors file in the making.
pub(super) struct Tensors {
    partial: Partial,
    file: File,
    columns: Vec<Column>,
    layout: Layout,
    /// Bytes of the header, spaces at its end included.
    header: usize,
    rows: usize,
}

/// One tensor.
struct Column {
    name: &'static str,
    kind: &'static str,
    /// Numbers in a row; `None` for one dimension, and for the paths.
    dim: Option<usize>,
    /// Bytes before it, counted from the end of the header.
    start: u64,
    /// Bytes that were set apart for it.
    room: u64,
    /// Bytes in it.
    filled: u64,
}

impl Tensors {
    pub(super) fn create(to: &Path, layout: Layout) -> Result<Self, EmbedError> {
        let (partial, file) = Partial::create(to)?;
        let images = layout.images as u64;
        let mut columns = Vec::new();
        let mut start = 0;
        let mut add = |name, kind, dim: Option<usize>, room| {
            columns.push(Column { name, kind, dim, start, room, filled: 0 });
            start += room;
        };
        add("images", "I64", None, 8 * images);
        if layout.labels {
            add("labels", "I64", None, 8 * images);
        }
        add("path_ends", "I64", None, 8 * images);
        add("features", "F32", Some(layout.dim), 4 * images * layout.dim as u64);
        if let Some(of) = &layout.posterior {
            add("mean", "F32", Some(of.dim), 4 * images * of.dim as u64);
            add(of.variance(), "F32", Some(of.dim), 4 * images * of.dim as u64);
            add("uncertainty", "F32", None, 4 * images);
        }
        add("paths", "U8", None, layout.path_bytes);
        let mut tensors = Self { partial, file, columns, layout, header: 0, rows: 0 };
        // With every row there; with fewer the numbers in it are no longer.
        let widest = tensors.header_text(tensors.layout.images, |column| column.room).len();
        tensors.header = (8 + widest).next_multiple_of(8) - 8;
        Ok(tensors)
    }

    fn header_text(&self, rows: usize, size: impl Fn(&Column) -> u64) -> String {
        let about = json!({ "format": "pt", ORIGIN: self.layout.origin.json() });
        let mut header = Map::from_iter([("__metadata__".to_owned(), about)]);
        let mut start = 0;
        for column in &self.columns {
            let end = start + size(column);
            let shape: Value = match (column.kind, column.dim) {
                ("U8", _) => json!([end - start]),
                (_, Some(dim)) => json!([rows, dim]),
                (_, None) => json!([rows]),
            };
            let entry =
                json!({ "dtype": column.kind, "shape": shape, "data_offsets": [start, end] });
            header.insert(column.name.to_owned(), entry);
            start = end;
        }
        Value::Object(header).to_string()
    }

    fn push(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let found = self.columns.iter_mut().find(|column| column.name == name);
        let column = found.expect("a block has the columns of its layout");
        debug_assert!(column.filled + bytes.len() as u64 <= column.room);
        let at = 8 + self.header as u64 + column.start + column.filled;
        column.filled += bytes.len() as u64;
        self.file.write_all_at(bytes, at)
    }

    fn push_block(&mut self, block: &Block) -> io::Result<()> {
        self.push("images", &bytes(&block.images, i64::to_le_bytes))?;
        if let Some(labels) = &block.labels {
            self.push("labels", &bytes(labels, i64::to_le_bytes))?;
        }
        let paths = self.columns.last().expect("the paths are always there");
        let mut end = paths.filled as i64;
        let ends: Vec<i64> = block
            .paths
            .iter()
            .map(|path| {
                end += path.len() as i64;
                end
            })
            .collect();
        self.push("path_ends", &bytes(&ends, i64::to_le_bytes))?;
        for (name, _, values) in block.arrays(&self.layout) {
            self.push(name, &bytes(values, f32::to_le_bytes))?;
        }
        self.push("paths", block.paths.concat().as_bytes())?;
        self.rows += block.paths.len();
        Ok(())
    }

    /// Closes the gaps, then writes the header.
    fn close(&self) -> io::Result<()> {
        let first = 8 + self.header as u64;
        let mut at = first;
        for column in &self.columns {
            shift(&self.file, first + column.start, at, column.filled)?;
            at += column.filled;
        }
        self.file.set_len(at)?;
        let text = self.header_text(self.rows, |column| column.filled);
        self.file.write_all_at(&(self.header as u64).to_le_bytes(), 0)?;
        let text = format!("{text:<width$}", width = self.header_width(&text));
        self.file.write_all_at(text.as_bytes(), 8)
    }

    /// In characters, as the formatter counts.
    fn header_width(&self, text: &str) -> usize {
        self.header - text.len() + text.chars().count()
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

impl Rows for Tensors {
    fn write(&mut self, block: &Block) -> Result<(), EmbedError> {
        self.push_block(block).map_err(self.partial.io())
    }

    fn finish(self: Box<Self>) -> Result<(), EmbedError> {
        self.close().map_err(self.partial.io())?;
        let Self { partial, file, .. } = *self;
        partial.finish(&file)
    }
}
