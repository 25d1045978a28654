//! Small images held in memory as the bytes of their file. Used by `idx` and `cifar`.

use std::path::PathBuf;

use super::{Dataset, text_of};
use crate::{DataError, Image};

/// The order of the bytes of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[height, width]`.
    Grey,
    /// `[3, height, width]`.
    Planes,
}

impl Layout {
    fn channels(self) -> usize {
        match self {
            Layout::Grey => 1,
            Layout::Planes => 3,
        }
    }
}

/// Undecoded images of one size.
pub struct Memory {
    pub(super) layout: Layout,
    /// The number of channels of the images: 3, or 1 for grey ones.
    pub(super) channels: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    /// `len · channels · height · width` values.
    pub(super) pixels: Vec<u8>,
    pub(super) labels: Option<Vec<u32>>,
    pub(super) classes: Vec<String>,
    /// The files in order, each with its number of images.
    pub(super) files: Vec<(PathBuf, usize)>,
}

impl Memory {
    fn record(&self) -> usize {
        self.layout.channels() * self.height * self.width
    }
}

impl Dataset for Memory {
    fn len(&self) -> usize {
        self.pixels.len() / self.record()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let record = &self.pixels[index * self.record()..][..self.record()];
        let rgb = match self.layout {
            Layout::Grey if self.channels == 1 => record.to_vec(),
            Layout::Grey => record.iter().flat_map(|&grey| [grey; 3]).collect(),
            Layout::Planes => {
                let (red, rest) = record.split_at(self.height * self.width);
                let (green, blue) = rest.split_at(self.height * self.width);
                let pixels = red.iter().zip(green).zip(blue);
                pixels.flat_map(|((&red, &green), &blue)| [red, green, blue]).collect()
            }
        };
        Ok(Image { width: self.width, height: self.height, values: rgb })
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> String {
        let mut record = index;
        for (path, count) in &self.files {
            if record < *count {
                return format!("{} record {record}", text_of(path));
            }
            record -= count;
        }
        format!("image {index}")
    }

    fn stored_as(&self, index: usize) -> Option<(String, u64)> {
        // Not the file: it may be packed or unpacked.
        Some((format!("record {index}"), self.record() as u64))
    }
}
