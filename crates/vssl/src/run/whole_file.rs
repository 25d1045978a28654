//! Files that get their name only once they are complete and on the disk.
//!
//! The content goes into a temporary file in the same folder, which is synced and then renamed. An earlier
//! file of the name stays until that moment, also when the machine stops, the disk fills up or a second
//! process writes the same file. Used wherever this crate writes a file that the user may already have.

use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tempfile::{Builder, TempPath};

/// The permissions of a new file, before the umask is applied.
const READ_AND_WRITE: u32 = 0o666;

/// The number of symbolic links that are followed to a file: as many as Linux follows.
const MOST_LINKS: usize = 40;

/// The temporary files of all [`WholeFile`]s that are being written.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all files that are being written: for a program that is about to end.
pub fn remove_unfinished() {
    for path in std::mem::take(&mut *unfinished()) {
        // The process ends; half a file that cannot be removed is the lesser evil.
        let _ = fs::remove_file(path);
    }
}

/// A file that is being written beside its final name. It is removed with this value unless it was finished.
pub struct WholeFile {
    /// `None` once the file has its name.
    temporary: Option<TempPath>,
    to: PathBuf,
    target: PathBuf,
}

impl WholeFile {
    /// Makes the file, so that a place that cannot be written is noticed as early as possible. Where `to` is
    /// a symbolic link, the file that it leads to will be replaced and the link stays.
    ///
    /// # Errors
    /// The system refuses, or `to` is a folder, a device or a pipe.
    pub fn create(to: &Path) -> io::Result<(Self, File)> {
        let target = behind_links(to)?;
        if target.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // The standard output leads to a pipe by a link whose text is no path.
        if is_special(to) || is_special(&target) {
            let what = "this is a device or a pipe; expected the name of a file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let mut builder = Builder::new();
        builder.prefix(".vssl-").suffix(".part");
        builder.permissions(Permissions::from_mode(READ_AND_WRITE));
        let folder = folder_of(&target);
        let made = builder.tempfile_in(folder).map_err(|error| without_name(folder, &error));
        let (file, temporary) = made?.into_parts();
        unfinished().insert(temporary.to_path_buf());
        Ok((Self { temporary: Some(temporary), to: to.to_owned(), target }, file))
    }

    /// Returns the final name of the file.
    pub fn to(&self) -> &Path {
        &self.to
    }

    /// Syncs `file`, gives it its name and syncs the folder. The permissions of a replaced file are kept.
    ///
    /// # Errors
    /// The system refuses; before the renaming, the old file is untouched.
    pub fn finish(mut self, file: &File) -> io::Result<()> {
        if let Ok(old) = self.target.metadata() {
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()?;
        if let Some(temporary) = self.temporary.take() {
            let path = temporary.to_path_buf();
            let named = temporary.persist(&self.target);
            unfinished().remove(&path);
            named?;
        }
        sync_folder(folder_of(&self.target))
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            unfinished().remove(&**temporary);
        }
    }
}

/// Returns the error of a temporary file in `folder` without the name of the temporary file, which tells the
/// user nothing.
fn without_name(folder: &Path, error: &io::Error) -> io::Error {
    let kind = error.kind();
    match kind {
        io::ErrorKind::NotFound => {
            let what = format!("the folder {} does not exist; make it first", folder.display());
            io::Error::new(kind, what)
        }
        io::ErrorKind::NotADirectory => {
            io::Error::new(kind, format!("{} is not a folder", folder.display()))
        }
        kind => kind.into(),
    }
}

/// Syncs the names in `folder` to the disk where the system can; the file has its name already. Some network
/// file systems cannot sync folders, and a folder that may be written to need not be readable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if [InvalidInput, PermissionDenied, Unsupported].contains(&error.kind()) => {
            Ok(())
        }
        synced => synced,
    }
}

/// Returns the path behind all symbolic links at `path`, which need not exist itself.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = folder_of(&path).join(next),
            // The path is not a link, or it does not exist.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "the symbolic links lead in a circle"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns whether `to` is neither a file nor a folder, as the standard output is, for instance. Its name
/// must not be given to a file.
fn is_special(to: &Path) -> bool {
    to.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Writes all of `bytes` to `to`, also where `to` is a device or a pipe.
///
/// # Errors
/// The system refuses; an earlier file is unchanged then.
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
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_not_finished_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("a.txt");
        write(&to, "old").unwrap();
        let (whole, mut file) = WholeFile::create(&to).unwrap();
        file.write_all(b"half").unwrap();
        drop(whole);
        assert_eq!(fs::read_to_string(&to).unwrap(), "old");
        write(&to, "new").unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn two_writers_of_one_file_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("a.txt");
        let (first, mut first_file) = WholeFile::create(&to).unwrap();
        let (second, mut second_file) = WholeFile::create(&to).unwrap();
        first_file.write_all(b"the first writer").unwrap();
        second_file.write_all(b"second").unwrap();
        first.finish(&first_file).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "the first writer");
        second.finish(&second_file).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "second");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_link_stays_a_link_and_the_file_behind_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("real")).unwrap();
        // The second link is relative, and nothing is behind it yet.
        symlink(at("second"), at("first")).unwrap();
        symlink("real/a.txt", at("second")).unwrap();
        for text in ["new", "newer"] {
            write(&at("first"), text).unwrap();
            assert_eq!(fs::read_to_string(at("real/a.txt")).unwrap(), text);
        }
        assert!(at("first").is_symlink() && at("second").is_symlink());
        assert_eq!(names(folder.path()), ["first", "real", "second"]);
        symlink(at("b"), at("a")).unwrap();
        symlink(at("a"), at("b")).unwrap();
        assert!(write(&at("a"), "text").unwrap_err().to_string().contains("circle"));
    }

    #[test]
    fn permissions_are_those_of_any_new_file_or_of_the_file_that_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (to, plain) = (folder.path().join("a.txt"), folder.path().join("plain.txt"));
        fs::write(&plain, "").unwrap();
        write(&to, "text").unwrap();
        assert_eq!(mode(&to), mode(&plain), "what the umask leaves");
        for wanted in [0o600, 0o664] {
            fs::set_permissions(&to, Permissions::from_mode(wanted)).unwrap();
            write(&to, "text").unwrap();
            assert_eq!(mode(&to), wanted);
        }
    }

    #[test]
    fn a_folder_that_can_be_written_to_and_not_read_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("a.txt");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o300)).unwrap();
        let written = write(&to, "text");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        written.unwrap();
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_written_to_and_stays_one() {
        let device = Path::new("/dev/null");
        write(device, "text").unwrap();
        assert!(is_special(device));
        assert!(WholeFile::create(device).is_err());
    }

    #[test]
    fn a_missing_folder_is_named_and_the_temporary_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("no/a.txt"), "text").unwrap_err().to_string();
        assert!(error.contains("no does not exist") && !error.contains(".part"), "{error}");
    }

    #[test]
    fn a_folder_is_no_place_for_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(folder.path(), "text").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }
}
