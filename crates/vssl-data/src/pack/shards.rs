//! The tar files of a split, one after the other. Called by [`super::pack`].

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

use super::{Packed, Sample};
use crate::DataError;

/// The shards of a split while they are written.
pub(super) struct Shards<'a> {
    folder: &'a Path,
    /// A shard is closed when it has this many bytes.
    most_bytes: u64,
    open: Option<Writer>,
    packed: Packed,
}

impl<'a> Shards<'a> {
    /// Begins the shards of a split in `folder`, each of which is closed when it has `most_bytes`.
    pub(super) fn new(folder: &'a Path, most_bytes: u64) -> Self {
        Self { folder, most_bytes, open: None, packed: Packed::default() }
    }

    /// Adds a sample; returns whether it is an image, which is not left out.
    pub(super) fn add(&mut self, sample: Sample, label: Option<u32>) -> Result<bool, DataError> {
        let packed = &mut self.packed;
        let (bytes, ending) = match sample {
            Sample::Bad(bad) => {
                packed.left_out.push(bad);
                return Ok(false);
            }
            Sample::Image { bytes, ending, is_scaled, is_encoded } => {
                packed.scaled += usize::from(is_scaled);
                packed.encoded += usize::from(is_encoded);
                (bytes, ending)
            }
        };
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Writer::new(self.folder, packed.shards)?,
        };
        let key = format!("{:09}", packed.images);
        open.add(&format!("{key}.{ending}"), &bytes)?;
        if let Some(label) = label {
            open.add(&format!("{key}.cls"), label.to_string().as_bytes())?;
        }
        packed.images += 1;
        packed.sums.push(Md5::digest(&bytes).into());
        let is_full = open.bytes >= self.most_bytes;
        self.open = Some(open);
        if is_full {
            self.close()?;
        }
        Ok(true)
    }

    /// Closes the shard that is open.
    fn close(&mut self) -> Result<(), DataError> {
        if let Some(open) = self.open.take() {
            self.packed.bytes += open.finish()?;
            self.packed.shards += 1;
        }
        Ok(())
    }

    /// Closes the last shard and returns what was written.
    pub(super) fn finish(mut self) -> Result<Packed, DataError> {
        self.close()?;
        Ok(self.packed)
    }
}

/// A shard that is being written, under a name of its own until it is whole.
struct Writer {
    path: PathBuf,
    part: PathBuf,
    archive: tar::Builder<BufWriter<File>>,
    bytes: u64,
}

impl Writer {
    fn new(folder: &Path, number: usize) -> Result<Self, DataError> {
        let path = folder.join(format!("{number:06}.tar"));
        let part = path.with_extension("tar.part");
        let file = File::create(&part).map_err(DataError::io(&part))?;
        let archive = tar::Builder::new(BufWriter::with_capacity(1 << 20, file));
        Ok(Self { path, part, archive, bytes: 0 })
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), DataError> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let added = self.archive.append_data(&mut header, name, bytes);
        added.map_err(DataError::io(&self.part))?;
        self.bytes += 512 + (bytes.len() as u64).next_multiple_of(512);
        Ok(())
    }

    fn finish(self) -> Result<u64, DataError> {
        let Self { path, part, archive, .. } = self;
        let written = archive.into_inner().and_then(|mut file| {
            file.flush()?;
            file.get_ref().sync_all()?;
            file.get_ref().metadata()
        });
        let bytes = written.map_err(DataError::io(&part))?.len();
        fs::rename(&part, &path).map_err(DataError::io(&path))?;
        Ok(bytes)
    }
}
