//! The order of the images: a function of (seed, epoch), one global shuffle an epoch.
//! Called by the loader.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    DataError,
    rng::{Stream, permutation, rng},
};

/// Batches of image numbers. The last images of an epoch's order that do not fill a batch are left
/// out; every epoch leaves out others.
#[derive(Debug)]
pub struct Sampler {
    seed: u64,
    images: u32,
    batch: usize,
    /// The latest orders: around the end of an epoch the workers need two.
    orders: Mutex<Vec<(u64, Arc<[u32]>)>>,
}

const KEPT_ORDERS: usize = 2;

impl Sampler {
    /// A sampler of `images` images in batches of `batch`.
    ///
    /// # Errors
    /// [`DataError::Setting`] when the batch is 0 or larger than the dataset, or the dataset has
    /// 2^32 images or more.
    pub fn new(seed: u64, images: usize, batch: usize) -> Result<Self, DataError> {
        if batch == 0 || batch > images {
            return Err(DataError::Setting(format!(
                "a batch of {batch} from {images} images; expected 1 to {images} images a batch"
            )));
        }
        let images = u32::try_from(images).map_err(|_| {
            DataError::Setting(format!("{images} images; expected fewer than {}", 1u64 << 32))
        })?;
        Ok(Self { seed, images, batch, orders: Mutex::default() })
    }

    /// Number of whole batches of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.images as u64 / self.batch as u64
    }

    /// The images of one step of an epoch.
    ///
    /// # Panics
    /// When `step_in_epoch` is not below [`Sampler::steps_per_epoch`].
    pub fn batch(&self, epoch: u64, step_in_epoch: u64) -> Vec<usize> {
        assert!(step_in_epoch < self.steps_per_epoch(), "step {step_in_epoch} of an epoch");
        let first = step_in_epoch as usize * self.batch;
        let order = self.order(epoch);
        order[first..first + self.batch].iter().map(|&image| image as usize).collect()
    }

    /// All images in the order of `epoch`.
    pub fn order(&self, epoch: u64) -> Arc<[u32]> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = orders.iter().find(|(known, _)| *known == epoch) {
            return Arc::clone(order);
        }
        let order = self.shuffle(epoch);
        if orders.len() == KEPT_ORDERS {
            orders.remove(0);
        }
        orders.push((epoch, Arc::clone(&order)));
        order
    }

    fn shuffle(&self, epoch: u64) -> Arc<[u32]> {
        permutation(&mut rng(self.seed, Stream::Shuffle, epoch, 0), self.images).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_visits_every_image_once_in_an_order_of_its_own() {
        let sampler = Sampler::new(3, 100, 7).unwrap();
        for epoch in 0..3 {
            let mut order = sampler.order(epoch).to_vec();
            assert_ne!(order, sampler.order(epoch + 1).to_vec());
            order.sort_unstable();
            assert_eq!(order, (0..100).collect::<Vec<_>>());
        }
        assert_ne!(sampler.order(0), Sampler::new(4, 100, 7).unwrap().order(0));
    }

    #[test]
    fn steps_cut_the_order_and_drop_the_rest() {
        let sampler = Sampler::new(3, 100, 7).unwrap();
        assert_eq!(sampler.steps_per_epoch(), 14);
        let steps = (0..14).flat_map(|step| sampler.batch(1, step)).collect::<Vec<_>>();
        let order = sampler.order(1).iter().map(|&i| i as usize).collect::<Vec<_>>();
        assert_eq!(steps, order[..98]);
    }

    #[test]
    fn forgotten_epochs_come_back_the_same() {
        let sampler = Sampler::new(3, 50, 5).unwrap();
        let first = sampler.order(0);
        (1..5).for_each(|epoch| drop(sampler.order(epoch)));
        assert_eq!(first, sampler.order(0));
    }

    #[test]
    fn every_place_is_equally_likely() {
        let sampler = Sampler::new(9, 5, 1).unwrap();
        let mut counts = [[0u32; 5]; 5];
        for epoch in 0..10_000 {
            for (place, &image) in sampler.order(epoch).iter().enumerate() {
                counts[place][image as usize] += 1;
            }
        }
        // Standard deviation of a count is 40: five of them.
        assert!(counts.as_flattened().iter().all(|c| c.abs_diff(2000) < 200), "{counts:?}");
    }

    #[test]
    fn senseless_batches_are_refused() {
        for (images, batch) in [(10, 0), (10, 11), (0, 1), (0, 0)] {
            let error = Sampler::new(0, images, batch).unwrap_err().to_string();
            assert!(error.contains(&format!("a batch of {batch} from {images} images")), "{error}");
        }
    }
}
