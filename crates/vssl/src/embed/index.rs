//! A file of features as an index: rows for the search, and for each row its image.
//!
//! The rows stay in the file; `eval::knn` reads them block by block. Called by `vssl search`.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    Form, ORIGIN, Origin, fingerprint, stored_columns::StoredColumns, stored_tensors::StoredTensors,
};
use crate::{
    encoder::{Encoder, EncoderError},
    eval::{
        EvalError, Features, Source,
        knn::{self, Distance, Neighbours},
        stored::StoredError,
    },
};

/// Why a file is no index, or not of this encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that does not name its images.
    #[error(
        "{}: cannot be searched, it has to name its images and its encoder; expected a .parquet or \
         .safetensors file that `vssl embed` wrote", path.display()
    )]
    Ending {
        /// The file.
        path: PathBuf,
    },
    /// A file of this format that is damaged or has other contents.
    #[error("{}: {what}; expected a file that `vssl embed` wrote", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The arrays of a safetensors file.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// Its rows.
    #[error(transparent)]
    Rows(#[from] EvalError),
    /// Features of another encoder.
    #[error(
        "{}: made by {made_by}, which is not {}: {what}; features of two encoders cannot be compared, \
         write the index again with: vssl embed {} --to {}",
        path.display(), encoder.display(), encoder.display(), path.display()
    )]
    OtherEncoder {
        /// The index.
        path: PathBuf,
        /// The encoder that was opened.
        encoder: PathBuf,
        /// The encoder of the index.
        made_by: String,
        /// What differs.
        what: &'static str,
    },
    /// The encoder, or images for it.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// An image that cannot be read.
    #[error(transparent)]
    Data(#[from] vssl_data::DataError),
    /// An image that is not where the index says.
    #[error("{path}: it is not in {} any more; was the folder moved or changed?", images.display())]
    Moved {
        /// The image, as the index calls it.
        path: String,
        /// The set of images.
        images: PathBuf,
    },
    /// A picture that cannot be made.
    #[error("a picture of {rows} rows of {columns} images: {what}")]
    Picture {
        /// Queries.
        rows: usize,
        /// Images in a row.
        columns: usize,
        /// What the encoder of pictures said.
        what: String,
    },
}

/// The image of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the set.
    pub image: usize,
    /// Relative to the folder of the set.
    pub path: String,
    /// Its class, where known.
    pub label: Option<i64>,
}

/// Rows that know their images.
pub(super) trait Table: Source {
    /// The image of `row`.
    fn entry(&self, row: usize) -> Result<Entry, IndexError>;
}

/// Features of a set of images in a file.
pub struct Index {
    /// Where they come from.
    pub origin: Origin,
    path: PathBuf,
    table: Box<dyn Table>,
}

impl Index {
    /// Opens a Parquet or safetensors file that [`embed`](super::embed()) wrote.
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

    /// The image of `row`.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn entry(&self, row: usize) -> Result<Entry, IndexError> {
        self.table.entry(row)
    }

    /// Whether `encoder` made these features: the same weights, and images brought to it the same way.
    ///
    /// # Errors
    /// [`IndexError::OtherEncoder`].
    pub fn check(&self, encoder: &Encoder) -> Result<(), IndexError> {
        let Origin { sha256, input, .. } = &self.origin;
        let what = if fingerprint(encoder) != *sha256 {
            "its weights differ"
        } else if encoder.input != *input {
            "it takes images of another size or normalisation"
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
        Ok(knn::neighbours(&*self.table, queries, Distance::Cosine, k)?)
    }
}

/// The origin that the text under the key of the metadata tells.
pub(super) fn origin(path: &Path, text: Option<&str>) -> Result<Origin, IndexError> {
    let contents = |what| IndexError::Contents { path: path.to_owned(), what };
    let text = text.ok_or_else(|| contents(format!("its metadata have no {ORIGIN:?}")))?;
    serde_json::from_str(text)
        .map_err(|error| contents(format!("{ORIGIN:?} of its metadata: {error}")))
}
