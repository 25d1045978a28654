//! One decoded image, as datasets give it and augmentations take it.

/// A decoded image: RGB, 8 bits a channel, row-major `height × width × 3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Number of columns, at least 1.
    pub width: usize,
    /// Number of rows, at least 1.
    pub height: usize,
    /// `height · width · 3` values.
    pub rgb: Vec<u8>,
}
