//! Where the numbers of a PyTorch file lie, and how they are read when a tensor is asked for.
//!
//! A storage is a run of numbers with a key; tensors are views of storages. In an archive each storage is an
//! entry `NAME/data/KEY`; in the files of older versions the storages stand behind the pickles. Called by
//! [`super::container`].

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::Mutex,
};

use zip::{
    CompressionMethod, ZipArchive, ZipReadOptions,
    read::{ArchiveOffset, Config},
};

/// The largest pickle in an archive, in bytes: a compressed one can claim any size.
const LARGEST_PICKLE: u64 = 1 << 30;
/// The largest compressed pickle, in bytes, unless it is at most [`EXPANSION`] times its compressed size.
const COMPRESSED_PICKLE: u64 = 1 << 26;
/// How many times its compressed size the pickle of an honest archive may have: names compress well.
const EXPANSION: u64 = 20;
/// How many bytes of a compressed storage may lie behind those that a tensor needs.
const SLACK: u64 = 1 << 20;
/// The largest entry of text in an archive, in bytes.
const LARGEST_TEXT: u64 = 4096;

type Archive = ZipArchive<BufReader<File>>;

/// The storages of a file.
pub(super) enum Storages {
    /// Entries of an archive, below the folder `root`.
    Archive { archive: Mutex<Archive>, file: File, root: String },
    /// Runs of bytes of the file by key: where they begin, and how many bytes they have.
    Runs { file: File, runs: BTreeMap<String, (u64, u64)> },
}

impl Storages {
    /// Opens an archive, and returns the text of its pickle as well.
    ///
    /// # Errors
    /// It is damaged, no archive of PyTorch, or was written by a machine with another order of bytes.
    pub(super) fn archive(path: &Path) -> Result<(Self, Vec<u8>), String> {
        let text = |error: &dyn ToString| error.to_string();
        let file = File::open(path).map_err(|error| text(&error))?;
        let reader = BufReader::new(file.try_clone().map_err(|error| text(&error))?);
        // Archives begin where the file begins. A reader that looks for the beginning instead is misled
        // where the first entry of the directory has the length of the records behind the directory.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut archive = ZipArchive::with_config(config, reader).map_err(|error| {
            format!(
                "the archive has no whole list of its entries, which is at its end: was the file cut short? ({error})"
            )
        })?;
        let names: Vec<String> =
            archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
        let roots = names.iter().filter_map(|name| name.strip_suffix("data.pkl"));
        let root = roots
            .filter(|root| root.is_empty() || root.ends_with('/'))
            .min_by_key(|root| root.len())
            .ok_or("the archive has no data.pkl, which torch.save writes")?
            .to_owned();
        let order = format!("{root}byteorder");
        if names.contains(&order) {
            let order = whole(&mut archive, &order, LARGEST_TEXT).map_err(|error| text(&error))?;
            if order.trim_ascii() != b"little" {
                return Err("the numbers have their highest byte first".to_owned());
            }
        }
        let name = format!("{root}data.pkl");
        let place = place(&mut archive, &name).map_err(|error| text(&error))?;
        let pickle = whole(&mut archive, &name, place.largest_pickle());
        let pickle = pickle.map_err(|error| text(&error))?;
        Ok((Self::Archive { archive: Mutex::new(archive), file, root }, pickle))
    }

    /// Returns the number of bytes of the storage `key`.
    pub(super) fn bytes(&self, key: &str) -> Option<u64> {
        match self {
            Self::Runs { runs, .. } => runs.get(key).map(|&(_, bytes)| bytes),
            Self::Archive { archive, root, .. } => {
                let mut archive = archive.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                place(&mut archive, &format!("{root}data/{key}")).ok().map(|place| place.bytes)
            }
        }
    }

    /// Reads `length` bytes of the storage `key` from its byte `start` on.
    ///
    /// # Errors
    /// There is no such storage, it ends before, its checksum is wrong, or the system refuses.
    pub(super) fn read(&self, key: &str, start: u64, length: u64) -> io::Result<Vec<u8>> {
        let end = start.checked_add(length).ok_or_else(|| fault("no storage is as large"))?;
        let ends =
            |bytes: u64| fault(format!("storage {key} has {bytes} bytes, its tensor needs {end}"));
        match self {
            Self::Runs { file, runs } => {
                let &(at, bytes) =
                    runs.get(key).ok_or_else(|| fault(format!("there is no storage {key}")))?;
                if end > bytes {
                    return Err(ends(bytes));
                }
                window(file, at + start, length)
            }
            Self::Archive { archive, file, root } => {
                let name = format!("{root}data/{key}");
                let mut archive = archive.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let Entry { bytes, stored_at, .. } = place(&mut archive, &name)?;
                match stored_at {
                    _ if end > bytes => Err(ends(bytes)),
                    // It would be expanded whole for each tensor.
                    None if bytes - end > SLACK => Err(fault(format!(
                        "storage {key} is compressed and has {bytes} bytes, of which its tensor needs {end}; \
                         save the file anew with torch.save, which does not compress"
                    ))),
                    // Only a whole entry can be checked by its checksum.
                    Some(at) if length < bytes => window(file, at + start, length),
                    _ => {
                        let all = whole(&mut archive, &name, bytes)?;
                        Ok(all[start as usize..end as usize].to_vec())
                    }
                }
            }
        }
    }
}

fn fault(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads bytes of the file, which has to be long enough before any memory is reserved.
fn window(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    if at.checked_add(length).is_none_or(|end| file.metadata().is_ok_and(|file| end > file.len())) {
        return Err(fault("the file ends early"));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Where an entry of an archive lies.
struct Entry {
    /// The number of its bytes, and of those that they take in the archive.
    bytes: u64,
    packed: u64,
    /// Where in the file it begins unless it is compressed.
    stored_at: Option<u64>,
}

impl Entry {
    /// Returns how large this entry may be if it is the pickle.
    fn largest_pickle(&self) -> u64 {
        match self.stored_at {
            Some(_) => LARGEST_PICKLE,
            None => {
                let expanded = self.packed.saturating_mul(EXPANSION);
                expanded.clamp(COMPRESSED_PICKLE, LARGEST_PICKLE)
            }
        }
    }
}

fn place(archive: &mut Archive, name: &str) -> io::Result<Entry> {
    let index = archive.index_for_name(name).ok_or_else(|| fault(format!("there is no {name}")))?;
    let entry = archive.by_index_raw(index)?;
    let stored = entry.compression() == CompressionMethod::Stored;
    let stored_at = entry.data_start().filter(|_| stored);
    Ok(Entry { bytes: entry.size(), packed: entry.compressed_size(), stored_at })
}

/// Reads a whole entry of at most `most` bytes and checks its checksum. PyTorch can leave checksums out; it
/// writes 0 then.
fn whole(archive: &mut Archive, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let index = archive.index_for_name(name).ok_or_else(|| fault(format!("there is no {name}")))?;
    let unchecked = archive.by_index_raw(index)?.crc32() == 0;
    let options = ZipReadOptions::new().ignore_crc32(unchecked);
    let entry = archive.by_index_with_options(index, options)?;
    let size = entry.size();
    if size > most {
        return Err(fault(format!("{name} has {size} bytes, expected at most {most}")));
    }
    let mut bytes = Vec::new();
    entry
        .take(size + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fault(format!("{name}: {error}")))?;
    if bytes.len() as u64 != size {
        return Err(fault(format!("{name} has not the {size} bytes that the archive names")));
    }
    Ok(bytes)
}
