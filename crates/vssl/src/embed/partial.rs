//! A file that has its name only once it is whole. Used by all writers.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::EmbedError;

/// A file beside the one that is wanted; gone with this value unless it was finished.
pub(super) struct Partial {
    temporary: PathBuf,
    to: PathBuf,
    is_done: bool,
}

impl Partial {
    /// Makes it: the earliest moment to learn that nothing can be written there.
    pub(super) fn create(to: &Path) -> Result<(Self, File), EmbedError> {
        let mut temporary = to.as_os_str().to_owned();
        temporary.push(".part");
        let temporary = PathBuf::from(temporary);
        let error = |source| EmbedError::Io { path: to.to_owned(), source };
        if to.is_dir() {
            return Err(error(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&temporary).map_err(error)?;
        Ok((Self { temporary, to: to.to_owned(), is_done: false }, file))
    }

    /// The name that it will have.
    pub(super) fn to(&self) -> &Path {
        &self.to
    }

    /// For whatever the system says of it.
    pub(super) fn io(&self) -> impl Fn(io::Error) -> EmbedError + use<> {
        let path = self.to.clone();
        move |source| EmbedError::Io { path: path.clone(), source }
    }

    /// Syncs `file` and gives it its name.
    pub(super) fn finish(mut self, file: &File) -> Result<(), EmbedError> {
        let done = file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.to));
        done.map_err(self.io())?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_done {
            // What cannot be removed is left; the reason is in the error that led here.
            drop(fs::remove_file(&self.temporary));
        }
    }
}
