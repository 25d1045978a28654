//! The rows of an index that belong to a set of images, found by the names of the images. Called by `train` for the
//! features that a frozen teacher made once.

use std::{collections::HashMap, path::Path};

use vssl_data::Dataset;

use super::{
    index::Index,
    origin::{absolute, relative},
    table::IndexError,
};
use crate::{
    features::{FeatureError, Features},
    layers::budget,
};

/// The number of rows that are read at once.
const BLOCK: usize = 1024;

/// Features of a set of images, in the order of the images.
#[derive(Clone, Debug)]
pub struct OfImages {
    /// A row for each image; that of a missing image is 0.
    pub features: Features,
    /// The images of which the index has no row.
    pub missing: Vec<usize>,
    /// The number of rows of other images.
    pub others: usize,
    /// The first row whose image has another class; `None` as well where the file or the set has no labels.
    pub other_class: Option<OtherClass>,
}

/// An image whose class in an index is not that of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherClass {
    /// The number of the image in the set.
    pub image: usize,
    /// The name of its class in the index, or the number where it has no name.
    pub of_index: String,
    /// The same in the set.
    pub of_set: String,
}

impl Index {
    /// Returns the features of all `images` of a set in the folder or file `root`. Rows are found by the names of their
    /// images below it, wherever the set lay when the index was written.
    ///
    /// # Errors
    /// The file cannot be read, has two rows of one name, or a number that is not finite; or the features need more
    /// memory than this machine has.
    pub fn of_images(&self, images: &dyn Dataset, root: &Path) -> Result<OfImages, IndexError> {
        let dim = self.dim();
        let bytes = (images.len() as u64).saturating_mul(4 * dim as u64);
        budget::check_memory(bytes).map_err(|needed| self.too_large(needed))?;
        let (paths, root) = (self.paths()?, absolute(root));
        let mut rows = HashMap::with_capacity(paths.len());
        for (row, path) in paths.iter().enumerate() {
            if let Some(first) = rows.insert(path.as_str(), row) {
                let what = format!("rows {first} and {row} are both of {path}");
                return Err(self.damaged(what));
            }
        }
        // The row of each image, in the order of the file.
        let (mut wanted, mut missing) = (Vec::with_capacity(images.len()), Vec::new());
        for image in 0..images.len() {
            match rows.get(relative(&root, images, image).as_str()) {
                Some(&row) => wanted.push((row, image)),
                None => missing.push(image),
            }
        }
        wanted.sort_unstable();
        let other_class = self.other_class(&wanted, images)?;
        let mut values = vec![0.0; images.len() * dim];
        self.scatter(&wanted, dim, &mut values)?;
        wanted.dedup_by_key(|(row, _)| *row);
        let features = Features { rows: images.len(), dim, values, labels: None };
        Ok(OfImages { features, missing, others: paths.len() - wanted.len(), other_class })
    }

    /// Returns the first of the `wanted` rows whose image has another class in the set.
    fn other_class(
        &self,
        wanted: &[(usize, usize)],
        images: &dyn Dataset,
    ) -> Result<Option<OtherClass>, IndexError> {
        let (Some(own), Some(of_rows)) = (images.labels(), self.labels()?) else { return Ok(None) };
        let (known, classes) = (&self.origin.classes, images.classes());
        for &(row, image) in wanted {
            let (was, now) = (of_rows[row] as usize, own[image] as usize);
            let is_same = match (known.get(was), classes.get(now)) {
                (Some(was), Some(now)) => was == now,
                _ => was == now,
            };
            if !is_same {
                let named = |classes: &[String], label: usize| {
                    classes.get(label).map_or_else(|| label.to_string(), |name| format!("{name:?}"))
                };
                let (of_index, of_set) = (named(known, was), named(classes, now));
                return Ok(Some(OtherClass { image, of_index, of_set }));
            }
        }
        Ok(None)
    }

    /// Copies rows to the places of their images, block by block.
    fn scatter(
        &self,
        wanted: &[(usize, usize)],
        dim: usize,
        values: &mut [f32],
    ) -> Result<(), FeatureError> {
        let mut left = wanted;
        while let Some(&(first, _)) = left.first() {
            let count = left.partition_point(|&(row, _)| row < first + BLOCK);
            let (block, rest) = left.split_at(count);
            let last = block[count - 1].0;
            let mut read = vec![0.0; (last + 1 - first) * dim];
            self.read(first, &mut read)?;
            for &(row, image) in block {
                let from = (row - first) * dim;
                values[image * dim..(image + 1) * dim].copy_from_slice(&read[from..from + dim]);
            }
            left = rest;
        }
        Ok(())
    }
}
