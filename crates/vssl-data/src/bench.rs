//! Measures how many images a second the loader of the training turns into two SimCLR views each.
//! Called by `vssl bench data`.

use std::{sync::Arc, time::Instant};

use crate::{
    DataError, Dataset, Image, Loader, LoaderPlan, OnBadImage, Pipeline, Share, ViewGroup,
    dataset::IMAGENET,
    rng::{Stream, below, rng},
};

/// The largest batch; the loader's speed does not depend on it.
const BATCH: usize = 64;

/// Settings of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct DataBench {
    /// Side of the views in pixels.
    pub size: usize,
    /// Least number of images; it is rounded up to whole batches.
    pub images: usize,
    /// Probability of a blur.
    pub blur: f64,
    /// Number of threads that decode and augment, at least 1.
    pub threads: usize,
}

/// Result of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct DataSpeed {
    /// Number of images that were timed, each as two views.
    pub images: usize,
    /// Images a second of all threads together.
    pub images_per_s: f64,
}

impl DataBench {
    /// The views of SimCLR (Chen et al. 2020, arXiv:2002.05709): crops from a fifth of the area
    /// up, colours, greyscale, blur, flip.
    pub fn views(&self) -> ViewGroup {
        ViewGroup {
            size: self.size,
            crop_scale: [0.2, 1.0],
            blur: self.blur,
            ..ViewGroup::default()
        }
    }

    /// Times the loader over `dataset`, after one batch to warm up.
    ///
    /// # Errors
    /// Settings out of range, and images that cannot be read.
    pub fn run(&self, dataset: &Arc<dyn Dataset>) -> Result<DataSpeed, DataError> {
        let pipeline = Arc::new(Pipeline::new(vec![self.views()], IMAGENET, 0)?);
        // The sampler drops images that do not fill a batch; with this size every image is used equally often.
        let most = BATCH.min(dataset.len());
        let batch = (1..=most).rev().find(|batch| dataset.len().is_multiple_of(*batch));
        let batch = batch.unwrap_or(1);
        let steps = self.images.div_ceil(batch) as u64;
        // A single thread is the calling one: a worker beside it would hide the cost of handing over.
        let workers = if self.threads == 1 { 0 } else { self.threads };
        let load = |end_step| {
            let plan = LoaderPlan {
                seed: 0,
                batch,
                share: Share::WHOLE,
                workers,
                prefetch: workers,
                on_bad_image: OnBadImage::Stop,
                start_step: 0,
                end_step,
            };
            let start = Instant::now();
            for batch in Loader::new(Arc::clone(dataset), Arc::clone(&pipeline), plan)? {
                std::hint::black_box(&batch?.views);
            }
            Ok(start.elapsed().as_secs_f64())
        };
        load(1)?;
        let images = batch * steps as usize;
        Ok(DataSpeed { images, images_per_s: images as f64 / load(steps)? })
    }
}

/// A dataset of square noise images, held in memory.
pub struct Noise {
    side: usize,
    pictures: Vec<Vec<u8>>,
}

impl Noise {
    /// Makes `count` images, `side` pixels wide and high.
    pub fn new(count: usize, side: usize) -> Self {
        let picture = |index| {
            let mut rng = rng(0, Stream::Evaluation, 0, index as u64);
            (0..side * side * 3).map(|_| below(&mut rng, 256) as u8).collect()
        };
        Self { side, pictures: (0..count).map(picture).collect() }
    }
}

impl Dataset for Noise {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        Ok(Image { width: self.side, height: self.side, values: self.pictures[index].clone() })
    }

    fn labels(&self) -> Option<&[u32]> {
        None
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn name(&self, index: usize) -> String {
        format!("noise {index}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_images_and_threads_can_be_measured() {
        for (count, threads) in [(1, 1), (3, 2), (67, 1)] {
            let dataset: Arc<dyn Dataset> = Arc::new(Noise::new(count, 5));
            let bench = DataBench { size: 7, images: 10, blur: 0.5, threads };
            let speed = bench.run(&dataset).unwrap();
            assert!(speed.images >= 10 && speed.images_per_s > 0.0, "{count}: {speed:?}");
        }
    }

    #[test]
    fn senseless_settings_are_refused() {
        let dataset: Arc<dyn Dataset> = Arc::new(Noise::new(2, 5));
        let bench = DataBench { size: 7, images: 10, blur: 1.5, threads: 1 };
        assert!(bench.run(&dataset).unwrap_err().to_string().contains("blur"));
    }
}
