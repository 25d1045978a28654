//! The part of each batch that one of several processes loads.
//!
//! The order of the images knows nothing of processes: a batch is the same however many share it.
//! Each of its equal parts, the micro-batches, is cut into equal runs of images, one for each rank.

use crate::DataError;

/// The part of every batch that one process loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Number of processes that share each batch.
    pub world: usize,
    /// Number of micro-batches that a batch is cut into first.
    pub parts: usize,
}

impl Share {
    /// The whole batch, for a single process.
    pub const WHOLE: Self = Self { rank: 0, world: 1, parts: 1 };

    /// Checks that a batch of `batch` images can be shared.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a batch that cannot be cut into equal runs.
    pub fn check(&self, batch: usize) -> Result<(), DataError> {
        let Self { rank, world, parts } = *self;
        if rank < world && parts > 0 && batch.is_multiple_of(world * parts) {
            return Ok(());
        }
        Err(DataError::Setting(format!(
            "a batch of {batch} in {parts} parts over {world} processes, of which this is number \
             {rank}; expected a multiple of {}",
            (world * parts).max(1)
        )))
    }

    /// The images of this process among those of a batch, in the order of the batch.
    pub(crate) fn of(&self, batch: &[usize]) -> Vec<usize> {
        let Self { rank, world, parts } = *self;
        let own = batch.len() / (world * parts);
        batch
            .chunks_exact(own * world)
            .flat_map(|part| &part[rank * own..][..own])
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_make_up_each_part_of_the_batch_in_order() {
        let batch: Vec<usize> = (100..124).collect();
        for (world, parts) in [(1, 1), (2, 1), (4, 3), (3, 2)] {
            let shares: Vec<Vec<usize>> =
                (0..world).map(|rank| Share { rank, world, parts }.of(&batch)).collect();
            let own = batch.len() / world / parts;
            let joint: Vec<usize> = (0..parts)
                .flat_map(|part| shares.iter().flat_map(move |share| &share[part * own..][..own]))
                .copied()
                .collect();
            assert_eq!(joint, batch, "{world} ranks, {parts} parts");
        }
    }

    #[test]
    fn batches_that_cannot_be_cut_are_refused() {
        for (batch, rank, world, parts) in [(10, 0, 4, 1), (8, 0, 2, 3), (8, 2, 2, 1), (8, 0, 2, 0)]
        {
            let error = Share { rank, world, parts }.check(batch).unwrap_err().to_string();
            assert!(error.contains("expected a multiple of"), "{error}");
        }
        Share { rank: 1, world: 2, parts: 2 }.check(8).unwrap();
    }
}
