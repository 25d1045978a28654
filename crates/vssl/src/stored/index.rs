//! A file of features as an index: rows for the search, and for each row its image.
//!
//! The rows stay in the file; the search reads them block by block. Called by `vssl search`.

use std::path::{Path, PathBuf};

use super::{
    Form, Origin,
    columns::StoredColumns,
    fingerprint,
    table::{Entry, IndexError, Table},
    tensors::StoredTensors,
};
use crate::{
    encoder::Encoder,
    eval::neighbours::{Distance, Neighbours, neighbours},
    features::{FeatureError, Features},
    layers::budget::TooLarge,
};

/// Features of a set of images in a file.
pub struct Index {
    /// The encoder and the images that the features come from.
    pub origin: Origin,
    path: PathBuf,
    table: Box<dyn Table>,
}

impl Index {
    /// Opens a Parquet or safetensors file that [`embed`](crate::embed::embed()) wrote.
    ///
    /// # Errors
    /// A file that cannot be read, or that is something else.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let (origin, table): (_, Box<dyn Table>) = match Form::of(path) {
            Some(Form::Parquet) => {
                let (origin, table) = StoredColumns::open(path)?;
                (origin, Box::new(table))
            }
            Some(Form::Safetensors) => {
                let (origin, table) = StoredTensors::open(path)?;
                (origin, Box::new(table))
            }
            _ => return Err(IndexError::Ending { path: path.to_owned() }),
        };
        Ok(Self { origin, path: path.to_owned(), table })
    }

    /// Number of images.
    pub fn rows(&self) -> usize {
        self.table.rows()
    }

    /// Numbers in a row.
    pub fn dim(&self) -> usize {
        self.table.dim()
    }

    /// The paths of all rows, in their order.
    pub(super) fn paths(&self) -> Result<Vec<String>, IndexError> {
        self.table.paths()
    }

    /// The class of each row, where the file has it.
    pub(super) fn labels(&self) -> Result<Option<Vec<i64>>, IndexError> {
        self.table.labels_of_rows()
    }

    /// What is said of rows that need more memory than there is.
    pub(super) fn too_large(&self, needed: TooLarge) -> IndexError {
        IndexError::TooLarge { path: self.path.clone(), needed }
    }

    /// Reads rows from `first` on, as many as `out` has room for.
    pub(super) fn read(&self, first: usize, out: &mut [f32]) -> Result<(), FeatureError> {
        self.table.read(first, out)
    }

    /// What is wrong with the file.
    pub(super) fn damaged(&self, what: String) -> IndexError {
        IndexError::Contents { path: self.path.clone(), what }
    }

    /// The image of `row`.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn entry(&self, row: usize) -> Result<Entry, IndexError> {
        self.table.entry(row)
    }

    /// Checks that `encoder` made these features: that it has the same weights and the same settings beside them, and is
    /// given its images in the same way.
    ///
    /// # Errors
    /// [`IndexError::OtherEncoder`].
    pub fn check(&self, encoder: &Encoder) -> Result<(), IndexError> {
        let Origin { sha256, input, pooling, .. } = &self.origin;
        let differences = self.origin.differences(&encoder.config);
        let pools = differences.iter().any(|difference| difference.key == "vit.pooling")
            || (self.origin.is_unsure() && encoder.pooling != *pooling);
        let what = if fingerprint(encoder) != *sha256 {
            "its weights differ".to_owned()
        } else if pools {
            "it pools its tokens in another way".to_owned()
        } else if let Some(first) = differences.first() {
            format!("its settings differ ({first})")
        } else if encoder.input != *input {
            "it takes images of another size or normalisation".to_owned()
        } else {
            return Ok(());
        };
        let steps = self.origin.step.map(|step| format!(" after step {step}")).unwrap_or_default();
        Err(IndexError::OtherEncoder {
            path: self.path.clone(),
            encoder: encoder.path.clone(),
            made_by: format!("{}{steps}", self.origin.encoder.display()),
            what,
        })
    }

    /// The `min(k, rows)` rows nearest to each row of `queries` by cosine.
    ///
    /// # Errors
    /// Features of another width, a file that cannot be read, a `k` of 0.
    pub fn nearest(&self, queries: &Features, k: usize) -> Result<Neighbours, IndexError> {
        Ok(neighbours(&*self.table, queries, Distance::Cosine, k)?)
    }
}
