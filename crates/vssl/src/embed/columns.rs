//! Parquet: `image`, `path`, then `label`, `class` where known, `features` as a list of floats, and
//! `mean`, `variance` (or `variance_direction`) and `uncertainty` where there is a posterior, and `predicted_loss` where
//! the encoder has a head that predicts losses.
//!
//! Rows are kept until they fill a row group of some 16 MiB, which is also what a reader needs to keep.
//! The key-value metadata hold the [`Origin`](super::Origin) under `vssl`.

use std::{fs::File, path::Path, sync::Arc};

use parquet::{
    basic::{Compression, Encoding},
    data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int64Type},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::{parser::parse_message_type, types::ColumnPath},
};

use super::{Block, EmbedError, Layout, ORIGIN, PosteriorBlock, Rows, partial::Partial};

/// Numbers of a row group: 16 MiB.
const NUMBERS: usize = 4 << 20;
/// Rows of a row group at most: paths need room as well.
const ROWS: usize = 16 * 1024;
/// Rows whose levels are made at once.
const PIECE: usize = 256;

/// A Parquet file in the making.
pub(super) struct Columns {
    partial: Partial,
    writer: SerializedFileWriter<File>,
    layout: Layout,
    /// Rows that are not written yet.
    waiting: Block,
    /// Rows of a row group.
    group: usize,
}

impl Columns {
    pub(super) fn create(to: &Path, layout: Layout) -> Result<Self, EmbedError> {
        let (partial, file) = Partial::create(to)?;
        let schema =
            parse_message_type(&schema(&layout)).expect("built from a fixed list of columns");
        let mut properties = WriterProperties::builder()
            .set_created_by(format!("vssl {}", env!("CARGO_PKG_VERSION")))
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_key_value_metadata(Some(vec![KeyValue::new(
                ORIGIN.to_owned(),
                layout.origin.json(),
            )]));
        // Numbers of features neither repeat nor compress.
        for path in lists(&layout).map(list_path) {
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path.clone(), Encoding::PLAIN)
                .set_column_compression(path, Compression::UNCOMPRESSED);
        }
        let writer =
            SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties.build()))
                .map_err(error(&partial))?;
        let numbers = layout.dim + layout.posterior.map_or(0, |of| 2 * of.dim);
        let group = (NUMBERS / numbers.max(1)).clamp(1, ROWS);
        Ok(Self { partial, writer, layout, waiting: Block::default(), group })
    }

    fn write_group(&mut self) -> Result<(), EmbedError> {
        if self.waiting.paths.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.waiting);
        write_group(&mut self.writer, &block, &self.layout).map_err(error(&self.partial))
    }
}

fn error(partial: &Partial) -> impl Fn(ParquetError) -> EmbedError + use<> {
    let path = partial.to().to_owned();
    move |error| {
        let what = error.to_string();
        EmbedError::Write { path: path.clone(), format: "Parquet", what }
    }
}

/// Names of the columns that are lists.
fn lists(layout: &Layout) -> impl Iterator<Item = &'static str> {
    let posterior = layout.posterior.map(|of| ["mean", of.variance()]);
    ["features"].into_iter().chain(posterior.into_iter().flatten())
}

fn list_path(name: &str) -> ColumnPath {
    ColumnPath::from([name, "list", "element"].map(str::to_owned).to_vec())
}

fn schema(layout: &Layout) -> String {
    let mut schema =
        "message images { required int64 image; required binary path (UTF8); ".to_owned();
    if layout.labels {
        schema += "required int64 label; required binary class (UTF8); ";
    }
    for name in lists(layout) {
        schema += &format!(
            "required group {name} (LIST) {{ repeated group list {{ required float element; }} }} "
        );
    }
    if layout.posterior.is_some() {
        schema += "required float uncertainty; ";
    }
    if layout.predicted_loss {
        schema += "required float predicted_loss; ";
    }
    schema + "}"
}

/// The columns in the order of the schema.
fn write_group(
    writer: &mut SerializedFileWriter<File>,
    block: &Block,
    layout: &Layout,
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    column::<Int64Type>(&mut group, &block.images, None)?;
    let paths: Vec<ByteArray> = block.paths.iter().map(|path| path.as_str().into()).collect();
    column::<ByteArrayType>(&mut group, &paths, None)?;
    if let Some(labels) = &block.labels {
        column::<Int64Type>(&mut group, labels, None)?;
        let classes = &layout.origin.classes;
        let class = |&label: &i64| classes[label as usize].as_str().into();
        let classes: Vec<ByteArray> = labels.iter().map(class).collect();
        column::<ByteArrayType>(&mut group, &classes, None)?;
    }
    for (name, dim, values) in block.arrays(layout) {
        let dim = (!["uncertainty", "predicted_loss"].contains(&name)).then_some(dim);
        column::<FloatType>(&mut group, values, dim)?;
    }
    group.close()?;
    Ok(())
}

/// One column; `dim` numbers make a list.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    dim: Option<usize>,
) -> Result<(), ParquetError> {
    let next = group.next_column()?;
    let mut column = next.ok_or_else(|| ParquetError::General("a column too many".to_owned()))?;
    match dim {
        None => {
            column.typed::<T>().write_batch(values, None, None)?;
        }
        Some(dim) => {
            // A number that begins a list repeats at level 0, the others at 1.
            let levels: Vec<i16> = (0..PIECE * dim).map(|at| i16::from(at % dim > 0)).collect();
            let present = vec![1; PIECE * dim];
            for piece in values.chunks(PIECE * dim) {
                let (present, levels) = (&present[..piece.len()], &levels[..piece.len()]);
                column.typed::<T>().write_batch(piece, Some(present), Some(levels))?;
            }
        }
    }
    column.close()
}

impl Rows for Columns {
    fn write(&mut self, block: &Block) -> Result<(), EmbedError> {
        append(&mut self.waiting, block);
        match self.waiting.paths.len() >= self.group {
            true => self.write_group(),
            false => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<(), EmbedError> {
        self.write_group()?;
        let Self { partial, writer, .. } = *self;
        let file = writer.into_inner().map_err(error(&partial))?;
        partial.finish(&file)
    }
}

fn append(all: &mut Block, block: &Block) {
    all.images.extend(&block.images);
    all.paths.extend_from_slice(&block.paths);
    if let Some(labels) = &block.labels {
        all.labels.get_or_insert_default().extend(labels);
    }
    all.features.extend(&block.features);
    if let Some(losses) = &block.predicted_loss {
        all.predicted_loss.get_or_insert_default().extend(losses);
    }
    if let Some(PosteriorBlock { mean, variance, uncertainty }) = &block.posterior {
        let all = all.posterior.get_or_insert_default();
        all.mean.extend(mean);
        all.variance.extend(variance);
        all.uncertainty.extend(uncertainty);
    }
}
