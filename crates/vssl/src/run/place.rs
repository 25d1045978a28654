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

    /// Takes `text` for the settings in the file `name`, which have replaced others.
    pub(super) fn remember(&mut self, name: &'static str, text: &str) {
        self.settings = Some((name, text.to_owned()));
    }

    /// Returns whether the folder is at `path`.
    ///
    /// # Errors
    /// The system cannot say, as a network disk that does not answer.
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let id = |found: fs::Metadata| (found.dev(), found.ino());
        match path.metadata() {
            Ok(there) => Ok(id(self.folder.metadata()?) == id(there)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns where the state of the run can be saved if the folder is not at its path any more: at its new
    /// path, or else in a folder that is made for it. `None` while the folder is where it was.
    pub(super) fn refuge(&self) -> Option<PathBuf> {
        // A disk that does not answer has not moved the folder.
        if self.is_at(&self.path).unwrap_or(true) {
            return None;
        }
        // Linux tells the present path of an open file.
        let link = Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string());
        let is_here = |moved: &PathBuf| self.is_at(moved).unwrap_or(false);
        if let Some(moved) = fs::read_link(link).ok().filter(is_here) {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_that_the_system_cannot_look_at_has_not_moved() {
        let folder = tempfile::tempdir().unwrap();
        let [run, moved] = ["run", "moved"].map(|name| folder.path().join(name));
        fs::create_dir(&run).unwrap();
        let place = Place::of(&run).unwrap();
        assert_eq!(place.refuge(), None);
        fs::rename(&run, &moved).unwrap();
        assert_eq!(place.refuge(), Some(moved));
        // A link to itself: its metadata are an error other than that nothing is there.
        symlink(&run, &run).unwrap();
        assert_eq!(place.refuge(), None);
    }

    #[test]
    fn a_folder_that_is_removed_is_made_again_with_its_last_settings() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::write(run.join(RECIPE), "old").unwrap();
        let mut place = Place::of(&run).unwrap();
        place.remember(RECIPE, "new");
        fs::remove_dir_all(&run).unwrap();
        assert_eq!(place.refuge(), Some(run.clone()));
        assert_eq!(fs::read_to_string(run.join(RECIPE)).unwrap(), "new");
    }
}
