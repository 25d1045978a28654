//! CSV (RFC 4180): image, path, then label, class, uncertainty and predicted_loss where the rows have them, then a column
//! for each number of the features, of the mean and of the variance.
//!
//! Numbers have as many digits as it takes to read the same `f32` back. A text of 2048 numbers takes
//! some five times the bytes of Parquet: for small sets.

use std::path::Path;

use super::{Block, EmbedError, Layout, Rows, partial::Partial};
use crate::formats::csv;

/// A CSV file in the making.
pub(super) struct Text {
    partial: Partial,
    writer: csv::FileWriter,
    layout: Layout,
}

impl Text {
    pub(super) fn create(to: &Path, layout: Layout) -> Result<Self, EmbedError> {
        let (partial, file) = Partial::create(to)?;
        let writer = csv::writer(file);
        let mut text = Self { partial, writer, layout };
        text.record(text.header())?;
        Ok(text)
    }

    fn header(&self) -> Vec<String> {
        let Layout { dim, labels, posterior, predicted_loss, .. } = &self.layout;
        let mut names: Vec<String> = vec!["image".into(), "path".into()];
        if *labels {
            names.extend(["label".into(), "class".into()]);
        }
        if posterior.is_some() {
            names.push("uncertainty".into());
        }
        if *predicted_loss {
            names.push("predicted_loss".into());
        }
        names.extend((0..*dim).map(|column| format!("feature_{column}")));
        if let Some(of) = posterior {
            names.extend((0..of.dim).map(|column| format!("mean_{column}")));
            names.extend((0..of.dim).map(|column| format!("{}_{column}", of.variance())));
        }
        names
    }

    fn record(&mut self, fields: Vec<String>) -> Result<(), EmbedError> {
        self.writer.write_record(fields).map_err(|error| EmbedError::Write {
            path: self.partial.to().to_owned(),
            format: "CSV",
            what: error.to_string(),
        })
    }
}

impl Rows for Text {
    fn write(&mut self, block: &Block) -> Result<(), EmbedError> {
        for (row, path) in block.paths.iter().enumerate() {
            let mut fields = vec![block.images[row].to_string(), path.clone()];
            if let Some(labels) = &block.labels {
                let class = &self.layout.origin.classes[labels[row] as usize];
                fields.extend([labels[row].to_string(), class.clone()]);
            }
            let of = |values: &[f32], dim: usize| -> Vec<String> {
                values[row * dim..][..dim].iter().map(f32::to_string).collect()
            };
            let posterior = block.posterior.as_ref().zip(self.layout.posterior);
            fields.extend(posterior.iter().flat_map(|(block, _)| of(&block.uncertainty, 1)));
            fields.extend(block.predicted_loss.iter().flat_map(|losses| of(losses, 1)));
            fields.extend(of(&block.features, self.layout.dim));
            if let Some((block, layout)) = posterior {
                fields.extend(of(&block.mean, layout.dim));
                fields.extend(of(&block.variance, layout.dim));
            }
            self.record(fields)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), EmbedError> {
        let Self { partial, writer, .. } = *self;
        let file = csv::finish(writer).map_err(partial.io())?;
        partial.finish(&file)
    }
}
