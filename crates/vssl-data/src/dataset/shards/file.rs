//! Files of which pieces are read, by several threads at a time, and the pieces of them that are packed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use flate2::bufread::MultiGzDecoder;

use super::part::{Block, Entry, Method};

/// The largest number of files that stay open. Beyond it, a file is opened for every image.
pub(super) const OPEN: usize = 256;

/// The largest number of unpacked bytes that are kept for the next images.
const KEPT: usize = 32 << 20;

/// Fills `out` from the place `at` of the file.
///
/// # Errors
/// What the system says; the file ends early.
pub(in super::super) fn read_at(file: &File, out: &mut [u8], at: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, out, at)
    }
    #[cfg(windows)]
    {
        use std::os::windows::fs::FileExt;
        let (mut out, mut at) = (out, at);
        while !out.is_empty() {
            match file.seek_read(out, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    out = &mut out[count..];
                    at += count as u64;
                }
            }
        }
        Ok(())
    }
}

/// A shard that images are read from.
pub(super) struct Shard {
    pub(super) path: PathBuf,
    /// The open file, where it may stay open.
    file: Option<OnceLock<File>>,
}

impl Shard {
    pub(super) fn new(path: PathBuf, stays_open: bool) -> Self {
        Self { path, file: stays_open.then(OnceLock::new) }
    }

    fn with<T>(&self, read: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        match &self.file {
            None => read(&File::open(&self.path)?),
            Some(cell) => match cell.get() {
                Some(file) => read(file),
                None => {
                    let file = File::open(&self.path)?;
                    read(cell.get_or_init(|| file))
                }
            },
        }
    }

    /// The bytes of an image, with room for what the JPEG decoder puts behind them.
    pub(super) fn plain(&self, entry: Entry) -> Result<Vec<u8>, String> {
        self.bytes(entry.offset, entry.bytes as usize)
    }

    fn bytes(&self, offset: u64, count: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(count + 64).map_err(|error| error.to_string())?;
        bytes.resize(count, 0);
        self.with(|file| read_at(file, &mut bytes, offset)).map_err(|error| {
            match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    "the shard has become shorter since it was opened".to_owned()
                }
                _ => error.to_string(),
            }
        })?;
        Ok(bytes)
    }
}

/// Unpacked blocks, those that were used last.
#[derive(Default)]
pub(super) struct Unpacked(Mutex<VecDeque<Held>>);

/// The numbers of a shard and of a block there, and what the block unpacks to.
type Held = ((usize, u32), Arc<Vec<u8>>);

impl Unpacked {
    /// The bytes of an image in packed blocks.
    pub(super) fn image(
        &self,
        (number, shard): (usize, &Shard),
        blocks: &[Block],
        entry: Entry,
    ) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let count = entry.bytes as usize;
        bytes.try_reserve_exact(count + 64).map_err(|error| error.to_string())?;
        let (mut at, mut skip) = (entry.block, entry.offset as usize);
        while bytes.len() < count {
            let block = blocks.get(at as usize).ok_or("the index of the shard is damaged")?;
            let held = self.block((number, at), shard, *block)?;
            let piece = held.get(skip..).unwrap_or_default();
            bytes.extend_from_slice(&piece[..piece.len().min(count - bytes.len())]);
            (at, skip) = (at + 1, 0);
        }
        Ok(bytes)
    }

    fn block(
        &self,
        key: (usize, u32),
        shard: &Shard,
        block: Block,
    ) -> Result<Arc<Vec<u8>>, String> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = lock().iter().find(|(held, _)| *held == key).map(|(_, bytes)| Arc::clone(bytes));
        if let Some(bytes) = held {
            return Ok(bytes);
        }
        let packed = shard.bytes(block.offset, block.stored as usize)?;
        let bytes = Arc::new(unpack(&packed, block.unpacked as usize, block.method)?);
        let mut kept = lock();
        kept.push_back((key, Arc::clone(&bytes)));
        let mut sum: usize = kept.iter().map(|(_, bytes)| bytes.len()).sum();
        while sum > KEPT && kept.len() > 1 {
            sum -= kept.pop_front().map_or(0, |(_, bytes)| bytes.len());
        }
        Ok(bytes)
    }
}

/// Unpacks a piece of a file that must have `unpacked` bytes.
///
/// # Errors
/// A damaged piece.
pub(super) fn unpack(packed: &[u8], unpacked: usize, method: Method) -> Result<Vec<u8>, String> {
    let bytes = match method {
        Method::Gzip => {
            let mut bytes = Vec::new();
            MultiGzDecoder::new(packed)
                .take(unpacked as u64 + 1)
                .read_to_end(&mut bytes)
                .map_err(|error| format!("a damaged gzip block: {error}"))?;
            bytes
        }
        Method::Snappy => {
            // No element of Snappy makes more than 64 bytes of two.
            if unpacked / 64 > packed.len() {
                return Err("a damaged Snappy block".to_owned());
            }
            let mut stream = length(unpacked as u32);
            stream.extend_from_slice(packed);
            snap::raw::Decoder::new()
                .decompress_vec(&stream)
                .map_err(|error| format!("a damaged Snappy block: {error}"))?
        }
    };
    match bytes.len() == unpacked {
        true => Ok(bytes),
        false => Err(format!("a damaged block: {} bytes, expected {unpacked}", bytes.len())),
    }
}

/// The length that a Snappy stream begins with.
fn length(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Size of a file and the time of its last change in nanoseconds, by which an index knows it again.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = path.metadata()?;
    let changed = metadata.modified().ok();
    let changed = changed.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    Ok((metadata.len(), changed.map_or(0, |time| time.as_nanos() as u64)))
}
