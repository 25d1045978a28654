//! From images to features: the one loop over the images of a set, and what it hands to a network.
//! Called by [`super::Encoder`] and by the evaluations of a run that is being trained.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use vssl_data::{DataError, Dataset, EvaluationLoader, EvaluationPlan};

use crate::{eval::Features, tensors::reading};

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

/// Reads a batch of features from the device.
///
/// # Shapes — `x`: `[n, dim]`.
pub fn features(x: Tensor<2>) -> Features {
    let [rows, dim] = x.dims();
    let values = reading::rows(x);
    Features { rows, dim, values, labels: None }
}
