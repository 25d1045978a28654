//! What is written: blocks of rows, one row an image, and what is known of all of them before the
//! first. Made by `job`, taken by the writers.

use super::{EmbedError, Origin};

/// What is known before the first row.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Images of the set. There are as many rows, unless images are left out.
    pub images: usize,
    /// Bytes of all their paths.
    pub path_bytes: u64,
    /// Numbers in a feature.
    pub dim: usize,
    /// Whether rows have labels.
    pub labels: bool,
    /// The shape of the posterior, of a method with distributions.
    pub posterior: Option<PosteriorLayout>,
    /// Whether rows have the loss that the encoder's head predicts.
    pub predicted_loss: bool,
    /// The number of patches of an image and of the numbers of each, where the patch tokens are written.
    pub tokens: Option<[usize; 2]>,
    /// Which encoder, which images.
    pub origin: Origin,
}

/// What the posterior of an image consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PosteriorLayout {
    /// Numbers in the mean, and in the variance.
    pub dim: usize,
    /// Whether the variance is a vector of which the loss only sees the direction.
    pub free_variance: bool,
}

impl PosteriorLayout {
    /// The name of the second vector. A vector that the loss never made a variance is not called one.
    pub(super) fn variance(&self) -> &'static str {
        if self.free_variance { "variance_direction" } else { "variance" }
    }
}

/// Consecutive rows.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Number of each image in its set.
    pub images: Vec<i64>,
    /// Path of each image, relative to the folder of the set.
    pub paths: Vec<String>,
    /// Class of each image, if the layout has labels.
    pub labels: Option<Vec<i64>>,
    /// `rows × dim`.
    pub features: Vec<f32>,
    /// The posterior, if the layout has it.
    pub posterior: Option<PosteriorBlock>,
    /// One number a row, if the layout has it: [`predicted_losses`](crate::encoder::Encoder::predicted_losses).
    pub predicted_loss: Option<Vec<f32>>,
    /// `rows × patches × numbers`, if the layout has patch tokens.
    pub tokens: Option<Vec<f32>>,
}

/// What a network with distributions says of the images of a [`Block`].
#[derive(Clone, Debug, Default)]
pub struct PosteriorBlock {
    /// `rows × posterior.dim`.
    pub mean: Vec<f32>,
    /// `rows × posterior.dim`.
    pub variance: Vec<f32>,
    /// One number a row: [`crate::posterior::score`].
    pub uncertainty: Vec<f32>,
}

impl Block {
    /// The arrays of numbers: name, numbers in a row, values.
    pub(super) fn arrays(&self, layout: &Layout) -> Vec<(&'static str, usize, &[f32])> {
        let mut arrays = vec![("features", layout.dim, &self.features[..])];
        if let (Some(block), Some(of)) = (&self.posterior, &layout.posterior) {
            arrays.push(("mean", of.dim, &block.mean));
            arrays.push((of.variance(), of.dim, &block.variance));
            arrays.push(("uncertainty", 1, &block.uncertainty));
        }
        if let Some(losses) = &self.predicted_loss {
            arrays.push(("predicted_loss", 1, losses));
        }
        if let (Some(tokens), Some([patches, numbers])) = (&self.tokens, layout.tokens) {
            arrays.push(("tokens", patches * numbers, tokens));
        }
        arrays
    }

    /// # Errors
    /// The first number that is not finite.
    pub(super) fn check(&self, layout: &Layout) -> Result<(), EmbedError> {
        for (what, dim, values) in self.arrays(layout) {
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let (image, column) = (self.paths[at / dim].clone(), at % dim);
                return Err(EmbedError::NotFinite { image, what, column, value: values[at] });
            }
        }
        Ok(())
    }
}

/// A file that takes blocks of rows in order.
pub trait Rows {
    /// Writes a block.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn write(&mut self, block: &Block) -> Result<(), EmbedError>;

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn finish(self: Box<Self>) -> Result<(), EmbedError>;
}
