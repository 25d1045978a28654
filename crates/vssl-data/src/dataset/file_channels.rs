//! How many channels the files of a set have, by their headers. Called where a recipe is proposed, before anybody has said
//! how many channels are read, and where an image cannot be read.

use super::{Dataset, decode, stored::Stored};

/// The channels of image `index` as its file has them; `None` where images are no files, or where the file cannot be read.
///
/// # Panics
/// When `index` is not below [`Dataset::len`].
pub fn stored(dataset: &dyn Dataset, index: usize) -> Option<Stored> {
    let mut bytes = dataset.file(index)?.ok()?;
    decode::stored(&mut bytes)
}

/// The number of channels, without alpha, of image `index` where the image is whole and cannot be read with `channels` of
/// them; `None` where it cannot be read for another reason, or was not stored as a file.
pub(crate) fn other_channels(
    dataset: &dyn Dataset,
    index: usize,
    channels: usize,
) -> Option<usize> {
    let bytes = dataset.file(index)?.ok()?;
    let stored = decode::stored(&mut bytes.clone())?;
    let is_other = !stored.is_whole_in(channels) && decode::has_other_channels(bytes, channels);
    is_other.then_some(stored.channels)
}
