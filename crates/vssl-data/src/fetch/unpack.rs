//! Unpacks downloaded archives. Called by [`super::fetch`].

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use zip::ZipArchive;

use crate::DataError;

/// The file that says that an archive was unpacked to its end, and the folder that it is unpacked in until then.
const MARK: &str = ".unpacked";
const PLACE: &str = ".unpacking";

/// Whether an archive was unpacked into `folder` to its end.
pub(super) fn is_unpacked(folder: &Path) -> bool {
    folder.join(MARK).exists()
}

/// Unpacks a `.zip` or `.tar.gz` into `folder`, without the one folder that all its files are in, and then removes
/// it. After an interruption the same call begins anew.
///
/// # Errors
/// A damaged archive, one whose files would lie elsewhere, a full disk.
pub fn unpack(archive: &Path, folder: &Path) -> Result<(), DataError> {
    let place = folder.join(PLACE);
    if place.exists() {
        fs::remove_dir_all(&place).map_err(DataError::io(&place))?;
    }
    fs::create_dir_all(&place).map_err(DataError::io(&place))?;
    let file = File::open(archive).map_err(DataError::io(archive))?;
    let unpacked = match archive.extension().is_some_and(|ending| ending == "zip") {
        true => unzip(file, &place),
        false => tar::Archive::new(MultiGzDecoder::new(BufReader::new(file))).unpack(&place),
    };
    unpacked.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => DataError::Io { path: place.clone(), source: error },
        _ => DataError::Format {
            path: archive.into(),
            what: format!("cannot be unpacked: {error}"),
            expected: "a whole archive: remove it and fetch it again".into(),
        },
    })?;
    let from = single(&place)?;
    for entry in fs::read_dir(&from).map_err(DataError::io(&from))? {
        let entry = entry.map_err(DataError::io(&from))?;
        let to = folder.join(entry.file_name());
        // What an interrupted call has put there already.
        if to.is_dir() {
            fs::remove_dir_all(&to).map_err(DataError::io(&to))?;
        }
        fs::rename(entry.path(), &to).map_err(DataError::io(&to))?;
    }
    fs::remove_dir_all(&place).map_err(DataError::io(&place))?;
    let mark = folder.join(MARK);
    fs::write(&mark, "").map_err(DataError::io(mark))?;
    fs::remove_file(archive).map_err(DataError::io(archive))
}

/// The folder that everything is in; `place` itself, where there are several things.
fn single(place: &Path) -> Result<PathBuf, DataError> {
    let entries = fs::read_dir(place).map_err(DataError::io(place))?;
    let paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    Ok(match paths.as_slice() {
        [one] if one.is_dir() => one.clone(),
        _ => place.to_owned(),
    })
}

fn unzip(file: File, place: &Path) -> io::Result<()> {
    let mut archive = ZipArchive::new(BufReader::new(file))?;
    for number in 0..archive.len() {
        let mut entry = archive.by_index(number)?;
        let Some(name) = entry.enclosed_name() else {
            let what = "a file in it would lie outside of the folder";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        };
        let to = place.join(name);
        if entry.is_dir() {
            fs::create_dir_all(&to)?;
            continue;
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        io::copy(&mut entry, &mut File::create(&to)?)?;
    }
    Ok(())
}
