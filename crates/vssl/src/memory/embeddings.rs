//! The latest embedding of every image of the training set, for each global view. DeepCluster clusters them
//! (Caron et al. 2020, arXiv:2006.09882, appendix C).
//!
//! An image that no batch has held yet has a zero row, which differs from every unit-length embedding. Called
//! by `methods::deepclusterv2`.

use std::collections::BTreeMap;

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, TensorData},
};
use vssl_kernels::write_rows;

use crate::layers::budget::claim;

/// A matrix `[images, dim]` for each view, without gradient.
#[derive(Module, Debug)]
pub struct Embeddings {
    views: Vec<Param<Tensor<2>>>,
}

impl Embeddings {
    /// Makes a memory that has not seen any image.
    pub fn empty(views: usize, images: usize, dim: usize, device: &Device) -> Self {
        claim(&[views, images, dim]);
        let zeros = || Param::from_tensor(Tensor::zeros([images, dim], device));
        Self { views: (0..views).map(|_| zeros()).collect() }.no_grad()
    }

    /// Replaces the rows of these images. When an image is in the batch twice, as a replacement of a bad
    /// image may be, its last row counts; on some devices the outcome would otherwise be undefined.
    ///
    /// # Shapes — `images`: n; `batch`: one `[n, dim]` of unit rows for each view.
    ///
    /// # Panics
    /// The number of views is not that of the memory.
    pub fn write(self, images: &[usize], batch: Vec<Tensor<2>>) -> Self {
        assert_eq!(batch.len(), self.views.len(), "a batch has all views of the memory");
        let last: BTreeMap<usize, usize> = images.iter().copied().zip(0..).collect();
        let (different, kept): (Vec<usize>, Vec<usize>) = last.into_iter().unzip();
        let views = self.views.into_iter().zip(batch).map(|(rows, batch)| {
            rows.map(|rows| {
                let batch = batch.detach().select(0, numbers(&kept, &rows.device()));
                // The rows are detached, because the graph would otherwise grow by one step with every batch.
                write_rows(rows.detach(), batch, &different)
            })
        });
        Self { views: views.collect() }
    }

    /// Returns the images that a batch has held, ascending. Reads the device.
    pub fn seen(&self) -> Vec<usize> {
        let norms = self.views[0].val().inner().square().sum_dim(1).into_data();
        let norms = norms.iter::<f32>().enumerate();
        norms.filter(|(_, norm)| *norm > 0.0).map(|(image, _)| image).collect()
    }

    /// Returns the rows of these images for one view.
    ///
    /// # Shapes — `images`: n; returns `[n, dim]`.
    pub fn rows(&self, view: usize, images: &[usize]) -> Tensor<2> {
        let rows = self.views[view].val().detach();
        let places = numbers(images, &rows.device());
        rows.select(0, places)
    }

    /// Returns the number of views.
    pub fn views(&self) -> usize {
        self.views.len()
    }
}

/// Returns the numbers of images as a tensor, `[n]`.
pub(super) fn numbers(images: &[usize], device: &Device) -> Tensor<1, Int> {
    let numbers: Vec<i64> = images.iter().map(|&image| image as i64).collect();
    Tensor::from_data(TensorData::new(numbers, [images.len()]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[f32]) -> Tensor<2> {
        let device = Device::flex().autodiff();
        Tensor::<1>::from_floats(values, &device).reshape([values.len(), 1])
    }

    #[test]
    fn the_latest_row_of_an_image_stays_and_the_others_are_not_seen() {
        let empty = Embeddings::empty(2, 5, 1, &Device::flex().autodiff());
        assert!(empty.seen().is_empty());
        let memory = empty
            .write(&[4, 1], vec![column(&[1.0, -1.0]), column(&[0.5, 0.25])])
            .write(&[1, 0], vec![column(&[0.75, 1.0]), column(&[-1.0, 1.0])]);
        assert_eq!(memory.seen(), [0, 1, 4]);
        let rows =
            |view| -> Vec<f32> { memory.rows(view, &[0, 1, 4]).into_data().try_to_vec().unwrap() };
        assert_eq!(rows(0), [1.0, 0.75, 1.0]);
        assert_eq!(rows(1), [1.0, -1.0, 0.5]);
    }

    #[test]
    fn of_an_image_that_is_in_a_batch_twice_the_last_row_stays() {
        let empty = Embeddings::empty(1, 4, 1, &Device::flex().autodiff());
        let memory = empty.write(&[2, 0, 2, 1], vec![column(&[1.0, 0.5, -1.0, 0.25])]);
        let rows: Vec<f32> = memory.rows(0, &[0, 1, 2]).into_data().try_to_vec().unwrap();
        assert_eq!(rows, [0.5, 0.25, -1.0]);
    }

    #[test]
    fn what_is_written_leaves_the_graph() {
        let batch = column(&[1.0, 2.0]).require_grad();
        let empty = Embeddings::empty(1, 3, 1, &Device::flex().autodiff());
        let memory = empty.write(&[2, 0], vec![batch.clone() * 2.0]);
        let gradients = (memory.rows(0, &[0, 2]).sum() + batch.clone().sum()).backward();
        let gradient: Vec<f32> = batch.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        assert_eq!(gradient, [1.0, 1.0]);
        assert!(!memory.views[0].is_require_grad());
    }
}
