//! safetensors, written bit by bit: one file, a tensor for each column.
//!
//! | tensor | | |
//! |---|---|---|
//! | `images` | `[n]` I64 | number of the image in its set |
//! | `labels` | `[n]` I64 | class, where known |
//! | `path_ends` | `[n]` I64 | where the path of each row ends in `paths` |
//! | `features` | `[n, dim]` F32 | |
//! | `mean`, `variance` or `variance_direction` | `[n, d]` F32 | the posterior, where there is one |
//! | `uncertainty` | `[n]` F32 | likewise |
//! | `predicted_loss` | `[n]` F32 | the loss that the encoder's head predicts, where it has one |
//! | `tokens` | `[n, patches, dim]` F32 | the patch tokens of a transformer, where they were asked for |
//! | `paths` | bytes U8 | all paths, one after the other, UTF-8 |

use std::{io, path::Path};

use safetensors::Dtype;

use super::{Block, EmbedError, Layout, ORIGIN, Rows, partial::Partial};
use crate::formats::{
    bytes,
    safetensors::{Column, ColumnShape, StreamWriter},
};

/// A safetensors file in the making.
pub(super) struct Tensors {
    partial: Partial,
    writer: StreamWriter,
    layout: Layout,
    rows: usize,
    /// Bytes of the paths so far.
    path_bytes: i64,
}

impl Tensors {
    pub(super) fn create(to: &Path, layout: Layout) -> Result<Self, EmbedError> {
        let (partial, file) = Partial::create(to)?;
        let about = [("format", "pt".to_owned()), (ORIGIN, layout.origin.json())];
        let writer = StreamWriter::new(file, columns(&layout), layout.images, &about);
        Ok(Self { partial, writer, layout, rows: 0, path_bytes: 0 })
    }

    fn push(&mut self, block: &Block) -> io::Result<()> {
        let writer = &mut self.writer;
        writer.push("images", &bytes(&block.images, i64::to_le_bytes))?;
        if let Some(labels) = &block.labels {
            writer.push("labels", &bytes(labels, i64::to_le_bytes))?;
        }
        let end = |path: &String| {
            self.path_bytes += path.len() as i64;
            self.path_bytes
        };
        let ends: Vec<i64> = block.paths.iter().map(end).collect();
        writer.push("path_ends", &bytes(&ends, i64::to_le_bytes))?;
        for (name, _, values) in block.arrays(&self.layout) {
            writer.push(name, &bytes(values, f32::to_le_bytes))?;
        }
        self.rows += block.paths.len();
        writer.push("paths", block.paths.concat().as_bytes())
    }
}

/// Wide numbers come first, so that every tensor is aligned to its numbers.
fn columns(layout: &Layout) -> Vec<Column> {
    let images = layout.images as u64;
    let whole =
        |name| Column { name, kind: Dtype::I64, shape: ColumnShape::Rows, room: 8 * images };
    let rows = |name, dim: usize| {
        let (shape, room) = (ColumnShape::RowsOf(dim), 4 * images * dim as u64);
        Column { name, kind: Dtype::F32, shape, room }
    };
    let mut columns = vec![whole("images")];
    columns.extend(layout.labels.then(|| whole("labels")));
    columns.extend([whole("path_ends"), rows("features", layout.dim)]);
    if let Some(of) = &layout.posterior {
        columns.extend([rows("mean", of.dim), rows(of.variance(), of.dim)]);
        columns.push(Column { shape: ColumnShape::Rows, ..rows("uncertainty", 1) });
    }
    if layout.predicted_loss {
        columns.push(Column { shape: ColumnShape::Rows, ..rows("predicted_loss", 1) });
    }
    if let Some([patches, numbers]) = layout.tokens {
        let shape = ColumnShape::RowsOfMatrices(patches, numbers);
        columns.push(Column { shape, ..rows("tokens", patches * numbers) });
    }
    let (name, kind, room) = ("paths", Dtype::U8, layout.path_bytes);
    columns.push(Column { name, kind, shape: ColumnShape::Bytes, room });
    columns
}

impl Rows for Tensors {
    fn write(&mut self, block: &Block) -> Result<(), EmbedError> {
        self.push(block).map_err(self.partial.io())
    }

    fn finish(self: Box<Self>) -> Result<(), EmbedError> {
        let Self { partial, writer, rows, .. } = *self;
        let file = writer.finish(rows).map_err(partial.io())?;
        partial.finish(&file)
    }
}
