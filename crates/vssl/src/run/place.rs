//! The place of a run folder while a run is at work in it: somebody may move or remove the folder meanwhile.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    names::{RECIPE, SETTINGS},
    whole_file,
};

/// An open folder, and the text without which it is no run folder.
pub(super) struct Place {
    path: PathBuf,
    folder: File,
    settings: Option<(&'static str, String)>,
}

impl Place {
    /// Opens the folder at `path`, which has its recipe or settings already.
    ///
    /// # Errors
    /// The folder cannot be opened.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let text = |name: &'static str| Some((name, fs::read_to_string(path.join(name)).ok()?));
        let settings = text(RECIPE).or_else(|| text(SETTINGS));
        Ok(Self { path: path.to_owned(), folder: File::open(path)?, settings })
    }

    fn is_at(&self, path: &Path) -> bool {
        let id = |found: fs::Metadata| (found.dev(), found.ino());
        let (own, there) = (self.folder.metadata().ok().map(id), path.metadata().ok().map(id));
        own.is_some() && own == there
    }

    /// Returns where the state of the run can be saved if the folder is not at its path any more: at its new
    /// path, or else in a folder that is made for it. `None` while the folder is where it was.
    pub(super) fn refuge(&self) -> Option<PathBuf> {
        if self.is_at(&self.path) {
            return None;
        }
        // Linux tells the present path of an open file.
        let link = Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string());
        if let Some(moved) = fs::read_link(link).ok().filter(|moved| self.is_at(moved)) {
            return Some(moved);
        }
        let refuge = match self.path.exists() {
            false => self.path.clone(),
            true => {
                let mut name = self.path.file_name().unwrap_or_default().to_owned();
                name.push("-rescued");
                self.path.with_file_name(name)
            }
        };
        // Where this fails, saving the checkpoint fails as well and says so.
        let _ = fs::create_dir_all(&refuge);
        if let Some((name, text)) = &self.settings {
            let _ = whole_file::write(&refuge.join(name), text);
        }
        Some(refuge)
    }
}
