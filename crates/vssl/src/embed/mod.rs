//! Features of sets of images as files for other programs, and the search in them.
//!
//! `job` brings images to the encoder and hands blocks of [`Rows`] to one of four writers: `columns`
//! (Parquet), `text` (CSV), `numpy` (`.npy`) and `tensors` (safetensors). No writer keeps more than
//! a block, or a row group of Parquet, whatever the number of images. Parquet and safetensors hold the
//! paths and an [`Origin`] as well: [`Index`] searches them and `drawing` shows what it found. [`crate::stored`] reads
//! the files again. Called by `vssl embed` and `vssl search`.

mod columns;
mod drawing;
mod job;
mod numpy;
mod partial;
mod rows;
mod tensors;
mod text;

use std::{io, path::PathBuf};

pub use drawing::{draw, image_of};
pub use job::{Embedded, Job, create, embed};
pub use rows::{Block, Layout, PosteriorBlock, PosteriorLayout, Rows};

use vssl_data::counted;

pub use crate::stored::{Entry, Form, Index, IndexError, LabelledRows, Origin, Split, fingerprint};
use crate::{encoder::EncoderError, stored::ORIGIN};

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
