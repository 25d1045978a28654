//! Where images come from. One file a format; all offer [`Dataset`].
//!
//! [`open`] turns the data section of a recipe into a training split and, where there is one, a
//! validation split. Labels and the validation split are optional in every format.

mod cifar;
mod config;
mod decode;
mod folder;
mod idx;
mod imagenet100;
mod locate;
mod memory;
mod read;
mod subset;
mod walk;

use std::sync::Arc;

pub use config::{
    CIFAR10, CIFAR100, DataConfig, FASHION_MNIST, Format, IMAGENET, Labels, MissingClasses, open,
};
pub use folder::Folder;
pub use locate::locate;
pub use memory::Memory;
pub use subset::Subset;

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
    /// [`DataError::BadImage`] when the file cannot be read or decoded.
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

    /// The name of image `index` within the set, which stays when the set is moved, and the bytes that it
    /// takes there. A training that goes on knows its images again by these and the labels; without them,
    /// as here, by the labels alone.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    fn stored_as(&self, _index: usize) -> Option<(String, u64)> {
        None
    }
}

/// What [`open`] finds.
#[derive(Clone)]
pub struct Splits {
    /// The images to learn from; at least one.
    pub train: Arc<dyn Dataset>,
    /// The images to judge by, with the classes of `train` when both have labels.
    pub validation: Option<Arc<dyn Dataset>>,
}
