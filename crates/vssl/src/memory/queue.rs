//! A queue of rows of earlier batches, first in, first out (He et al. 2020, arXiv:1911.05722).
//!
//! A batch overwrites the oldest rows in place. The place is a function of the number of batches that went
//! in, so only the rows are stored. Called by `methods::{all4one, distill, mocov2plus, nnbyol, nnclr, nnsiam, ressl}`.

use burn::{
    module::{Module, Param},
    tensor::{IndexingUpdateOp, Int, Tensor},
};
use vssl_kernels::{linear, write_rows};

use crate::{layers::Init, objective::unit_rows};

/// What is added to the similarity of a row that was found, so that it is not found again.
const FOUND: f32 = -1e30;

/// The rows of the queue without gradient, `[length, dim]`.
#[derive(Module, Debug)]
pub struct Queue {
    rows: Param<Tensor<2>>,
}

impl Queue {
    /// Makes a queue that holds `rows`, `[length, dim]`, oldest first.
    pub fn new(rows: Tensor<2>) -> Self {
        Self { rows: Param::from_tensor(rows.detach()) }.no_grad()
    }

    /// Makes a queue of random directions, uniform on the sphere.
    pub fn random(length: usize, dim: usize, init: &Init) -> Self {
        Self::new(unit_rows(init.normal([length, dim], 1.0).val()))
    }

    /// Checks that the length is a multiple of the batch; `key` is the length's name in a recipe.
    ///
    /// # Errors
    /// The keys and values, and the nearest lengths that are allowed.
    pub fn check(key: &str, length: usize, batch: usize) -> Result<(), String> {
        if batch > 0 && length > 0 && length.is_multiple_of(batch) {
            return Ok(());
        }
        let above = length.div_ceil(batch.max(1)).max(1) * batch;
        let below = above - batch;
        let below = if below == 0 { String::new() } else { format!("{below} or ") };
        Err(format!(
            "{key} is {length}, and each forward pass writes {batch} rows (train.batch / \
             train.accumulate): expected a multiple of {batch}, for instance {below}{above}"
        ))
    }

    /// Returns all rows, in the order in which they are stored, `[length, dim]`.
    pub fn rows(&self) -> Tensor<2> {
        self.rows.val().detach()
    }

    /// Returns the first row that batch number `passes`, counted from 0, overwrites.
    ///
    /// # Panics
    /// The panics of [`Queue::push`].
    pub fn position(&self, batch: usize, passes: u64) -> usize {
        let length = self.rows.dims()[0];
        assert!(
            batch > 0 && length.is_multiple_of(batch),
            "a queue of {length} rows takes no batches of {batch}"
        );
        // The cast fits, because the remainder is below `length / batch`, which is a usize.
        (passes % (length / batch) as u64) as usize * batch
    }

    /// Overwrites the oldest rows with `batch`, `[n, dim]`; `passes` batches went in before.
    ///
    /// # Panics
    /// The length of the queue is not a multiple of n: see [`Queue::check`].
    pub fn push(self, batch: Tensor<2>, passes: u64) -> Self {
        let [n, dim] = batch.dims();
        let start = self.position(n, passes);
        let batch = batch.detach();
        let rows = self.rows.map(|rows| {
            // The rows are detached, because the graph would otherwise grow by one step with every batch.
            rows.detach().slice_assign([start..start + n, 0..dim], batch)
        });
        Self { rows }
    }

    /// Returns the row that batch number `passes`, counted from 0, overwrites first where batches of any size go in: see
    /// [`Queue::push_around`].
    pub fn position_around(&self, batch: usize, passes: u64) -> usize {
        let length = self.rows.dims()[0] as u128;
        // The cast fits, because the remainder is below the length, which is a usize.
        (u128::from(passes) * batch as u128 % length) as usize
    }

    /// Overwrites the oldest rows with `batch`, `[n, dim]`, of any n: behind the last row comes the first. `passes`
    /// batches of this size went in before. Of a batch longer than the queue the last rows stay.
    pub fn push_around(self, batch: Tensor<2>, passes: u64) -> Self {
        let (n, length) = (batch.dims()[0], self.rows.dims()[0]);
        let start = self.position_around(n, passes);
        let kept = n.min(length);
        let places: Vec<usize> = (n - kept..n).map(|row| (start + row) % length).collect();
        let batch = batch.detach().narrow(0, n - kept, kept);
        // The rows are detached, because the graph would otherwise grow by one step with every batch.
        let rows = self.rows.map(|rows| write_rows(rows.detach(), batch, &places));
        Self { rows }
    }

    /// Returns for each row of `z` the number of the stored row with the largest dot product, the first of
    /// equals.
    ///
    /// # Shapes — `z`: `[n, dim]`; returns `[n]`.
    pub fn nearest(&self, z: Tensor<2>) -> Tensor<1, Int> {
        let n = z.dims()[0];
        linear(z.detach(), self.rows(), None).argmax(1).reshape([n]) // [n, length] -> [n]
    }

    /// Returns for each row of `z` the numbers of the `count` stored rows with the largest dot products, the largest
    /// first, and of equals the first.
    ///
    /// # Shapes — `z`: `[n, dim]`; returns `count` times `[n]`; the queue has at least so many rows.
    pub fn nearest_several(&self, z: Tensor<2>, count: usize) -> Vec<Tensor<1, Int>> {
        let (n, device) = (z.dims()[0], z.device());
        let mut similarities = linear(z.detach(), self.rows(), None); // [n, length]
        // Not a sort: on most back ends that runs on the host.
        let mut found = Vec::with_capacity(count);
        for _ in 0..count {
            let nearest = similarities.clone().argmax(1); // [n, 1]
            found.push(nearest.clone().reshape([n]));
            let away = Tensor::full([n, 1], FOUND, &device);
            similarities = similarities.scatter(1, nearest, away, IndexingUpdateOp::Add);
        }
        found
    }

    /// Returns the stored rows of these numbers.
    ///
    /// # Shapes — `numbers`: `[n]`; returns `[n, dim]`.
    pub fn take(&self, numbers: Tensor<1, Int>) -> Tensor<2> {
        self.rows().select(0, numbers)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn queue(values: [f32; 6]) -> Queue {
        Queue::new(column(&values))
    }

    fn column(values: &[f32]) -> Tensor<2> {
        let device = Device::flex().autodiff();
        Tensor::<1>::from_floats(values, &device).reshape([values.len(), 1])
    }

    fn values(queue: &Queue) -> Vec<f32> {
        queue.rows().into_data().try_to_vec().unwrap()
    }

    #[test]
    fn queue_drops_the_oldest_rows() {
        let queue = queue([0.0; 6]).push(column(&[1.0, 2.0]), 0).push(column(&[3.0, 4.0]), 1);
        assert_eq!(values(&queue), [1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
        let queue = queue.push(column(&[5.0, 6.0]), 2).push(column(&[7.0, 8.0]), 3);
        assert_eq!(values(&queue), [7.0, 8.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn batches_of_any_size_go_round_the_queue() {
        let queue = queue([0.0; 6]).push_around(column(&[1.0, 2.0, 3.0, 4.0]), 0);
        assert_eq!(values(&queue), [1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
        let queue = queue.push_around(column(&[5.0, 6.0, 7.0, 8.0]), 1);
        assert_eq!(values(&queue), [7.0, 8.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(queue.position_around(4, 2), 2);
        // u64::MAX is 3 more than a multiple of 6.
        assert_eq!(queue.position_around(4, u64::MAX - 1), 2);
        // Of more rows than there are places the last ones stay.
        let longer: Vec<f32> = (1..=8).map(|i| i as f32).collect();
        let queue = self::queue([0.0; 6]).push_around(column(&longer), 0);
        assert_eq!(values(&queue), [7.0, 8.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn the_position_is_right_after_more_passes_than_a_row_number_can_hold() {
        assert_eq!(queue([0.0; 6]).position(2, u64::MAX), (u64::MAX % 3) as usize * 2);
    }

    #[test]
    fn rows_and_what_is_pushed_leave_the_graph() {
        let batch = column(&[1.0, 2.0]).require_grad();
        let queue = queue([0.0; 6]).push(batch.clone() * 2.0, 0);
        let gradients = (queue.rows().sum() + batch.clone().sum()).backward();
        let gradient: Vec<f32> = batch.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        assert_eq!(gradient, [1.0, 1.0]);
        assert!(!queue.rows.is_require_grad());
    }

    #[test]
    fn of_equally_near_rows_the_first_is_taken() {
        let queue = queue([1.0, 5.0, -2.0, 5.0, 5.0, 0.0]);
        let nearest: Vec<i64> =
            queue.nearest(column(&[2.0, -1.0])).into_data().convert::<i64>().try_to_vec().unwrap();
        assert_eq!(nearest, [1, 2]);
    }

    #[test]
    fn several_rows_are_found_by_their_nearness_and_each_once() {
        let queue = queue([1.0, 5.0, -2.0, 5.0, 4.0, 0.0]);
        let found = queue.nearest_several(column(&[2.0, -1.0]), 3);
        let found: Vec<Vec<i64>> = found
            .into_iter()
            .map(|numbers| numbers.into_data().convert::<i64>().try_to_vec().unwrap())
            .collect();
        assert_eq!(found, [[1, 2], [3, 5], [4, 0]]);
    }

    #[test]
    fn a_length_that_does_not_fit_names_those_that_would() {
        assert!(Queue::check("nnclr.queue", 96, 32).is_ok());
        let message = Queue::check("nnclr.queue", 100, 32).unwrap_err();
        assert!(message.contains("nnclr.queue is 100") && message.contains("96 or 128"));
        let message = Queue::check("nnclr.queue", 10, 32).unwrap_err();
        assert!(message.contains("for instance 32"), "{message}");
    }
}
