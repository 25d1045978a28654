//! Loads every image once, in the order of the dataset, through the evaluation transform. Features
//! for nearest-neighbour and linear evaluation are computed from these images.

use std::sync::{Arc, atomic::AtomicBool};

use super::{
    OnBadImage, Pixels, ReadImage, ahead, checked_image, ordered::Ordered, pixels::Pool, stopped,
};
use crate::{
    DataError, Dataset,
    augment::{EvaluationTransform, Normalisation, Normaliser, Scratch},
};

/// Settings of an [`EvaluationLoader`].
#[derive(Clone, Debug)]
pub struct EvaluationPlan {
    /// How each image is scaled and cut.
    pub transform: EvaluationTransform,
    /// Mean and standard deviation of the channels.
    pub normalisation: Normalisation,
    /// Number of images of a batch; the last batch may have fewer.
    pub batch: usize,
    /// Number of worker threads; with 0 the calling thread reads.
    pub workers: usize,
    /// Largest number of batches that are finished or in the making.
    pub prefetch: usize,
    /// Whether an image that cannot be read stops the evaluation or is left out.
    pub on_bad_image: OnBadImage,
}

/// Consecutive images of the dataset, transformed.
#[derive(Debug)]
pub struct EvaluationBatch {
    /// Numbers of the images, ascending; bad images are missing.
    pub indices: Vec<usize>,
    /// `[n, crop, crop, channels]`.
    pub pixels: Pixels,
    /// The errors of the images that were left out.
    pub left_out: Vec<DataError>,
}

/// Iterator over all images of a dataset.
pub struct EvaluationLoader {
    ordered: Ordered<EvaluationBatch>,
}

impl EvaluationLoader {
    /// Starts the workers.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a batch of 0, workers without prefetch, or a senseless transform.
    pub fn new(dataset: Arc<dyn Dataset>, plan: EvaluationPlan) -> Result<Self, DataError> {
        plan.transform.check()?;
        super::check_threads(plan.workers, plan.prefetch)?;
        if plan.batch == 0 {
            return Err(DataError::Setting("an evaluation batch of 0; expected at least 1".into()));
        }
        let normaliser = Normaliser::new(&plan.normalisation)?;
        let batches = dataset.len().div_ceil(plan.batch) as u64;
        let (workers, prefetch) = (plan.workers, plan.prefetch);
        let reader = Reader { dataset, plan, normaliser, pool: Pool::new(1) };
        let make = Box::new(move |number: u64, scratch: &mut Scratch, stop: &AtomicBool| {
            reader.batch(number, scratch, stop)
        });
        Ok(Self { ordered: Ordered::new(0..batches, workers, ahead(workers, prefetch), make)? })
    }
}

impl Iterator for EvaluationLoader {
    type Item = Result<EvaluationBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.ordered.next()
    }
}

struct Reader {
    dataset: Arc<dyn Dataset>,
    plan: EvaluationPlan,
    normaliser: Normaliser,
    pool: Arc<Pool>,
}

impl Reader {
    fn batch(
        &self,
        number: u64,
        scratch: &mut Scratch,
        stop: &AtomicBool,
    ) -> Result<EvaluationBatch, DataError> {
        let plan = &self.plan;
        let first = number as usize * plan.batch;
        let images = first..(first + plan.batch).min(self.dataset.len());
        let channels = self.normaliser.channels();
        let values = plan.transform.crop * plan.transform.crop * channels;
        let mut pixels = self.pool.take(images.len() * values);
        let (mut indices, mut left_out) = (Vec::with_capacity(images.len()), Vec::new());
        for index in images {
            if stopped(stop) {
                break;
            }
            match checked_image(&*self.dataset, index, Some(channels)) {
                ReadImage::Good(image) => {
                    let out = &mut pixels.values_mut()[indices.len() * values..][..values];
                    plan.transform.write(&image, &self.normaliser, scratch, out)?;
                    indices.push(index);
                }
                ReadImage::Bad(error) if plan.on_bad_image == OnBadImage::Skip => {
                    left_out.push(error);
                }
                ReadImage::Bad(error) => return Err(error),
            }
        }
        pixels.values_mut().truncate(indices.len() * values);
        Ok(EvaluationBatch { indices, pixels, left_out })
    }
}
