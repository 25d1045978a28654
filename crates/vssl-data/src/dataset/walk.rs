//! The images below a folder, in an order that does not depend on the file system.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::DataError;

/// Extensions of image files, in lower case. The content decides the format.
const EXTENSIONS: [&str; 12] =
    ["jpg", "jpeg", "jfif", "jpe", "png", "webp", "tif", "tiff", "bmp", "ppm", "pgm", "pbm"];

/// Paths of the image files below `root`, relative to it and sorted by their bytes. Files with other
/// extensions, hidden files and hidden folders are left out. Symbolic links are followed, except into
/// a folder that is being listed. A broken link, a named pipe, a device or a socket with the name of an
/// image is listed, so that reading it reports the problem.
///
/// # Errors
/// [`DataError::Missing`], [`DataError::Io`] when a folder cannot be listed, [`DataError::Format`]
/// when `root` is a file.
pub(super) fn images_below(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !root.exists() {
        return Err(DataError::Missing {
            path: root.into(),
            expected: "a folder of images".into(),
        });
    }
    if !root.is_dir() {
        return Err(DataError::Format {
            path: root.into(),
            what: "is a file".into(),
            expected: "a folder of images".into(),
        });
    }
    let mut found = Vec::new();
    list(root, Path::new(""), &mut Vec::new(), &mut found)?;
    found.sort_unstable_by(|a, b| {
        a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes())
    });
    Ok(found)
}

/// Lists one folder; `above` holds the true paths of the folders around it.
fn list(
    root: &Path,
    folder: &Path,
    above: &mut Vec<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), DataError> {
    let here = root.join(folder);
    let identity = fs::canonicalize(&here).map_err(DataError::io(&here))?;
    if above.contains(&identity) {
        return Ok(());
    }
    above.push(identity);
    for entry in fs::read_dir(&here).map_err(DataError::io(&here))? {
        let entry = entry.map_err(DataError::io(&here))?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(DataError::io(entry.path()))?;
        // Only links cost another call of the file system: a large set has a million files.
        let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        if is_folder {
            list(root, &folder.join(&name), above, found)?;
        } else if is_image(&name) {
            found.push(folder.join(&name));
        }
    }
    above.pop();
    Ok(())
}

fn is_image(name: &OsStr) -> bool {
    Path::new(name)
        .extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}
