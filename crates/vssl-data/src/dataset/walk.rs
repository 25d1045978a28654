//! The images below a folder, in an order that does not depend on the file system, and the files beside
//! them that are no images.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::found::LeftOut;
use crate::DataError;

/// Extensions of image files, in lower case. The content decides the format.
pub(super) const EXTENSIONS: [&str; 16] = [
    "jpg", "jpeg", "jfif", "jpe", "png", "webp", "tif", "tiff", "gif", "bmp", "ppm", "pgm", "pbm",
    "pnm", "pam", "jxl",
];

/// The endings of images as text, for messages.
pub(super) fn endings() -> String {
    let endings = EXTENSIONS.map(|extension| format!(".{extension}"));
    let [rest @ .., last] = &endings;
    format!("{} or {last}", rest.join(", "))
}

/// Extensions of images in formats that are not read.
const OTHER_IMAGES: [&str; 17] = [
    "heic", "heif", "avif", "jp2", "j2k", "psd", "tga", "exr", "hdr", "dcm", "cr2", "cr3", "nef",
    "arw", "dng", "raf", "orf",
];

/// The kind of hidden files with the name of an image, among the files that are left out.
const HIDDEN: &str = "hidden";

/// Longest extension by which files are told apart; longer ones are parts of names, such as dates.
const LONGEST_EXTENSION: usize = 8;

/// The files below a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Paths of the images relative to the folder, sorted by their bytes.
    pub(super) images: Vec<PathBuf>,
    /// The other files: by the folder directly below the root that they are in (an empty name for files in
    /// the root itself), and by their kind.
    pub(super) left_out: BTreeMap<(OsString, String), LeftOut>,
}

impl Listing {
    /// The files that were left out, by their kind.
    pub(super) fn by_kind(&self) -> BTreeMap<String, LeftOut> {
        let mut kinds = BTreeMap::<String, LeftOut>::new();
        for ((_, kind), files) in &self.left_out {
            kinds.entry(kind.clone()).or_default().add(files.clone());
        }
        kinds
    }

    /// The folders directly below `root` that hold no image of a format that is read, and whose files are
    /// mostly images of other formats, or images without an ending. Hidden files are not counted.
    pub(super) fn without_images(&self, root: &Path) -> Vec<OsString> {
        let with: BTreeSet<&OsStr> =
            self.images.iter().filter_map(|image| image.iter().next()).collect();
        // The number of images of other formats in each folder, and of all files.
        let mut counts = BTreeMap::<&OsString, (usize, usize)>::new();
        for ((folder, kind), files) in &self.left_out {
            if folder.is_empty() || kind == HIDDEN || with.contains(folder.as_os_str()) {
                continue;
            }
            let (images, all) = counts.entry(folder).or_default();
            *all += files.count;
            if is_other_image(kind, &root.join(&files.example)) {
                *images += files.count;
            }
        }
        let lost = counts.into_iter().filter(|(_, (images, all))| images * 2 > *all);
        lost.map(|(folder, _)| folder.clone()).collect()
    }
}

/// Checks that `root` is a folder.
///
/// # Errors
/// [`DataError::Missing`]; [`DataError::Format`] when `root` is a file.
pub(super) fn check_folder(root: &Path) -> Result<(), DataError> {
    let expected = "a folder of images".to_owned();
    if !root.exists() {
        return Err(DataError::Missing { path: root.into(), expected });
    }
    match root.is_dir() {
        true => Ok(()),
        false => Err(DataError::Format { path: root.into(), what: "is a file".into(), expected }),
    }
}

/// Whether files with the name of an image, which is not hidden, lie directly in `folder`.
pub(super) fn holds_images(folder: &Path) -> bool {
    let is_one = |entry: fs::DirEntry| {
        let name = entry.file_name();
        is_image(&name) && !is_hidden(&name) && !entry.path().is_dir()
    };
    fs::read_dir(folder).is_ok_and(|entries| entries.filter_map(Result::ok).any(is_one))
}

/// The images that lie directly in `folder` and are not hidden, of any format.
///
/// # Errors
/// [`DataError::Io`] when the folder cannot be listed.
pub(super) fn images_directly_in(folder: &Path) -> Result<Option<LeftOut>, DataError> {
    let mut found = LeftOut::default();
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let entry = entry.map_err(DataError::io(folder))?;
        let name = entry.file_name();
        let is_other =
            || extension(&name).is_some_and(|ending| OTHER_IMAGES.contains(&ending.as_str()));
        if !is_hidden(&name) && (is_image(&name) || is_other()) && !entry.path().is_dir() {
            found.add(LeftOut { count: 1, example: name.into() });
        }
    }
    Ok((found.count > 0).then_some(found))
}

/// Lists the image files below `root`. Files with other extensions, hidden files and hidden folders are
/// left out. Symbolic links are followed, except into a folder that is being listed. A broken link, a
/// named pipe, a device or a socket with the name of an image is listed, so that reading it reports the problem.
///
/// # Errors
/// [`DataError::Missing`], [`DataError::Io`] when a folder cannot be listed, [`DataError::Format`]
/// when `root` is a file.
pub(super) fn images_below(root: &Path) -> Result<Listing, DataError> {
    check_folder(root)?;
    let mut found = Listing::default();
    list(root, Path::new(""), &mut Vec::new(), &mut found)?;
    found.images.sort_unstable_by(|a, b| {
        a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes())
    });
    Ok(found)
}

/// The folders directly in `folder` that are not hidden, sorted by their bytes.
///
/// # Errors
/// [`DataError::Io`] when the folder cannot be listed.
pub(super) fn folders_in(folder: &Path) -> Result<Vec<OsString>, DataError> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let entry = entry.map_err(DataError::io(folder))?;
        let name = entry.file_name();
        let kind = entry.file_type().map_err(DataError::io(entry.path()))?;
        let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        if is_folder && !is_hidden(&name) {
            folders.push(name);
        }
    }
    folders.sort_unstable_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    Ok(folders)
}

/// Lists one folder; `above` holds the true paths of the folders around it.
fn list(
    root: &Path,
    folder: &Path,
    above: &mut Vec<PathBuf>,
    found: &mut Listing,
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
        let kind = entry.file_type().map_err(DataError::io(entry.path()))?;
        // Only links cost another call of the file system: a large set has a million files.
        let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        let file = folder.join(&name);
        match (is_folder, is_hidden(&name), is_image(&name)) {
            (true, true, _) | (false, true, false) => {}
            (true, false, _) => list(root, &file, above, found)?,
            (false, false, true) => found.images.push(file),
            (false, true, true) => found.leave_out(HIDDEN.to_owned(), file),
            (false, false, false) => found.leave_out(ending(&name), file),
        }
    }
    above.pop();
    Ok(())
}

impl Listing {
    fn leave_out(&mut self, kind: String, file: PathBuf) {
        let mut parts = file.iter();
        let first = parts.next().unwrap_or_default();
        let folder = if parts.next().is_some() { first.to_owned() } else { OsString::new() };
        self.left_out.entry((folder, kind)).or_default().add(LeftOut { count: 1, example: file });
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn extension(name: &OsStr) -> Option<String> {
    Some(Path::new(name).extension()?.to_string_lossy().to_ascii_lowercase())
}

fn is_image(name: &OsStr) -> bool {
    extension(name).is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// The kind of a file that is no image: its ending, such as `.heic`.
fn ending(name: &OsStr) -> String {
    match extension(name) {
        None => "without an ending".to_owned(),
        // Numbered files would each be a kind of their own.
        Some(extension)
            if extension.len() > LONGEST_EXTENSION
                || extension.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            "with an ending that is no format".to_owned()
        }
        Some(extension) => format!(".{extension}"),
    }
}

/// Whether files of this kind are images that are not read, by their ending or by the first bytes of one.
fn is_other_image(kind: &str, example: &Path) -> bool {
    if let Some(extension) = kind.strip_prefix('.') {
        return OTHER_IMAGES.contains(&extension);
    }
    // Not of a pipe or a device, which may never end.
    let is_file = example.metadata().is_ok_and(|file| file.is_file());
    let mut first = Vec::new();
    is_file
        && kind != HIDDEN
        && File::open(example).is_ok_and(|file| file.take(32).read_to_end(&mut first).is_ok())
        && image::guess_format(&first).is_ok()
}
