//! Makes one HTML page of runs: their settings, results, health, curves and pictures.
//!
//! `run` reads the run folder; `pictures` computes features of a sample of images and makes pictures of
//! them (`map`, `neighbour_graph`, `gallery` and `picture` are its parts); `document` puts both into a page
//! that needs no network. The page itself, in `assets/`, draws and computes only what drawing needs.
//! Called by `vssl report` and `vssl watch`.

mod classes;
mod document;
mod figures;
mod gallery;
mod map;
mod neighbour_graph;
mod picture;
mod pictures;
mod run;
mod tsne;
mod verdict;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use classes::ClassView;
pub use document::{Document, html};
pub use pictures::{ImageSample, RunPictures};
pub use run::{RunView, State};
pub use verdict::Verdict;

use crate::{
    encoder::EncoderError,
    eval::EvalError,
    features::FeatureError,
    recipe::RecipeError,
    run::{
        checkpoint::Store,
        folder::{RunFolderError, SUMMARY},
        json_lines::JsonLinesError,
        metrics,
    },
};

/// Why a page could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The run folder cannot be read.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// The figures or events of the run cannot be read.
    #[error(transparent)]
    Lines(#[from] JsonLinesError),
    /// The recipe of the run is not valid.
    #[error("{}: {source}", path.display())]
    Recipe {
        /// The recipe.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<RecipeError>,
    },
    /// A file cannot be written.
    #[error("{}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No step was logged.
    #[error(
        "{}: there is nothing in {} yet; wait for the first logged step, or look on with \
         vssl watch {}", run.display(), metrics::FILE, run.display()
    )]
    NoMetrics {
        /// The run folder.
        run: PathBuf,
    },
    /// The run logged steps, and their file is not there any more.
    #[error(
        "{}: {} is missing, so the figures of the run's steps are lost and there are no curves to show", run.display(),
        metrics::FILE
    )]
    MetricsGone {
        /// The run folder.
        run: PathBuf,
    },
    /// The encoder cannot be read, or images for it.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// An image cannot be read.
    #[error(transparent)]
    Data(#[from] vssl_data::DataError),
    /// Features are not finite.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// The neighbours could not be found.
    #[error(transparent)]
    Evaluation(#[from] EvalError),
    /// A sheet of pictures could not be encoded.
    #[error("a sheet of {count} pictures of {side} pixels: {what}; ask for fewer points")]
    Picture {
        /// Number of pictures on the sheet.
        count: usize,
        /// Side of a picture in pixels.
        side: usize,
        /// The message of the image encoder.
        what: String,
    },
}

impl PageError {
    /// Returns the error for the run in the folder `run`, which has no figures to show: its file of figures was
    /// removed, or no step was logged yet.
    pub fn without_figures(run: &Path) -> Self {
        let has_begun = run.join(SUMMARY).exists() || Store::of(run).has_saved().unwrap_or(false);
        let is_gone = !run.join(metrics::FILE).exists();
        let run = run.to_owned();
        match is_gone && has_begun {
            true => Self::MetricsGone { run },
            false => Self::NoMetrics { run },
        }
    }
}
