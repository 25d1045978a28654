//! A [`WholeFile`] whose errors name it. Used by all writers.

use std::{fs::File, io, path::Path};

use super::EmbedError;
use crate::run::whole_file::WholeFile;

/// A file that is being written.
pub(super) struct Partial(WholeFile);

impl Partial {
    pub(super) fn create(to: &Path) -> Result<(Self, File), EmbedError> {
        let created = WholeFile::create(to);
        let (whole, file) =
            created.map_err(|source| EmbedError::Io { path: to.to_owned(), source })?;
        Ok((Self(whole), file))
    }

    /// The name that the file will have.
    pub(super) fn to(&self) -> &Path {
        self.0.to()
    }

    /// Turns an error of the system into one that names the file.
    pub(super) fn io(&self) -> impl Fn(io::Error) -> EmbedError + use<> {
        let path = self.to().to_owned();
        move |source| EmbedError::Io { path: path.clone(), source }
    }

    pub(super) fn finish(self, file: &File) -> Result<(), EmbedError> {
        let error = self.io();
        self.0.finish(file).map_err(error)
    }
}
