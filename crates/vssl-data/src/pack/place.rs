//! The folder in which shards are packed, beside the one that they are for, until they are whole.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{DataError, dataset::text_of};

/// The file in such a folder, by which the next packing knows it for one.
const BEGUN: &str = ".vssl-pack";

/// A folder `<to>.part`, which no other packing writes to while this lives.
pub(super) struct Place {
    /// The folder.
    pub(super) part: PathBuf,
    /// The locked file in it. A system without locks is trusted.
    _lock: File,
}

/// Makes the empty folder `<to>.part`.
///
/// # Errors
/// A name that cannot become that of a new folder, a folder that holds other files, or one that another packing
/// writes to.
pub(super) fn begin(to: &Path) -> Result<Place, DataError> {
    let setting = |what: &str| DataError::Setting(format!("{}: {what}", text_of(to)));
    let Some(name) = to.file_name() else {
        return Err(setting("expected the name of a new folder for the shards"));
    };
    let mut named = name.to_owned();
    named.push(".part");
    let part = to.with_file_name(named);
    // Also makes the folders above. Only then is `photos` there under the name `new/../photos`.
    fs::create_dir_all(&part).map_err(DataError::io(&part))?;
    let begun = part.join(BEGUN);
    if !begun.exists() && !is_empty(&part)? {
        let what = "this folder is not empty and not of an earlier packing; move it away, for the \
                    shards are written there until they are whole";
        return Err(DataError::Setting(format!("{}: {what}", text_of(&part))));
    }
    let lock = File::options().create(true).append(true).open(&begun);
    let mut lock = lock.map_err(DataError::io(&begun))?;
    if let Err(TryLockError::WouldBlock) = lock.try_lock() {
        let what = "another packing writes its shards there at this moment; wait for its end, or give another --to";
        return Err(DataError::Setting(format!("{}: {what}", text_of(&part))));
    }
    let refused = match fs::symlink_metadata(to) {
        Err(_) => None,
        Ok(kind) if kind.is_symlink() => Some("is a link; expected the folder itself"),
        Ok(_) if !is_empty(to)? => {
            Some("this folder is not empty; expected a new one for the shards")
        }
        Ok(_) if !is_beside(to, &part) => {
            Some("another disk is mounted here; expected a new folder below this one")
        }
        Ok(_) => None,
    };
    if let Some(what) = refused {
        fs::remove_dir_all(&part).map_err(DataError::io(&part))?;
        return Err(setting(what));
    }
    clear(&part)?;
    let note = lock
        .set_len(0)
        .and_then(|()| lock.write_all(b"vssl data pack has not read these shards back\n"));
    note.map_err(DataError::io(begun))?;
    Ok(Place { part, _lock: lock })
}

/// Removes all that an earlier packing left, but for the file that is locked.
fn clear(part: &Path) -> Result<(), DataError> {
    for entry in fs::read_dir(part).map_err(DataError::io(part))? {
        let entry = entry.map_err(DataError::io(part))?;
        let path = entry.path();
        if entry.file_name() == BEGUN {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(DataError::io(path))?;
    }
    Ok(())
}

/// Gives a folder of shards that are whole its name.
///
/// # Errors
/// What the system says.
pub(super) fn finish(place: Place, to: &Path) -> Result<(), DataError> {
    let part = &place.part;
    if to.exists() {
        fs::remove_dir(to).map_err(DataError::io(to))?;
    }
    fs::rename(part, to).map_err(DataError::io(to))?;
    let begun = to.join(BEGUN);
    fs::remove_file(&begun).map_err(DataError::io(begun))
}

fn is_empty(folder: &Path) -> Result<bool, DataError> {
    Ok(fs::read_dir(folder).map_err(DataError::io(folder))?.next().is_none())
}

/// Whether two folders are on one disk, so that one can take the place of the other.
#[cfg(unix)]
fn is_beside(folder: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let disk = |folder: &Path| folder.metadata().ok().map(|folder| folder.dev());
    disk(folder) == disk(other)
}

#[cfg(not(unix))]
fn is_beside(_: &Path, _: &Path) -> bool {
    true
}
