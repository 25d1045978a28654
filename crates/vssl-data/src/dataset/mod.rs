//! Where images come from. One file a format; all offer [`Dataset`].

use crate::DataError;

/// One decoded picture: RGB, 8 bits a channel, row-major `height × width × 3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// `height · width · 3` values.
    pub rgb: Vec<u8>,
}

/// A finite, indexed, immutable set of images; labels are optional.
pub trait Dataset: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads and decodes image `index`.
    ///
    /// # Errors
    /// [`DataError::BadImage`] when the file cannot be decoded.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    fn image(&self, index: usize) -> Result<Image, DataError>;

    /// One label an image, each below `classes().len()`; `None` when the source has none.
    fn labels(&self) -> Option<&[u32]>;

    /// Names of the classes, in the order of the labels; empty without labels.
    fn classes(&self) -> &[String];

    /// What to call image `index` in a message: its path, or the file and record number.
    fn name(&self, index: usize) -> String;
}
