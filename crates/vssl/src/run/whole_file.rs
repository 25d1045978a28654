//! Files that have their name only once they are whole and on the disk: what was there before stays until
//! then, also when the machine stops. Used by everything that writes a file at once or bit by bit.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A file beside the one that is wanted; gone with this value unless it was finished.
pub struct WholeFile {
    temporary: PathBuf,
    to: PathBuf,
    is_done: bool,
}

impl WholeFile {
    /// Makes it: the earliest moment to learn that nothing can be written there.
    ///
    /// # Errors
    /// What the system refuses; what is there and no file, such as a folder or a device.
    pub fn create(to: &Path) -> io::Result<(Self, File)> {
        if to.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if is_special(to) {
            let what = "no regular file: a device or pipe cannot be written here";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let mut temporary = to.as_os_str().to_owned();
        temporary.push(".part");
        let temporary = PathBuf::from(temporary);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&temporary)?;
        Ok((Self { temporary, to: to.to_owned(), is_done: false }, file))
    }

    /// The name that it will have.
    pub fn to(&self) -> &Path {
        &self.to
    }

    /// Syncs `file` and gives it its name.
    ///
    /// # Errors
    /// What the system refuses; what was there is then untouched.
    pub fn finish(mut self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        fs::rename(&self.temporary, &self.to)?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.is_done {
            // What cannot be removed is left; the reason is in the error that led here.
            drop(fs::remove_file(&self.temporary));
        }
    }
}

/// Whether it is there and neither a file nor a folder: the standard output, for instance. Its name must
/// not be given to a file.
fn is_special(to: &Path) -> bool {
    to.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Writes all of `bytes` to `to`, also where that is a device or a pipe.
///
/// # Errors
/// What the system refuses; a file is then as it was.
pub fn write(to: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    if is_special(to) {
        return fs::write(to, bytes);
    }
    let (whole, mut file) = WholeFile::create(to)?;
    file.write_all(bytes.as_ref())?;
    whole.finish(&file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finished_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("a.txt");
        write(&to, "old").unwrap();
        let (whole, mut file) = WholeFile::create(&to).unwrap();
        file.write_all(b"half").unwrap();
        drop(whole);
        assert_eq!(fs::read_to_string(&to).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write(&to, "new").unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_written_to_and_stays_one() {
        let device = Path::new("/dev/null");
        write(device, "text").unwrap();
        assert!(is_special(device) && !Path::new("/dev/null.part").exists());
        assert!(WholeFile::create(device).is_err());
    }

    #[test]
    fn a_folder_is_no_place_for_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(folder.path(), "text").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }
}
