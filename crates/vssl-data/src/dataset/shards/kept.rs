//! The index of shards on the disk: made once, and used again for every shard that has the size and the time of
//! its last change that it had then. The bytes are guarded by a checksum, and every place is checked against the
//! size of its file. A file that cannot be used is made anew.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

use super::super::found::LeftOut;
use super::part::{Block, Entry, Method, NO_LABEL, Part};

/// The first bytes of an index, with its version.
const MAGIC: &[u8] = b"vssl index of shards 2\n";

/// What is known of a shard, and of which state of it.
pub(super) struct Kept {
    /// Its path within the set.
    pub(super) name: String,
    pub(super) identity: (u64, u64),
    pub(super) part: Part,
}

/// Where the index of the shards in `root` with this ending lies. `variant` tells two ways to read the same
/// shards apart.
pub(super) fn place(root: &Path, ending: &str, variant: &str) -> PathBuf {
    root.join(format!(".vssl-{ending}{variant}.index"))
}

/// Reads an index. Nothing, where there is none or it is damaged.
pub(super) fn load(path: &Path) -> Vec<Kept> {
    let Ok(bytes) = fs::read(path) else { return Vec::new() };
    let Some((body, sum)) = bytes.split_last_chunk::<16>() else { return Vec::new() };
    if Md5::digest(body)[..] != sum[..] {
        return Vec::new();
    }
    let mut reader = Reader(body);
    let read = |reader: &mut Reader| -> Option<Vec<Kept>> {
        if reader.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let count = reader.count(1)?;
        (0..count).map(|_| reader.kept()).collect()
    };
    read(&mut reader).unwrap_or_default()
}

/// Writes an index beside the one that is there, and puts it in its place.
///
/// # Errors
/// What the system says, such as that the folder may not be written to.
pub(super) fn save<'a>(
    path: &Path,
    parts: impl ExactSizeIterator<Item = (&'a str, (u64, u64), &'a Part)>,
) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    put(&mut bytes, parts.len() as u64);
    for (name, identity, part) in parts {
        put_text(&mut bytes, name);
        put(&mut bytes, identity.0);
        put(&mut bytes, identity.1);
        put_part(&mut bytes, part);
    }
    let sum = Md5::digest(&bytes);
    bytes.extend_from_slice(&sum);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let part = PathBuf::from(name);
    let written = File::create(&part)
        .and_then(|mut file| file.write_all(&bytes))
        .and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

fn put(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

fn put_short(bytes: &mut Vec<u8>, values: &[u32]) {
    put(bytes, values.len() as u64);
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
}

fn put_part(bytes: &mut Vec<u8>, part: &Part) {
    put(bytes, part.entries.len() as u64);
    for Entry { offset, bytes: count, block } in &part.entries {
        put(bytes, *offset);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&block.to_le_bytes());
    }
    put_text(bytes, &part.names);
    put_short(bytes, &part.name_ends);
    put_short(bytes, &part.labels);
    for words in [&part.words, &part.class_names] {
        put(bytes, words.len() as u64);
        words.iter().for_each(|word| put_text(bytes, word));
    }
    put(bytes, part.blocks.len() as u64);
    for Block { offset, stored, unpacked, method } in &part.blocks {
        put(bytes, *offset);
        bytes.extend_from_slice(&stored.to_le_bytes());
        bytes.extend_from_slice(&unpacked.to_le_bytes());
        put(bytes, u64::from(*method == Method::Gzip));
    }
    put(bytes, part.left_out.len() as u64);
    for (kind, LeftOut { count, example }) in &part.left_out {
        put_text(bytes, kind);
        put(bytes, *count as u64);
        put_text(bytes, &example.to_string_lossy());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn short(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// The number of things of at least `bytes` bytes that follow.
    fn count(&mut self, bytes: usize) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count.checked_mul(bytes)? <= self.0.len()).then_some(count)
    }

    fn text(&mut self) -> Option<String> {
        let count = self.count(1)?;
        String::from_utf8(self.take(count)?.to_vec()).ok()
    }

    fn shorts(&mut self) -> Option<Vec<u32>> {
        let count = self.count(4)?;
        let (values, _) = self.take(count * 4)?.as_chunks::<4>();
        Some(values.iter().map(|&value| u32::from_le_bytes(value)).collect())
    }

    fn texts(&mut self) -> Option<Vec<String>> {
        let count = self.count(8)?;
        (0..count).map(|_| self.text()).collect()
    }

    fn entry(&mut self) -> Option<Entry> {
        Some(Entry { offset: self.number()?, bytes: self.short()?, block: self.short()? })
    }

    fn block(&mut self) -> Option<Block> {
        let (offset, stored, unpacked) = (self.number()?, self.short()?, self.short()?);
        let method = if self.number()? == 1 { Method::Gzip } else { Method::Snappy };
        Some(Block { offset, stored, unpacked, method })
    }

    fn kept(&mut self) -> Option<Kept> {
        let name = self.text()?;
        let identity = (self.number()?, self.number()?);
        let count = self.count(16)?;
        let entries = (0..count).map(|_| self.entry()).collect::<Option<Vec<_>>>()?;
        let (names, name_ends, labels) = (self.text()?, self.shorts()?, self.shorts()?);
        let (words, class_names) = (self.texts()?, self.texts()?);
        let count = self.count(24)?;
        let blocks = (0..count).map(|_| self.block()).collect::<Option<Vec<_>>>()?;
        let count = self.count(24)?;
        let left_out = (0..count).map(|_| {
            let kind = self.text()?;
            let count = usize::try_from(self.number()?).ok()?;
            Some((kind, LeftOut { count, example: self.text()?.into() }))
        });
        let left_out = left_out.collect::<Option<_>>()?;
        let part = Part { entries, names, name_ends, labels, words, class_names, blocks, left_out };
        is_sound(&part, identity.0).then_some(Kept { name, identity, part })
    }
}

/// Whether all places lie in a file of this size, and everything is there for every image.
fn is_sound(part: &Part, size: u64) -> bool {
    let ends = |offset: u64, bytes: u32| offset.checked_add(u64::from(bytes));
    let count = part.entries.len();
    let in_file = |entry: &Entry| match entry.block {
        Entry::PLAIN => ends(entry.offset, entry.bytes).is_some_and(|end| end <= size),
        block => (block as usize) < part.blocks.len(),
    };
    let words = part.words.len();
    let mut start = 0;
    let mut is_name = |&end: &u32| {
        let fits = start <= end && part.names.is_char_boundary(end as usize);
        start = end;
        fits
    };
    part.name_ends.len() == count
        && part.labels.len() == count
        && part.entries.iter().all(in_file)
        && part.name_ends.iter().all(&mut is_name)
        && part.blocks.iter().all(|block| {
            ends(block.offset, block.stored).is_some_and(|end| end <= size) && block.unpacked > 0
        })
        && part
            .labels
            .iter()
            .all(|&label| label == NO_LABEL || words == 0 || (label as usize) < words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> Part {
        let mut part = Part::default();
        part.push(Entry { offset: 512, bytes: 30, block: Entry::PLAIN }, "a.jpg");
        part.push(Entry { offset: 7, bytes: 90, block: 0 }, "é.png");
        part.set_labels(vec![
            super::super::part::Label::Word("x".into()),
            super::super::part::Label::None,
        ]);
        part.class_names = vec!["cat".into(), "dog".into()];
        let method = Method::Gzip;
        part.blocks = vec![Block { offset: 600, stored: 40, unpacked: 99, method }];
        part.leave_out("samples without an image", "b");
        part
    }

    #[test]
    fn what_is_kept_is_read_again_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = place(folder.path(), "tar", "");
        assert!(load(&path).is_empty());
        let part = part();
        save(&path, [("a/1.tar", (1000, 5), &part)].into_iter()).unwrap();
        let [kept] = <[Kept; 1]>::try_from(load(&path)).ok().unwrap();
        assert_eq!((kept.name.as_str(), kept.identity, &kept.part), ("a/1.tar", (1000, 5), &part));
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(load(&path).is_empty(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(load(&path).is_empty(), "cut at {at}");
        }
    }

    #[test]
    fn a_place_beyond_the_file_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = place(folder.path(), "tar", "");
        for size in [541, 639] {
            save(&path, [("1.tar", (size, 5), &part())].into_iter()).unwrap();
            assert!(load(&path).is_empty(), "{size}");
        }
    }
}
