//! Features of sets of images as files for other programs, and the search in them.
//!
//! `job` brings images to the encoder and hands blocks of [`Rows`] to one of four writers: `columns`
//! (Parquet), `text` (CSV), `numpy` (`.npy`) and `tensors` (safetensors). No writer keeps more than
//! a block, or a row group of Parquet, whatever the number of images. Parquet and safetensors hold the
//! paths and an [`Origin`] as well: [`Index`] searches them and `drawing` shows what it found.
//! [`LabelledRows`] reads every form for an evaluation. Called by `vssl embed`, `vssl search` and `vssl knn`.

mod columns;
mod drawing;
mod index;
mod job;
mod labelled;
mod numpy;
mod origin;
mod partial;
mod rows;
mod stored_columns;
mod stored_tensors;
mod stored_text;
mod table;
mod tensors;
mod text;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use drawing::{draw, image_of};
pub use index::Index;
pub use job::{Embedded, Job, create, embed};
pub use labelled::LabelledRows;
pub use origin::{Origin, Split, fingerprint};
pub use rows::{Block, Layout, PosteriorBlock, PosteriorLayout, Rows};
pub use table::{Entry, IndexError};

use vssl_data::counted;

use crate::encoder::EncoderError;

/// Key under which a file tells its [`Origin`], as JSON.
const ORIGIN: &str = "vssl";

/// How rows are written.
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

/// Why features were not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The encoder, or images that cannot be read.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The file.
    #[error("{}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Parquet's or CSV's writer.
    #[error("{}: writing {format}: {what}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Which format.
        format: &'static str,
        /// What the writer said.
        what: String,
    },
    /// A number that no search could use.
    #[error(
        "{image}: number {column} of its {what} is {value}; the model has diverged, use an earlier \
         checkpoint"
    )]
    NotFinite {
        /// The image.
        image: String,
        /// Features, mean or another column.
        what: &'static str,
        /// Index within it.
        column: usize,
        /// The value.
        value: f32,
    },
    /// Patch tokens were asked of a network that has none.
    #[error(
        "{architecture} has no patch tokens, which only transformers have; leave them out for its features alone"
    )]
    NoTokens {
        /// The architecture of the encoder.
        architecture: &'static str,
    },
    /// Patch tokens were asked in a format that has rows of numbers.
    #[error(
        "patch tokens are written as .npy or .safetensors; tables have no place for an array of each image"
    )]
    NoRoomForTokens,
    /// Not one image could be read.
    #[error("none of {} could be read; the last: {last}", counted(images, "image"))]
    Nothing {
        /// Images of the set.
        images: usize,
        /// Why the last was left out.
        last: String,
    },
    /// The run was stopped on request.
    #[error(
        "stopped after {done} of {}; {} was not written: start again to have it",
        counted(images, "image"), path.display()
    )]
    Stopped {
        /// Images that were done.
        done: usize,
        /// Images of the set.
        images: usize,
        /// The file.
        path: PathBuf,
    },
}
