//! The errors of this crate, each with the place of what is wrong.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{counted::counted, name_text::text_of};

/// Every error of this crate: the message names the file or index, what was found and what was
/// expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("{}: {}", text_of(path), explained(path, source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file exists but does not hold what its name or place promises.
    #[error("{}: {what}; expected {expected}", text_of(path))]
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
    /// One image has another number of channels than is read.
    #[error("{name} (image {index}): it has {}; expected {wanted}", counted(*found, "channel"))]
    Channels {
        /// Name of the image in the dataset: its path, or the file and record.
        name: String,
        /// Its index in the dataset.
        index: usize,
        /// Its number of channels, without alpha.
        found: usize,
        /// The number of channels that is read.
        wanted: usize,
    },
    /// A file or folder does not exist.
    #[error("{}: does not exist; expected {expected}", text_of(path))]
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
    /// Why an image cannot be used, without its name where the error is about an image.
    pub(crate) fn of_image(&self) -> String {
        match self {
            Self::BadImage { what, .. } => what.clone(),
            Self::Channels { found, wanted, .. } => {
                format!("it has {}; expected {wanted}", counted(*found, "channel"))
            }
            other => other.to_string(),
        }
    }

    /// Wraps an I/O error with the path it happened at.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| DataError::Io { path, source }
    }
}

/// Returns what `error`, which the system gave for `path`, means in words, then the system's own words.
pub fn explained(path: &Path, error: &io::Error) -> String {
    // An error of this program has words of its own.
    let own = error.get_ref().is_some();
    match meaning(path, error.kind()).filter(|_| !own) {
        Some(meaning) => format!("{meaning} ({error})"),
        None => error.to_string(),
    }
}

fn meaning(path: &Path, kind: io::ErrorKind) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let is_link = || fs::read_link(path).ok();
    Some(match kind {
        io::ErrorKind::NotFound => match (is_link(), folder) {
            (Some(target), _) => {
                format!("this is a link to {}, which does not exist", text_of(&target))
            }
            (None, Some(folder)) if !folder.exists() => {
                format!("the folder {} does not exist", text_of(folder))
            }
            _ => "does not exist".to_owned(),
        },
        io::ErrorKind::IsADirectory => "this is a folder; expected a file".to_owned(),
        io::ErrorKind::NotADirectory => {
            let file = path.ancestors().find(|part| part.is_file())?;
            match file == path {
                true => "this is a file; expected a folder".to_owned(),
                false => format!("{} is a file; expected a folder", text_of(file)),
            }
        }
        io::ErrorKind::PermissionDenied => "this user may not do this here".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "nothing can be written on this disk".to_owned(),
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        io::ErrorKind::QuotaExceeded => "the disk space of this user is used up".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_told_with_what_it_means() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
        let said = |name: &str| {
            let path = at(name);
            explained(&path, &fs::read_to_string(&path).unwrap_err())
        };
        for (name, expected) in [
            ("none", "does not exist (No such file"),
            ("link", "this is a link to nowhere, which does not exist (No such"),
            ("file/x", "file is a file; expected a folder (Not a directory"),
            ("", "this is a folder; expected a file (Is a directory"),
        ] {
            assert!(said(name).contains(expected), "{}", said(name));
        }
        let made = fs::write(at("no/such"), "").unwrap_err();
        let said = explained(&at("no/such"), &made);
        assert!(said.contains("no does not exist (No such file"), "{said}");
        // Of a file to read, the advice to make its folder would be of no use.
        let path = at("no/such");
        let said = explained(&path, &fs::read_to_string(&path).unwrap_err());
        assert!(said.contains("no does not exist (No such file"), "{said}");
    }
}
