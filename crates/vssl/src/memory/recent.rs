//! The latest rows of each view, newest batch in front (Caron et al. 2020, arXiv:2006.09882, section 4.1).
//! Unlike [`super::Queue`], the memory takes batches of any size.
//!
//! Rows that no batch has reached yet are zero. Called by `methods::{distill, swav}`.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

use crate::layers::budget::claim;

/// The latest rows of each view without gradient, `[views, length, dim]`.
#[derive(Module, Debug)]
pub struct Recent {
    rows: Param<Tensor<3>>,
}

impl Recent {
    /// Makes a memory of zeros.
    pub fn empty(views: usize, length: usize, dim: usize, device: &Device) -> Self {
        claim(&[views, length, dim]);
        Self { rows: Param::from_tensor(Tensor::zeros([views, length, dim], device)) }.no_grad()
    }

    /// Makes a memory of these rows, newest first.
    ///
    /// # Shapes — `rows`: `[views, length, dim]`.
    pub fn of(rows: Tensor<3>) -> Self {
        Self { rows: Param::from_tensor(rows.detach()) }.no_grad()
    }

    /// Returns the rows of one view, newest batch first, `[length, dim]`.
    ///
    /// # Panics
    /// There is no such view.
    pub fn rows(&self, view: usize) -> Tensor<2> {
        let [_, length, dim] = self.rows.dims();
        self.rows.val().detach().narrow(0, view, 1).reshape([length, dim])
    }

    /// Moves all rows back by the size of a batch and puts the batch in front; the last rows drop out. Of a
    /// batch longer than the memory only the first rows stay.
    ///
    /// # Shapes — `batch`: one `[n, dim]` for each view.
    ///
    /// # Panics
    /// The number of views or `dim` is not that of the memory.
    pub fn push(self, batch: Vec<Tensor<2>>) -> Self {
        let [_, length, _] = self.rows.dims();
        let batch: Tensor<3> = Tensor::stack(batch, 0).detach(); // [views, n, dim]
        let entering = batch.dims()[1].min(length);
        let batch = batch.narrow(1, 0, entering);
        let rows = self.rows.map(|rows| match length - entering {
            0 => batch,
            // The rows are detached, because the graph would otherwise grow by one step with every batch.
            stay => Tensor::cat(vec![batch, rows.detach().narrow(1, 0, stay)], 1),
        });
        Self { rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[f32]) -> Tensor<2> {
        let device = Device::flex().autodiff();
        Tensor::<1>::from_floats(values, &device).reshape([values.len(), 1])
    }

    fn values(recent: &Recent, view: usize) -> Vec<f32> {
        recent.rows(view).into_data().try_to_vec().unwrap()
    }

    fn pushed(batches: &[&[f32]]) -> Recent {
        let empty = Recent::empty(2, 5, 1, &Device::flex().autodiff());
        batches
            .iter()
            .fold(empty, |recent, batch| recent.push(vec![column(batch), column(batch) * -1.0]))
    }

    #[test]
    fn the_newest_batch_is_in_front_and_the_oldest_rows_drop_out() {
        let recent = pushed(&[&[1.0, 2.0], &[3.0, 4.0]]);
        assert_eq!(values(&recent, 0), [3.0, 4.0, 1.0, 2.0, 0.0]);
        let recent = pushed(&[&[1.0, 2.0], &[3.0, 4.0], &[5.0, 6.0]]);
        assert_eq!(values(&recent, 0), [5.0, 6.0, 3.0, 4.0, 1.0]);
        assert_eq!(values(&recent, 1), [-5.0, -6.0, -3.0, -4.0, -1.0]);
    }

    #[test]
    fn a_batch_as_long_as_the_queue_or_longer_replaces_all() {
        assert_eq!(values(&pushed(&[&[1.0, 2.0, 3.0, 4.0, 5.0]]), 0), [1.0, 2.0, 3.0, 4.0, 5.0]);
        let longer = pushed(&[&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]]);
        assert_eq!(values(&longer, 0), [1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn what_is_pushed_leaves_the_graph() {
        let batch = column(&[1.0, 2.0]).require_grad();
        let empty = Recent::empty(1, 4, 1, &Device::flex().autodiff());
        let recent = empty.push(vec![batch.clone() * 2.0]);
        let gradients = (recent.rows(0).sum() + batch.clone().sum()).backward();
        let gradient: Vec<f32> = batch.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        assert_eq!(gradient, [1.0, 1.0]);
        assert!(!recent.rows.is_require_grad());
    }
}
