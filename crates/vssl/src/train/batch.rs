//! Turns the loader's channels-last floats into the views of a method.

use burn::tensor::Device;
use vssl_data::Batch;

use crate::{collective::Group, encoder::images::images_to_tensor, method::Views};

/// A micro-batch: one of the equal parts of a batch, whose gradients are averaged.
pub struct MicroBatch<'a> {
    /// The views of its images, without labels.
    pub views: Views,
    /// The labels of its images, where the images have labels.
    pub labels: Option<&'a [u32]>,
}

/// Returns micro-batch `index` of `count` of the share of a batch that belongs to this rank of `group`. The
/// number of images must be divisible by `count`.
pub fn micro<'a>(
    batch: &'a Batch,
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
    for view in &batch.views {
        let pixels = view.size * view.size * 3;
        let part = &view.pixels[range.start * pixels..range.end * pixels];
        let tensor = images_to_tensor(part.to_vec(), images, view.size, device);
        if view.local { views.local.push(tensor) } else { views.global.push(tensor) }
    }
    MicroBatch { views, labels: batch.labels.as_ref().map(|labels| &labels[range]) }
}
