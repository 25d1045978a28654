//! Features of sets of images in files, which are read again: as an index that knows its images and its encoder, as rows
//! with classes for an evaluation, and as what a teacher makes of the images of a training.
//!
//! [`Origin`] says which encoder made the rows of which images; `columns` (Parquet) and `tensors` (safetensors) know the
//! image of each row, `text` (CSV) does not. The files are written by [`mod@crate::embed`]. Called by `train` for a frozen
//! teacher, by `embed`, and by `vssl search` and `vssl knn`.

mod columns;
mod index;
mod labelled;
mod of_images;
mod origin;
mod table;
mod tensors;
mod text;

use std::path::Path;

pub use index::Index;
pub use labelled::LabelledRows;
pub use of_images::{OfImages, OtherClass};
pub use origin::{Origin, Split, fingerprint, fingerprint_of};
pub use table::{Entry, IndexError};

/// Key under which a file tells its [`Origin`], as JSON.
pub(crate) const ORIGIN: &str = "vssl";

/// How rows of features are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One table, features as lists.
    Parquet,
    /// One table, a column for each number.
    Csv,
    /// One array a file.
    Npy,
    /// All arrays in one file.
    Safetensors,
}

impl Form {
    /// The form that the ending of `path` says, if it is one of the four endings.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            "npy" => Some(Self::Npy),
            "safetensors" => Some(Self::Safetensors),
            _ => None,
        }
    }
}
