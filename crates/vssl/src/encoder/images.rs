//! Computes features of images: the only loop over the images of a set, and the tensors that a network takes.
//! Called by [`super::Encoder`] and by the evaluations of a run that is being trained.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use vssl_data::{DataError, Dataset, EvaluationLoader, EvaluationPlan, Pixels};

use crate::{
    features::{FeatureError, FeatureRows, Features, SpillWriter},
    tensors::reading,
};

/// Calls `each` with all images of a set in order, batch by batch: their numbers and their pixels, channels
/// last. Bad images that the plan leaves out are missing, and a batch without any other image is skipped.
/// Returns how many images were left out.
///
/// # Errors
/// An image cannot be read (`data` makes the error), or `each` failed.
pub fn each_evaluated<Error>(
    images: &Arc<dyn Dataset>,
    plan: EvaluationPlan,
    data: impl Fn(DataError) -> Error,
    mut each: impl FnMut(&[usize], &[f32]) -> Result<(), Error>,
) -> Result<usize, Error> {
    let mut left_out = 0;
    let _memory = OwnMemory::begin();
    for batch in EvaluationLoader::new(Arc::clone(images), plan).map_err(&data)? {
        let batch = batch.map_err(&data)?;
        left_out += batch.left_out.len();
        if !batch.indices.is_empty() {
            each(&batch.indices, &batch.pixels)?;
        }
    }
    Ok(left_out)
}

/// While it lives, the memory of dropped tensors is kept for the next batch. Before and after, what is kept is
/// of other sizes, those of a training step or of another set, and goes back to the system.
pub(crate) struct OwnMemory(());

impl OwnMemory {
    pub(crate) fn begin() -> Self {
        vssl_kernels::release_buffers();
        Self(())
    }
}

impl Drop for OwnMemory {
    fn drop(&mut self) {
        vssl_kernels::release_buffers();
    }
}

/// Computes the features of all images of a set by `embed`. Returns them in the order of the images and with
/// their labels, and how many images were left out. `embed` takes the pixels of some images and their number.
///
/// # Errors
/// An image cannot be read, `embed` failed, or `writer` cannot keep a row.
pub fn features_of_set<Error: From<DataError> + From<FeatureError>>(
    images: &Arc<dyn Dataset>,
    plan: EvaluationPlan,
    mut writer: SpillWriter,
    embed: impl Fn(&[f32], usize) -> Result<Features, Error>,
) -> Result<(FeatureRows, usize), Error> {
    let known = images.labels();
    let mut labels = known.map(|_| Vec::new());
    let left_out = each_evaluated(images, plan, Error::from, |indices, pixels| {
        if let (Some(labels), Some(known)) = (&mut labels, known) {
            labels.extend(indices.iter().map(|&index| i64::from(known[index])));
        }
        Ok(writer.push(&embed(pixels, indices.len())?)?)
    })?;
    Ok((writer.finish(labels)?, left_out))
}

/// Makes a batch of images on the device.
///
/// # Shapes — `pixels`: `count · size · size · channels`, channels last; returns `[count, channels, size, size]`, still
/// channels-last in memory, as the convolutions want it.
pub fn images_to_tensor(pixels: Vec<f32>, count: usize, size: usize, device: &Device) -> Tensor<4> {
    let shape = shape(pixels.len(), count, size);
    let data = TensorData::new(pixels, shape);
    Tensor::from_data(data, device).permute([0, 3, 1, 2])
}

/// Makes a batch of images on the device as [`images_to_tensor`] does, of a copy of the pixels.
///
/// # Shapes — as [`images_to_tensor`].
pub fn pixels_to_tensor(pixels: &[f32], count: usize, size: usize, device: &Device) -> Tensor<4> {
    let data = vssl_kernels::in_recycled_memory(pixels, shape(pixels.len(), count, size));
    Tensor::from_data(data, device).permute([0, 3, 1, 2])
}

/// Makes a batch of images on the device as [`images_to_tensor`] does. On the host the tensor uses the memory
/// of the pixels, which goes back to the loader when the tensor is dropped.
///
/// # Shapes — as [`images_to_tensor`].
pub fn loaded_to_tensor(pixels: Pixels, count: usize, size: usize, device: &Device) -> Tensor<4> {
    let (values, give_back) = pixels.into_parts();
    let shape = shape(values.len(), count, size);
    let data = vssl_kernels::in_lent_memory(values, shape, give_back);
    Tensor::from_data(data, device).permute([0, 3, 1, 2])
}

/// The shape of `values` numbers, from which the number of channels follows.
fn shape(values: usize, count: usize, size: usize) -> [usize; 4] {
    let channels = values.checked_div(count * size * size).unwrap_or(3);
    [count, size, size, channels]
}

/// Reads a batch of features from the device.
///
/// # Shapes — `x`: `[n, dim]`.
pub fn features(x: Tensor<2>) -> Features {
    let [rows, dim] = x.dims();
    let values = reading::rows(x);
    Features { rows, dim, values, labels: None }
}
