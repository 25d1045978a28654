//! The rows of an index that belong to a set of images, found by the names of the images. Called by `train` for the
//! features that a frozen teacher made once.

use std::{collections::HashMap, path::Path};

use vssl_data::Dataset;

use super::{
    index::Index,
    origin::{absolute, relative},
    table::IndexError,
};
use crate::features::{FeatureError, Features};

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
}

impl Index {
    /// Returns the features of all `images` of a set in the folder or file `root`. Rows are found by the names of their
    /// images below it, wherever the set lay when the index was written.
    ///
    /// # Errors
    /// The file cannot be read, has two rows of one name, or a number that is not finite.
    pub fn of_images(&self, images: &dyn Dataset, root: &Path) -> Result<OfImages, IndexError> {
        let (paths, dim, root) = (self.paths()?, self.dim(), absolute(root));
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
        let mut values = vec![0.0; images.len() * dim];
        self.scatter(&wanted, dim, &mut values)?;
        wanted.dedup_by_key(|(row, _)| *row);
        let features = Features { rows: images.len(), dim, values, labels: None };
        Ok(OfImages { features, missing, others: paths.len() - wanted.len() })
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
