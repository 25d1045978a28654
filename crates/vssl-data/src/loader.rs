//! Batches of views, prefetched by worker threads.
//!
//! A batch is a function of (seed, step): the worker that makes it, the number of workers and the
//! step at which a run was resumed change no byte of it. Each worker makes whole batches, so that
//! several batches are in the making at a time. That needs no lock and no copy while pixels are made;
//! the price is that the first batch takes as long as one core needs for it.

mod evaluation;
mod ordered;
mod pixels;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub use evaluation::{EvaluationBatch, EvaluationLoader, EvaluationPlan};
pub(crate) use ordered::Ordered;
pub use pixels::Pixels;
use pixels::Pool;
use serde::{Deserialize, Serialize};

use crate::{
    DataError, Dataset, Image,
    augment::{Order, Pipeline, Scratch, Value, check_image},
    dataset,
    panics::caught,
    picture::MOST_CHANNELS,
    rng::{Stream, below, rng},
    sampler::Sampler,
    share::Share,
};

/// How many threads read images: as many as are wanted, or one for each core.
pub fn workers(wanted: Option<usize>) -> usize {
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// What happens when an image cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadImage {
    /// The loader returns the error in place of the batch, and nothing after it.
    #[default]
    Stop,
    /// Another image, chosen by (seed, epoch, image), takes its place in the batch.
    Skip,
}

/// Settings of a [`Loader`].
#[derive(Clone, Debug)]
pub struct LoaderPlan {
    /// Seed of the order and of replacements; the views' seed belongs to their pipeline.
    pub seed: u64,
    /// Number of images of a batch, over all processes.
    pub batch: usize,
    /// The part of each batch that this process loads.
    pub share: Share,
    /// Number of worker threads; with 0 the calling thread makes each batch when it asks for it.
    pub workers: usize,
    /// Largest number of batches that are finished or in the making; each worker makes one in any case.
    pub prefetch: usize,
    /// What happens when an image cannot be read.
    pub on_bad_image: OnBadImage,
    /// First step, counted over the whole run from 0.
    pub start_step: u64,
    /// Step after the last one.
    pub end_step: u64,
}

impl LoaderPlan {
    /// Upper bound in bytes of the views of `pipeline` that a loader holds at any time: the batches that
    /// are finished or in the making, and the buffer of a batch that was returned. Batches that were
    /// handed out are not counted, and neither is the decoded image that each worker holds with its
    /// working copies.
    pub fn memory_bound(&self, pipeline: &Pipeline) -> usize {
        let pixels: usize = pipeline.views().iter().map(|view| view.size * view.size).sum();
        let values = pixels * pipeline.channels();
        values
            .saturating_mul(size_of::<f32>() * self.batch / self.share.world)
            .saturating_mul(ahead(self.workers, self.prefetch) + 1)
    }
}

/// Largest number of batches that are finished or in the making: at least one for each worker, which
/// would be idle otherwise.
fn ahead(workers: usize, prefetch: usize) -> usize {
    if workers == 0 { 1 } else { prefetch.max(workers) }
}

/// One view of every image of a batch.
#[derive(Debug, PartialEq)]
pub struct ViewBatch<T: Value = f32> {
    /// Side in pixels.
    pub size: usize,
    /// Whether the view is a small local crop, which only the student sees.
    pub local: bool,
    /// `[n, size, size, channels]`, normalised, unless the loader was asked for other numbers or another order.
    pub pixels: Pixels<T>,
}

/// The data of one step.
#[derive(Debug)]
pub struct Batch<T: Value = f32> {
    /// Number of the step in the whole run.
    pub step: u64,
    /// Number of the epoch.
    pub epoch: u64,
    /// Numbers of the images of this process's part of the batch, after replacement.
    pub indices: Vec<usize>,
    /// Labels of these images, if the dataset has labels.
    pub labels: Option<Vec<u32>>,
    /// The views in the order of the pipeline.
    pub views: Vec<ViewBatch<T>>,
    /// The bad images that were replaced by others.
    pub replaced: Vec<Replaced>,
    /// How long the caller waited for this batch.
    pub wait: Duration,
}

/// An image that could not be read.
#[derive(Debug)]
pub struct Replaced {
    /// Place of the image in the batch.
    pub place: usize,
    /// Number of the image in the dataset.
    pub index: usize,
    /// The error, which names the image.
    pub error: DataError,
}

/// Iterator over the batches of a range of steps. Dropping it stops and joins the workers.
pub struct Loader<T: Value = f32> {
    ordered: Ordered<Batch<T>>,
    steps_per_epoch: u64,
}

impl Loader {
    /// Checks the plan and starts the workers. The views are normalised, channels last.
    ///
    /// # Errors
    /// As [`Loader::in_order`].
    pub fn new(
        dataset: Arc<dyn Dataset>,
        pipeline: Arc<Pipeline>,
        plan: LoaderPlan,
    ) -> Result<Self, DataError> {
        Self::in_order(dataset, pipeline, plan, Order::ChannelsLast)
    }
}

impl<T: Value> Loader<T> {
    /// Checks the plan and starts the workers, which store the numbers of each view in `order`.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a batch that is 0, above the dataset or not to be shared, workers
    /// without prefetch, or a first step behind the last.
    pub fn in_order(
        dataset: Arc<dyn Dataset>,
        pipeline: Arc<Pipeline>,
        plan: LoaderPlan,
        order: Order,
    ) -> Result<Self, DataError> {
        let sampler = Sampler::new(plan.seed, dataset.len(), plan.batch)?;
        plan.share.check(plan.batch)?;
        check_threads(plan.workers, plan.prefetch)?;
        if plan.start_step > plan.end_step {
            return Err(DataError::Setting(format!(
                "steps {} to {}; expected the first not above the last",
                plan.start_step, plan.end_step
            )));
        }
        let steps_per_epoch = sampler.steps_per_epoch();
        let LoaderPlan { workers, prefetch, seed, share, on_bad_image, .. } = plan;
        let pool = Pool::new(pipeline.views().len());
        let maker = Maker { dataset, pipeline, sampler, share, pool, seed, on_bad_image, order };
        let make = Box::new(move |step: u64, scratch: &mut Scratch, stop: &AtomicBool| {
            maker.batch(step, scratch, stop)
        });
        let steps = plan.start_step..plan.end_step;
        let ordered = Ordered::new(steps, workers, ahead(workers, prefetch), make)?;
        Ok(Self { ordered, steps_per_epoch })
    }

    /// Number of steps of one epoch: the whole batches of the dataset.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }
}

impl<T: Value> Iterator for Loader<T> {
    type Item = Result<Batch<T>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let asked = Instant::now();
        let mut batch = self.ordered.next()?;
        if let Ok(batch) = &mut batch {
            batch.wait = asked.elapsed();
        }
        Some(batch)
    }
}

/// Everything that the content of a batch depends on.
struct Maker<T: Value> {
    dataset: Arc<dyn Dataset>,
    pipeline: Arc<Pipeline>,
    sampler: Sampler,
    share: Share,
    pool: Arc<Pool<T>>,
    seed: u64,
    on_bad_image: OnBadImage,
    order: Order,
}

/// Number of replacements that are tried before a bad image stops the run after all.
const REPLACEMENTS: usize = 100;

impl<T: Value> Maker<T> {
    fn batch(
        &self,
        step: u64,
        scratch: &mut Scratch,
        stop: &AtomicBool,
    ) -> Result<Batch<T>, DataError> {
        let steps_per_epoch = self.sampler.steps_per_epoch();
        let epoch = step / steps_per_epoch;
        let mut indices = self.share.of(&self.sampler.batch(epoch, step % steps_per_epoch));
        let channels = self.pipeline.channels();
        let views = self.pipeline.views().iter();
        let mut views = views
            .map(|view| ViewBatch {
                size: view.size,
                local: view.local,
                pixels: self.pool.take(indices.len() * view.size * view.size * channels),
            })
            .collect::<Vec<_>>();
        let mut replaced = Vec::new();
        for (place, index) in indices.iter_mut().enumerate() {
            if stopped(stop) {
                break;
            }
            // The views are drawn at the address of the image that is replaced: two copies of
            // one image in a batch then have different views.
            let address = *index as u64;
            let (image, used) = self.image(place, *index, epoch, &mut replaced)?;
            *index = used;
            for (number, view) in views.iter_mut().enumerate() {
                let values = view.size * view.size * channels;
                let out = &mut view.pixels.values_mut()[place * values..][..values];
                self.pipeline.view_as(
                    &image,
                    epoch,
                    (address, number),
                    self.order,
                    scratch,
                    out,
                )?;
            }
        }
        let labels = self.dataset.labels();
        let labels = labels.map(|labels| indices.iter().map(|&index| labels[index]).collect());
        Ok(Batch { step, epoch, indices, labels, views, replaced, wait: Duration::ZERO })
    }

    /// The image for a place in the batch, and its number in the dataset.
    fn image(
        &self,
        place: usize,
        index: usize,
        epoch: u64,
        replaced: &mut Vec<Replaced>,
    ) -> Result<(Image, usize), DataError> {
        let channels = Some(self.pipeline.channels());
        let error = match checked_image(&*self.dataset, index, channels) {
            ReadImage::Good(image) => return Ok((image, index)),
            ReadImage::Bad(error) if self.on_bad_image == OnBadImage::Stop => return Err(error),
            ReadImage::Bad(error) => error,
        };
        let mut rng = rng(self.seed, Stream::Replacement, epoch, index as u64);
        for _ in 0..REPLACEMENTS {
            let other = below(&mut rng, self.dataset.len() as u64) as usize;
            if let ReadImage::Good(image) = checked_image(&*self.dataset, other, channels) {
                replaced.push(Replaced { place, index, error });
                return Ok((image, other));
            }
        }
        Err(DataError::BadImage {
            name: self.dataset.name(index),
            index,
            what: format!(
                "{error}; and {REPLACEMENTS} other images that were tried in its place cannot be \
                 read either: check the dataset"
            ),
        })
    }
}

pub(crate) enum ReadImage {
    Good(Image),
    Bad(DataError),
}

/// Reads an image and checks that it holds as many pixels as its size says, and has the expected number of channels
/// where one is expected.
pub(crate) fn checked_image(
    dataset: &dyn Dataset,
    index: usize,
    channels: Option<usize>,
) -> ReadImage {
    let other = |found: usize| {
        let wanted = channels.filter(|&wanted| wanted != found && found <= MOST_CHANNELS)?;
        Some(ReadImage::Bad(DataError::Channels {
            name: dataset.name(index),
            index,
            found,
            wanted,
        }))
    };
    let what = match caught(|| dataset.image(index)) {
        Ok(Err(error)) => {
            let found = channels.and_then(|n| dataset::other_channels(dataset, index, n));
            return found.and_then(other).unwrap_or(ReadImage::Bad(error));
        }
        Ok(Ok(image)) => match check_image(&image, channels) {
            Ok(()) => return ReadImage::Good(image),
            Err(what) => match other(image.channels()).filter(|_| image.channels() > 0) {
                Some(bad) => return bad,
                None => what,
            },
        },
        Err(panic) => format!("the decoder panicked: {panic}"),
    };
    ReadImage::Bad(DataError::BadImage { name: dataset.name(index), index, what })
}

fn check_threads(workers: usize, prefetch: usize) -> Result<(), DataError> {
    if workers > 0 && prefetch == 0 {
        return Err(DataError::Setting(format!(
            "prefetch is 0 with {workers} workers; expected at least 1 batch, or no workers"
        )));
    }
    Ok(())
}

fn stopped(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}
