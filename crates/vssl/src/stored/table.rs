//! What every form of an index offers: rows of features, the image of each row, and the origin of both.
//! Implemented by `columns` and `tensors`, used by `index` and by the pictures of a search.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{ORIGIN, Origin};
use crate::{
    encoder::EncoderError,
    eval::EvalError,
    features::{FeatureError, Source, StoredError},
    layers::budget::TooLarge,
};

/// Why a file is no index, or not of this encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The operating system refused.
    #[error("{}: {}", path.display(), vssl_data::explained(path, source))]
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
    /// A file that has the ending of none of the forms.
    #[error("{}: expected features in a file called *.parquet, *.csv, *.npy or *.safetensors", path.display())]
    Form {
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
    /// The search.
    #[error(transparent)]
    Search(#[from] EvalError),
    /// The rows cannot be read.
    #[error(transparent)]
    Features(#[from] FeatureError),
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
        what: String,
    },
    /// Rows that need more memory than this machine has.
    #[error("{}: {needed}; expected fewer images or a narrower feature", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The memory that is needed.
        needed: TooLarge,
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

    /// The paths of all rows, in their order.
    fn paths(&self) -> Result<Vec<String>, IndexError>;

    /// The class of each row; `None` for a file without labels.
    fn labels_of_rows(&self) -> Result<Option<Vec<i64>>, IndexError>;
}

/// The origin that the text under the key of the metadata tells.
pub(super) fn origin(path: &Path, text: Option<&str>) -> Result<Origin, IndexError> {
    let contents = |what| IndexError::Contents { path: path.to_owned(), what };
    let text = text.ok_or_else(|| contents(format!("its metadata have no {ORIGIN:?}")))?;
    serde_json::from_str(text)
        .map_err(|error| contents(format!("{ORIGIN:?} of its metadata: {error}")))
}
