//! Runs as one HTML page: what was trained, what it is worth, whether it is healthy, how it got there.
//!
//! `run` reads what the run folder tells, `look` asks the encoder about images (`picture`, `map`,
//! `closeness` and `gallery` are its parts), `document` puts both into a page that needs no network.
//! The page itself is `assets/`: it draws, and computes nothing that is not for the eye. Called by
//! `vssl report` and `vssl watch`.

mod closeness;
mod document;
mod figures;
mod gallery;
mod look;
mod map;
mod picture;
mod run;

use std::{io, path::PathBuf};

pub use document::{Document, html};
pub use look::{Look, Sample};
pub use run::{RunView, State, Verdict};

use crate::{
    encoder::EncoderError,
    eval::EvalError,
    features::FeatureError,
    recipe::RecipeError,
    run::{folder::RunFolderError, json_lines::JsonLinesError, metrics},
};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The run folder.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// Its figures or events.
    #[error(transparent)]
    Lines(#[from] JsonLinesError),
    /// Its recipe.
    #[error("{}: {source}", path.display())]
    Recipe {
        /// The recipe.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<RecipeError>,
    },
    /// A file that cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing was logged.
    #[error(
        "{}: there is nothing in {} yet; wait for the first logged step, or look on with \
         vssl watch {}", run.display(), metrics::FILE, run.display()
    )]
    NoMetrics {
        /// The run folder.
        run: PathBuf,
    },
    /// The encoder, or reading images for it.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Images.
    #[error(transparent)]
    Data(#[from] vssl_data::DataError),
    /// Features that are not numbers.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// The search for neighbours.
    #[error(transparent)]
    Evaluation(#[from] EvalError),
    /// A picture that cannot be made.
    #[error("a sheet of {count} pictures of {side} pixels: {what}; ask for fewer points")]
    Picture {
        /// Pictures on it.
        count: usize,
        /// Width and height of one.
        side: usize,
        /// What the encoder of pictures said.
        what: String,
    },
}
