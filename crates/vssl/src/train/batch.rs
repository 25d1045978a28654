//! From the loader's channels-last floats to the views that a method sees.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use vssl_data::{Batch, DataError, Dataset, EvaluationLoader, EvaluationPlan};

use crate::{collective::Group, method::Views};

/// One of the equal parts of a batch whose gradients are averaged.
pub struct MicroBatch<'a> {
    /// Its views.
    pub views: Views,
    /// Its labels.
    pub labels: Option<&'a [u32]>,
}

/// Part `index` of `count` of the share that this rank of `group` has of a batch. The number of images
/// must be divisible by `count`.
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
        global: Vec::new(),
        local: Vec::new(),
        group: group.clone(),
    };
    for view in &batch.views {
        let pixels = view.size * view.size * 3;
        let part = &view.pixels[range.start * pixels..range.end * pixels];
        let tensor = images_to_tensor(part.to_vec(), images, view.size, device);
        if view.local { views.local.push(tensor) } else { views.global.push(tensor) }
    }
    MicroBatch { views, labels: batch.labels.as_ref().map(|labels| &labels[range]) }
}

/// Hands out all images of a set in order, batch by batch: their numbers and their pixels, channels
/// last. Images that were left out as bad are missing, and so are batches of nothing else. Returns how
/// many were.
///
/// # Errors
/// Images that cannot be read, as `data` turns them into an error, and what `each` returns.
pub fn each_evaluated<Error>(
    images: &Arc<dyn Dataset>,
    plan: EvaluationPlan,
    data: impl Fn(DataError) -> Error,
    mut each: impl FnMut(&[usize], Vec<f32>) -> Result<(), Error>,
) -> Result<usize, Error> {
    let mut left_out = 0;
    for batch in EvaluationLoader::new(Arc::clone(images), plan).map_err(&data)? {
        let batch = batch.map_err(&data)?;
        left_out += batch.left_out.len();
        if !batch.indices.is_empty() {
            each(&batch.indices, batch.pixels.into_vec())?;
        }
    }
    Ok(left_out)
}

/// # Shapes — `pixels`: `count · size · size · 3`, channels last; returns `[count, 3, size, size]`,
/// still channels-last in memory, which is what the convolutions want.
pub fn images_to_tensor(pixels: Vec<f32>, count: usize, size: usize, device: &Device) -> Tensor<4> {
    let data = TensorData::new(pixels, [count, size, size, 3]);
    Tensor::from_data(data, device).permute([0, 3, 1, 2])
}
