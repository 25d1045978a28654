//! The head that predicts losses, beside an encoder: what it says of features, and its tensors in files. Called by
//! `encoder`, `export` and `file`.

use burn::tensor::{Device, Tensor, TensorData};

use super::Encoder;
use crate::{
    features::Features,
    layers::LossHead,
    tensors::state::{StateError, Tensors},
};

/// What the names of the head's tensors begin with, beside those of the encoder.
pub(super) const PREFIX: &str = "uncertainty.";

/// Returns the tensors of a head by their names in a file.
pub(super) fn named(head: Tensors) -> impl Iterator<Item = (String, TensorData)> {
    head.into_iter().map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor))
}

/// Takes the head for features of length `dim` out of the tensors of a file; `None` where the file has none.
///
/// # Errors
/// The tensors are not those of such a head.
pub(super) fn taken(
    tensors: &mut Tensors,
    dim: usize,
    device: &Device,
) -> Result<Option<LossHead>, StateError> {
    let (head, rest): (Tensors, Tensors) =
        std::mem::take(tensors).into_iter().partition(|(name, _)| name.starts_with(PREFIX));
    *tensors = rest;
    if head.is_empty() {
        return Ok(None);
    }
    let unnamed = |(name, tensor): (String, TensorData)| (name[PREFIX.len()..].to_owned(), tensor);
    LossHead::stored(head.into_iter().map(unnamed).collect(), dim, device).map(Some)
}

impl Encoder {
    /// Returns the loss that the head expects of each image with these features; `None` without a head.
    ///
    /// The number is larger where the encoder is less sure. It has the unit of the method's loss only if the head learned
    /// it by squared error.
    pub fn predicted_losses(&self, features: &Features) -> Option<Vec<f32>> {
        let head = self.loss_head.as_ref()?;
        let data = TensorData::new(features.values.clone(), [features.rows, features.dim]);
        let losses = head.forward(Tensor::from_data(data, &self.device));
        Some(losses.into_data().try_into_vec().expect("the head computes in single precision"))
    }
}
