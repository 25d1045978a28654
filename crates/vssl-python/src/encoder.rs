//! A frozen encoder: `vssl embed` on arrays.

use std::{path::PathBuf, sync::Mutex};

use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use serde_json::json;
use vssl::{
    DeviceChoice, Network,
    backbone::Pooling,
    encoder::{self, EncoderError, Reading, images::features},
    posterior::{self, Posteriors},
    run::checkpoint::{LATEST, Store},
    run::folder,
};
use vssl_data::{
    DataError, EvaluationLoader, EvaluationPlan, OnBadImage, dataset::Tones, loader::workers,
};

use crate::{
    errors::{Ended, check_signals, computing, failed, unless_forked, usage, without_lock},
    images::{self, Images},
};

/// A frozen encoder.
#[pyclass(frozen, module = "vssl._vssl")]
pub struct Encoder {
    /// One call at a time: a network computes with all threads.
    encoder: Mutex<encoder::Encoder>,
    /// The checkpoint that was asked for.
    checkpoint: String,
    network: Network,
    /// What it is, as JSON: known without a wait for those who compute.
    #[pyo3(get)]
    info: String,
    path: PathBuf,
    /// What samples of more than 8 bits become in its run; `None` without a run.
    tones: Option<Tones>,
    channels: usize,
    #[pyo3(get)]
    notes: Vec<String>,
}

/// An array of rows: all numbers, and how many a row has.
type Rows = (Vec<f32>, usize);

/// What is computed of a set: the rows of each array, the numbers of the images, and the messages of images that were
/// left out.
struct Computed {
    arrays: Vec<Rows>,
    indices: Vec<usize>,
    left_out: Vec<String>,
}

/// Arrays `[n, …]`, the numbers of their images, and the messages of images that were left out.
type Answer<'py> = (Vec<Bound<'py, PyArray2<f32>>>, Bound<'py, PyArray1<i64>>, Vec<String>);

#[pymethods]
impl Encoder {
    /// Opens a run folder, the folder of a fine-tuning, or a file.
    #[staticmethod]
    fn load(
        py: Python<'_>,
        path: PathBuf,
        network: &str,
        checkpoint: String,
        pooling: Option<&str>,
        device: &str,
    ) -> PyResult<Self> {
        let network = match network {
            "student" => Network::Student,
            "teacher" => Network::Teacher,
            other => {
                return Err(usage(anyhow::anyhow!(
                    "network is {other:?}; expected \"student\" or \"teacher\""
                )));
            }
        };
        let device =
            device.parse::<DeviceChoice>().map_err(|error| usage(anyhow::anyhow!("{error}")))?;
        let device = device.resolve().map_err(usage)?;
        let is_fine_tuned = folder::is_on_labels(&path) && !folder::is_run(&path);
        let mut notes = Vec::new();
        if checkpoint == LATEST
            && (folder::is_run(&path) || is_fine_tuned)
            && let Some(stand_in) = Store::of(&path).stand_in().map_err(failed)?
        {
            notes.push(format!("{}: {}", path.display(), stand_in.note("takes")));
        }
        if is_fine_tuned {
            notes.push(format!(
                "{}: a fine-tuned network: its backbone is taken, its classifier is left out",
                path.display()
            ));
        }
        let pooling = pooling.map(pooling_of).transpose()?;
        let open = || Ok(encoder::Encoder::open(&path, &checkpoint, network, &device)?);
        unless_forked()?;
        let encoder = without_lock(py, open)?;
        let (encoder, told) = encoder.evaluated(pooling, "pooling=").map_err(usage)?;
        notes.extend(told);
        let recipe = encoder.recipe.as_ref();
        Ok(Self {
            checkpoint,
            network,
            info: info(&encoder),
            path: encoder.path.clone(),
            tones: recipe.map(|recipe| recipe.data.source().tones()),
            channels: encoder.input.channels(),
            notes,
            encoder: Mutex::new(encoder),
        })
    }

    /// How it reads files of images: as its run reads its own.
    fn reading(&self) -> images::Reading {
        images::Reading::of_encoder(&self.path, self.tones, self.channels)
    }

    /// Features of all images.
    #[pyo3(signature = (images, batch, skip, threads))]
    fn embed<'py>(
        &self,
        py: Python<'py>,
        images: &Images,
        batch: Option<usize>,
        skip: bool,
        threads: Option<usize>,
    ) -> PyResult<Answer<'py>> {
        computing()?;
        let dataset = images.dataset.clone();
        let computed = without_lock(py, || {
            let encoder = self.lock().map_err(Ended::Python)?;
            let plan = plan(&encoder, batch, dataset.len(), skip, threads);
            computed(&dataset, plan, |pixels, count| {
                let part = encoder.embed(pixels, count);
                Ok(vec![(part.values, part.dim)])
            })
        })?;
        answer(py, computed)
    }

    /// Features, means, variances and uncertainties of all images, and whether the variances are directions only;
    /// `None` where the encoder has no posterior.
    #[pyo3(signature = (images, batch, skip, threads))]
    fn posterior<'py>(
        &self,
        py: Python<'py>,
        images: &Images,
        batch: Option<usize>,
        skip: bool,
        threads: Option<usize>,
    ) -> PyResult<Option<(Answer<'py>, bool)>> {
        computing()?;
        let dataset = images.dataset.clone();
        let computed = without_lock(py, || {
            let encoder = self.lock().map_err(Ended::Python)?;
            if encoder.recipe.is_none() {
                return Ok(None);
            }
            // A run that goes on has another latest checkpoint meanwhile.
            let checkpoint = encoder.step.map(|step| format!("step-{step}"));
            let checkpoint = checkpoint.as_ref().unwrap_or(&self.checkpoint);
            let opened = Posteriors::open(&encoder.path, checkpoint, &encoder.device)?;
            let Some(posteriors) = opened else { return Ok(None) };
            let plan = plan(&encoder, batch, dataset.len(), skip, threads);
            let mut is_direction = false;
            let found = computed(&dataset, plan, |pixels, count| {
                let all = posteriors.of(pixels, count);
                is_direction = all.free_variance;
                let uncertainty = features(posterior::score(&all).unsqueeze_dim(1)); // [n] -> [n, 1]
                let own = match self.network {
                    Network::Teacher => all.teacher,
                    Network::Student => all.student.clone(),
                };
                let own = match encoder.pooling {
                    None => features(own.features),
                    // The posterior is of the network's own feature.
                    Some(_) => encoder.embed(pixels, count),
                };
                let parts = [
                    own,
                    features(all.student.gaussian.mean),
                    features(all.student.gaussian.variance),
                    uncertainty,
                ];
                Ok(parts.into_iter().map(|part| (part.values, part.dim)).collect())
            })?;
            Ok(Some((found, is_direction)))
        })?;
        computed.map(|(found, is_direction)| Ok((answer(py, found)?, is_direction))).transpose()
    }
}

impl Encoder {
    /// The network. Only work of `without_lock` may call it: a thread that waits here with the interpreter's lock would
    /// keep that from the thread that computes, which asks for it now and then.
    fn lock(&self) -> PyResult<std::sync::MutexGuard<'_, encoder::Encoder>> {
        self.encoder.lock().map_err(|_| {
            failed(anyhow::anyhow!("an earlier call panicked in this encoder; expected a new one"))
        })
    }
}

/// The pooling of this name, as `vssl embed --pooling` and recipes have it.
fn pooling_of(name: &str) -> PyResult<Pooling> {
    let known = [Pooling::Token, Pooling::Mean, Pooling::TokenMean];
    known.into_iter().find(|known| known.name() == name.replace('-', "_")).ok_or_else(|| {
        usage(anyhow::anyhow!(
            "pooling is {name:?}; expected \"token\", \"mean\", \"token-mean\" or None"
        ))
    })
}

/// What an encoder is, as JSON.
fn info(encoder: &encoder::Encoder) -> String {
    let recipe = encoder.recipe.as_ref();
    let value = json!({
        "path": encoder.path.to_string_lossy(),
        "architecture": encoder.config.architecture().name(),
        "backbone": encoder.config,
        "dim": encoder.config.dim(),
        "pooling": encoder.config.pooling().map(Pooling::name),
        "size": encoder.input.size,
        "resize": encoder.input.resize,
        "mean": encoder.input.normalisation.mean,
        "std": encoder.input.normalisation.std,
        "network": encoder.network,
        "step": encoder.step,
        "method": recipe.map(|recipe| recipe.method.name()),
        "has_posterior": recipe.is_some_and(|recipe| recipe.method.has_posterior()),
        "device": format!("{:?}", encoder.device),
    });
    value.to_string()
}

/// How a set is read: as `vssl embed` reads it.
fn plan(
    encoder: &encoder::Encoder,
    batch: Option<usize>,
    images: usize,
    skip: bool,
    threads: Option<usize>,
) -> EvaluationPlan {
    let on_bad_image = if skip { OnBadImage::Skip } else { OnBadImage::Stop };
    let reading = Reading { on_bad_image, workers: workers(threads), ..Reading::default() };
    let mut plan = encoder.plan(&reading);
    plan.batch = batch.unwrap_or_else(|| encoder.batch()).min(images).max(1);
    plan
}

/// Brings all images to `network`, which gives arrays of one row an image.
fn computed(
    dataset: &std::sync::Arc<dyn vssl_data::Dataset>,
    plan: EvaluationPlan,
    mut network: impl FnMut(&[f32], usize) -> Result<Vec<Rows>, Ended>,
) -> Result<Computed, Ended> {
    let mut found = Computed { arrays: Vec::new(), indices: Vec::new(), left_out: Vec::new() };
    vssl_kernels::release_buffers();
    let data = |error: DataError| Ended::from(EncoderError::from(error));
    for batch in EvaluationLoader::new(dataset.clone(), plan).map_err(data)? {
        let batch = batch.map_err(data)?;
        found.left_out.extend(batch.left_out.iter().map(ToString::to_string));
        if !batch.indices.is_empty() {
            let parts = network(&batch.pixels, batch.indices.len())?;
            found.arrays.resize_with(parts.len(), Rows::default);
            for ((values, dim), (part, columns)) in found.arrays.iter_mut().zip(parts) {
                values.extend(part);
                *dim = columns;
            }
            found.indices.extend(batch.indices);
        }
        check_signals()?;
    }
    vssl_kernels::release_buffers();
    Ok(found)
}

fn answer(py: Python<'_>, computed: Computed) -> PyResult<Answer<'_>> {
    let Computed { arrays, indices, left_out } = computed;
    let rows = indices.len();
    let array = |(values, dim): Rows| PyArray1::from_vec(py, values).reshape([rows, dim]);
    let arrays = arrays.into_iter().map(array).collect::<PyResult<_>>()?;
    let indices = indices.into_iter().map(|index| index as i64).collect();
    Ok((arrays, PyArray1::from_vec(py, indices), left_out))
}
