//! Turns the loader's channels-last floats into the views of a method.

use burn::tensor::Device;
use vssl_data::Batch;

use crate::{
    collective::Group,
    encoder::images::{loaded_to_tensor, pixels_to_tensor},
    method::Views,
};

/// A micro-batch: one of the equal parts of a batch, whose gradients are averaged.
pub struct MicroBatch<'a> {
    /// The views of its images, without labels.
    pub views: Views,
    /// The labels of its images, where the images have labels.
    pub labels: Option<&'a [u32]>,
}

/// Returns micro-batch `index` of `count` of the share of a batch that belongs to this rank of `group`. The
/// number of images must be divisible by `count`. A batch that is not divided loses its views: their memory
/// becomes that of the tensors.
pub fn micro<'a>(
    batch: &'a mut Batch,
    index: usize,
    count: usize,
    group: &Group,
    device: &Device,
) -> MicroBatch<'a> {
    let images = batch.indices.len() / count;
    let range = index * images..(index + 1) * images;
    let mut views = Views {
        images: batch.indices[range.clone()].to_vec(),
        labels: None,
        global: Vec::new(),
        local: Vec::new(),
        group: group.clone(),
        frozen_backbone: false,
    };
    let mut push = |tensor, local| match local {
        true => views.local.push(tensor),
        false => views.global.push(tensor),
    };
    if count == 1 {
        for view in batch.views.drain(..) {
            push(loaded_to_tensor(view.pixels, images, view.size, device), view.local);
        }
    }
    for view in &batch.views {
        let pixels = view.pixels.len() / batch.indices.len();
        let part = &view.pixels[range.start * pixels..range.end * pixels];
        push(pixels_to_tensor(part, images, view.size, device), view.local);
    }
    MicroBatch { views, labels: batch.labels.as_ref().map(|labels| &labels[range]) }
}
