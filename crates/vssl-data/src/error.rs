//! The errors of this crate, each with the place of what is wrong.

use std::path::PathBuf;

/// Every error of this crate: the message names the file or index, what was found and what was
/// expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file exists but does not hold what its name or place promises.
    #[error("{}: {what}; expected {expected}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found, with the byte offset or record number where there is one.
        what: String,
        /// What was expected, and what to do where that is known.
        expected: String,
    },
    /// One image cannot be decoded.
    #[error("{name} (image {index}): {what}")]
    BadImage {
        /// Name of the image in the dataset: its path, or the file and record.
        name: String,
        /// Its index in the dataset.
        index: usize,
        /// Why the image cannot be decoded.
        what: String,
    },
    /// A file or folder does not exist.
    #[error("{}: does not exist; expected {expected}", path.display())]
    Missing {
        /// The file or folder.
        path: PathBuf,
        /// What was expected, and how to get it where that is known.
        expected: String,
    },
    /// A file could not be downloaded.
    #[error("{url}: {what}; {advice}")]
    Download {
        /// Its address.
        url: String,
        /// What happened, with the bytes received and expected where the download ended early.
        what: String,
        /// What was kept, and what to do.
        advice: String,
    },
    /// A file was downloaded completely but is not the requested file.
    #[error(
        "{url}: wrong MD5 checksum {got}, expected {expected}; the partial file was removed: \
         run the same command again, or set another mirror if this repeats"
    )]
    Checksum {
        /// Its address.
        url: String,
        /// Checksum of the downloaded bytes.
        got: String,
        /// Checksum of the published file.
        expected: String,
    },
    /// A worker thread could not be started, or panicked.
    #[error("{0}")]
    Worker(String),
    /// A setting that makes no sense for this data.
    #[error("{0}")]
    Setting(String),
}

impl DataError {
    /// Wraps an I/O error with the path it happened at.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| DataError::Io { path, source }
    }
}
