//! The input pipeline of a training: batches of views as arrays.

use std::{
    path::PathBuf,
    process,
    sync::{Arc, Mutex, PoisonError, TryLockError},
};

use numpy::{Element, PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use serde_json::json;
use vssl::{
    methods::METHODS,
    recipe::{Recipe, TrainSection},
    run::length::Length,
};
use vssl_data::{
    Batch, Dataset, Loader, LoaderPlan, Normalisation, OnBadImage, PerChannel, Pipeline, Share,
    ViewGroup,
    augment::{Adjustment, Order, Value},
    dataset::IMAGENET,
    loader::workers,
};

use crate::{
    errors::{failed, usage, without_lock},
    images::Images,
};

/// How batches are made. Where a recipe is given, it says what is `None`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Settings {
    batch: Option<usize>,
    seed: Option<u64>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    rank: usize,
    world: usize,
    workers: Option<usize>,
    prefetch: Option<usize>,
    on_bad_image: Option<String>,
    bytes: bool,
    planes: bool,
}

/// The views of a set of images.
#[pyclass(frozen, module = "vssl._vssl")]
pub struct Views {
    dataset: Arc<dyn Dataset>,
    pipeline: Arc<Pipeline>,
    plan: LoaderPlan,
    bytes: bool,
    order: Order,
    #[pyo3(get)]
    steps_per_epoch: u64,
    /// The steps that the recipe trains.
    #[pyo3(get)]
    total_steps: Option<u64>,
}

#[pymethods]
impl Views {
    /// The views of a recipe.
    #[staticmethod]
    fn of_recipe(
        path: PathBuf,
        overrides: Vec<String>,
        images: &Images,
        settings: Settings,
    ) -> PyResult<Self> {
        let (recipe, _) = Recipe::load(&path, &overrides, METHODS).map_err(usage)?;
        let normalisation = match (&recipe.data.normalisation, &recipe.init) {
            (None, Some(_)) if settings.mean.is_none() || settings.std.is_none() => {
                return Err(usage(anyhow::anyhow!(
                    "{}: the encoder in [init] decides how images are normalised; expected mean and std, or \
                     data.normalisation in the recipe",
                    path.display()
                )));
            }
            _ => recipe.data.normalisation(),
        };
        let TrainSection { batch, epochs, max_steps, accumulate, .. } = recipe.train;
        let defaults = LoaderPlan {
            seed: recipe.seed,
            batch,
            share: Share { rank: 0, world: 1, parts: accumulate },
            workers: workers(recipe.data.workers),
            prefetch: recipe.data.prefetch,
            on_bad_image: recipe.data.on_bad_image,
            start_step: 0,
            end_step: 0,
        };
        let mut views = Self::new(images, recipe.views, normalisation, defaults, settings)?;
        let length = Length { batch: views.plan.batch, epochs, max_steps };
        views.total_steps = Some(length.total_steps(views.dataset.len()));
        Ok(views)
    }

    /// The views of groups, which are JSON with the keys of a recipe's `[[views]]`.
    #[staticmethod]
    fn of_groups(groups: &str, images: &Images, settings: Settings) -> PyResult<Self> {
        let groups: Vec<ViewGroup> = serde_json::from_str(groups)
            .map_err(|error| usage(anyhow::anyhow!("view groups: {error}")))?;
        let usual = images.format.map_or(IMAGENET, |format| format.normalisation());
        // The numbers say how many channels the images have, where both are given.
        let given = |numbers: &Option<Vec<f32>>| PerChannel::of(numbers.as_deref()?).ok();
        let given = given(&settings.mean).zip(given(&settings.std));
        let normalisation = given.map_or(usual, |(mean, std)| Normalisation { mean, std });
        let defaults = LoaderPlan {
            seed: 0,
            batch: 256,
            share: Share::WHOLE,
            workers: workers(None),
            prefetch: 4,
            on_bad_image: OnBadImage::Stop,
            start_step: 0,
            end_step: 0,
        };
        Self::new(images, groups, normalisation, defaults, settings)
    }

    /// The number of images in the set.
    fn images(&self) -> usize {
        self.dataset.len()
    }

    /// The number of images of a batch, over all ranks.
    fn batch(&self) -> usize {
        self.plan.batch
    }

    /// Of each view its side and whether it is a small local crop.
    fn shapes(&self) -> Vec<(usize, bool)> {
        self.pipeline.views().iter().map(|view| (view.size, view.local)).collect()
    }

    /// The parameters that a view of an image is made with, as JSON.
    fn parameters(
        &self,
        py: Python<'_>,
        epoch: u64,
        index: usize,
        view: usize,
    ) -> PyResult<String> {
        let (images, views) = (self.dataset.len(), self.pipeline.views());
        let shape = views.get(view).filter(|_| index < images).ok_or_else(|| {
            let views = views.len();
            usage(anyhow::anyhow!(
                "view {view} of image {index}; expected one of {views} views of {images} images"
            ))
        })?;
        let image = without_lock(py, || Ok(self.dataset.image(index)?))?;
        let drawn =
            self.pipeline.parameters((image.width, image.height), epoch, index as u64, view);
        let region = drawn.region;
        let jitter = drawn
            .jitter
            .map(|jitter| jitter.into_iter().filter_map(adjustment).collect::<Vec<(&str, f64)>>());
        let value = json!({
            "top": region.top, "left": region.left, "height": region.height, "width": region.width,
            "size": shape.size, "interpolation": self.pipeline.groups()[shape.group].interpolation,
            "jitter": jitter, "grayscale": drawn.grayscale, "blur": drawn.blur,
            "solarize": drawn.solarize, "equalize": drawn.equalize, "flip": drawn.flip,
        });
        Ok(value.to_string())
    }

    /// Starts threads that make the batches of the steps from `start` to `end`, without the last one.
    fn batches(&self, start: u64, end: u64) -> PyResult<Batches> {
        let plan = LoaderPlan { start_step: start, end_step: end, ..self.plan.clone() };
        let (dataset, pipeline) = (self.dataset.clone(), self.pipeline.clone());
        let made = match self.bytes {
            true => {
                Made::Bytes(Loader::in_order(dataset, pipeline, plan, self.order).map_err(usage)?)
            }
            false => {
                Made::Floats(Loader::in_order(dataset, pipeline, plan, self.order).map_err(usage)?)
            }
        };
        Ok(Batches { made: Mutex::new(Some(made)), order: self.order, process: process::id() })
    }
}

impl Views {
    fn new(
        images: &Images,
        groups: Vec<ViewGroup>,
        own: Normalisation,
        defaults: LoaderPlan,
        settings: Settings,
    ) -> PyResult<Self> {
        let Settings { rank, world, bytes, planes, .. } = settings;
        let channels = own.channels();
        let given = |name: &str, numbers: Option<Vec<f32>>, own: PerChannel| {
            let Some(numbers) = numbers else { return Ok(own) };
            match PerChannel::of(&numbers) {
                Ok(numbers) if numbers.len() == channels => Ok(numbers),
                _ => Err(usage(anyhow::anyhow!(
                    "{name} has {} numbers; expected {channels}, one for each channel",
                    numbers.len()
                ))),
            }
        };
        let normalisation = Normalisation {
            mean: given("mean", settings.mean, own.mean)?,
            std: given("std", settings.std, own.std)?,
        };
        let on_bad_image = match settings.on_bad_image {
            Some(name) => serde_json::from_value(name.into())
                .map_err(|error| usage(anyhow::anyhow!("on_bad_image: {error}")))?,
            None => defaults.on_bad_image,
        };
        let plan = LoaderPlan {
            seed: settings.seed.unwrap_or(defaults.seed),
            batch: settings.batch.unwrap_or(defaults.batch),
            share: Share { rank, world, ..defaults.share },
            workers: settings.workers.unwrap_or(defaults.workers),
            prefetch: settings.prefetch.unwrap_or(defaults.prefetch),
            on_bad_image,
            ..defaults
        };
        let pipeline = Arc::new(Pipeline::new(groups, normalisation, plan.seed).map_err(usage)?);
        let order = if planes { Order::Planes } else { Order::ChannelsLast };
        let (dataset, total_steps) = (images.dataset.clone(), None);
        let mut views =
            Self { dataset, pipeline, plan, bytes, order, steps_per_epoch: 0, total_steps };
        // A loader without steps checks the plan; its threads end at once.
        let plan = views.plan.clone();
        let (dataset, pipeline) = (views.dataset.clone(), views.pipeline.clone());
        let checked = Loader::<f32>::in_order(dataset, pipeline, plan, order).map_err(usage)?;
        views.steps_per_epoch = checked.steps_per_epoch();
        Ok(views)
    }
}

/// The name and the value of an adjustment that changes something.
fn adjustment(adjustment: Adjustment) -> Option<(&'static str, f64)> {
    Some(match adjustment {
        Adjustment::Nothing => return None,
        Adjustment::Brightness(factor) => ("brightness", factor),
        Adjustment::Contrast(factor) => ("contrast", factor),
        Adjustment::Saturation(factor) => ("saturation", factor),
        Adjustment::Hue(shift) => ("hue", shift),
    })
}

enum Made {
    Floats(Loader<f32>),
    Bytes(Loader<u8>),
}

/// Batches in the order of their steps.
#[pyclass(frozen, module = "vssl._vssl")]
pub struct Batches {
    /// `None` when it was closed.
    made: Mutex<Option<Made>>,
    order: Order,
    /// The process that started the threads.
    process: u32,
}

/// The step, the epoch, the numbers and the labels of the images, the views, and the place and the message of each
/// image that another one replaces.
type Item<'py> = (
    u64,
    u64,
    Bound<'py, PyArray1<i64>>,
    Option<Bound<'py, PyArray1<i64>>>,
    Vec<Bound<'py, PyAny>>,
    Vec<(usize, String)>,
);

#[pymethods]
impl Batches {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Item<'py>>> {
        enum Next {
            Floats(Batch<f32>),
            Bytes(Batch<u8>),
        }
        if self.process != process::id() {
            return Err(failed(anyhow::anyhow!(
                "the threads of these batches are in the process that began them; expected batches that are \
                 begun in this process"
            )));
        }
        let next = without_lock(py, || {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(match made.as_mut() {
                Some(Made::Floats(loader)) => loader.next().transpose()?.map(Next::Floats),
                Some(Made::Bytes(loader)) => loader.next().transpose()?.map(Next::Bytes),
                None => None,
            })
        })?;
        match next {
            Some(Next::Floats(batch)) => Ok(Some(self.item(py, batch)?)),
            Some(Next::Bytes(batch)) => Ok(Some(self.item(py, batch)?)),
            None => Ok(None),
        }
    }

    /// Ends the threads.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.end());
    }
}

impl Batches {
    fn item<'py, T: Value + Element>(
        &self,
        py: Python<'py>,
        batch: Batch<T>,
    ) -> PyResult<Item<'py>> {
        let count = batch.indices.len();
        let views = batch.views.into_iter().map(|view| {
            let places = count * view.size * view.size;
            let channels = view.pixels.len() / places.max(1);
            let shape = match self.order {
                Order::ChannelsLast => [count, view.size, view.size, channels],
                Order::Planes => [count, channels, view.size, view.size],
            };
            Ok(PyArray1::from_vec(py, view.pixels.into_vec()).reshape(shape)?.into_any())
        });
        let views = views.collect::<PyResult<Vec<_>>>()?;
        let whole = |numbers: Vec<i64>| PyArray1::from_vec(py, numbers);
        let indices = whole(batch.indices.iter().map(|&index| index as i64).collect());
        let labels = batch.labels.map(|labels| whole(labels.into_iter().map(i64::from).collect()));
        let replaced = batch.replaced.iter().map(|one| (one.place, one.error.to_string()));
        Ok((batch.step, batch.epoch, indices, labels, views, replaced.collect()))
    }

    fn end(&self) {
        if self.process == process::id() {
            let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).take();
            return drop(made);
        }
        // The lock may be held by a thread of the process that this one was forked from, for ever.
        match self.made.try_lock() {
            Ok(mut made) => std::mem::forget(made.take()),
            Err(TryLockError::Poisoned(made)) => std::mem::forget(made.into_inner().take()),
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        let made = self.made.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if self.process != process::id() {
            // A process that was forked has none of the threads, and would wait for them for ever.
            std::mem::forget(made);
        }
    }
}
