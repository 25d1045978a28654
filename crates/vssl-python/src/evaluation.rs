//! Evaluations of features in arrays.

use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;
use vssl::{
    eval::{
        EvalError, knn as nearest,
        linear::{self, LinearConfig, Stop},
        neighbours::Distance,
        quality::{self, LidarSettings},
        spectrum as shape,
    },
    features::Features,
    run::task::Task,
};

use crate::errors::{Ended, computing, failed, usage, without_lock};

type Rows<'py> = PyReadonlyArray2<'py, f32>;
type Labels<'py> = PyReadonlyArray1<'py, i64>;

fn features(rows: &Rows<'_>, labels: Option<&Labels<'_>>) -> PyResult<Features> {
    let contiguous = |_| usage(anyhow::anyhow!("expected a contiguous array"));
    let values = rows.as_slice().map_err(contiguous)?.to_vec();
    let labels = labels.map(|labels| labels.as_slice().map(<[i64]>::to_vec)).transpose();
    let labels = labels.map_err(|_| usage(anyhow::anyhow!("expected a contiguous array")))?;
    Ok(Features { rows: rows.shape()[0], dim: rows.shape()[1], values, labels })
}

/// A figure that cannot be computed: of wrong arguments, as most are.
fn refused(error: EvalError) -> PyErr {
    match error {
        error @ EvalError::Features(_) => failed(error),
        error => usage(error),
    }
}

fn figure<T: Send>(
    py: Python<'_>,
    compute: impl FnOnce() -> Result<T, EvalError> + Send,
) -> PyResult<T> {
    computing()?;
    without_lock(py, || compute().map_err(|error| Ended::Failed(refused(error))))
}

/// For each k and each temperature: top-1, top-5 and the balanced top-1.
#[pyfunction]
pub fn knn(
    py: Python<'_>,
    known: (Rows<'_>, Labels<'_>),
    asked: (Rows<'_>, Labels<'_>),
    ks: Vec<usize>,
    temperatures: Vec<f64>,
    distance: &str,
) -> PyResult<Vec<(usize, f64, [f64; 3])>> {
    let distance = match distance {
        "cosine" => Distance::Cosine,
        "euclidean" => Distance::Euclidean,
        other => {
            return Err(usage(anyhow::anyhow!(
                "distance is {other:?}; expected \"cosine\" or \"euclidean\""
            )));
        }
    };
    let (train, test) = (features(&known.0, Some(&known.1))?, features(&asked.0, Some(&asked.1))?);
    let cells = figure(py, || nearest::grid(&train, &test, &[distance], &ks, &temperatures))?;
    let cell = |cell: nearest::KnnAccuracy| {
        let figures = [cell.accuracy.top1, cell.accuracy.top5, cell.balanced_top1];
        (cell.k, cell.temperature, figures)
    };
    Ok(cells.into_iter().map(cell).collect())
}

/// Top-1, top-5 and the balanced top-1; λ, the λ that were tried with their top-1, iterations, and why they ended.
type Probe = ([f64; 3], f64, Vec<(f64, f64)>, usize, &'static str);

/// A linear probe.
#[pyfunction]
pub fn linear_probe(
    py: Python<'_>,
    known: (Rows<'_>, Labels<'_>),
    asked: (Rows<'_>, Labels<'_>),
    l2: Option<Vec<f64>>,
    tolerance: Option<f64>,
    iterations: Option<usize>,
) -> PyResult<Probe> {
    let (train, test) = (features(&known.0, Some(&known.1))?, features(&asked.0, Some(&asked.1))?);
    let own = LinearConfig::default();
    let config = LinearConfig {
        l2: l2.unwrap_or(own.l2),
        tolerance: tolerance.unwrap_or(own.tolerance),
        iterations: iterations.unwrap_or(own.iterations),
    };
    let fit = || linear::linear_probe_watched(&train, &test, &config, &Task::default());
    let found = figure(py, fit)?;
    let balanced = found.confusion.balanced_top1().unwrap_or(f64::NAN);
    let stop = match found.stop {
        Stop::Gradient => "gradient",
        Stop::Precision => "precision",
        Stop::Iterations => "iterations",
    };
    let figures = [found.accuracy.top1, found.accuracy.top5, balanced];
    Ok((figures, found.l2, found.tried, found.iterations, stop))
}

/// Effective rank, spread, mean cosine, and the singular values.
#[pyfunction]
pub fn spectrum(py: Python<'_>, rows: Rows<'_>) -> PyResult<(f64, f64, f64, Vec<f64>)> {
    let rows = features(&rows, None)?;
    let found = figure(py, || shape::spectrum(&rows))?;
    Ok((found.effective_rank, found.spread, found.mean_cosine, found.singular_values))
}

/// RankMe.
#[pyfunction]
pub fn rank_me(py: Python<'_>, rows: Rows<'_>, eps: Option<f64>) -> PyResult<f64> {
    let rows = features(&rows, None)?;
    figure(py, || quality::rank_me_with(&rows, eps.unwrap_or(quality::RANK_ME_EPS)))
}

/// α-ReQ: by the weighted fit and by the unweighted one.
#[pyfunction]
pub fn alpha_req(
    py: Python<'_>,
    rows: Rows<'_>,
    range: Option<(usize, usize)>,
) -> PyResult<(f64, f64)> {
    let rows = features(&rows, None)?;
    let range = range.map_or(quality::PUBLISHED_RANGE, |(start, end)| start..end);
    let spectrum = figure(py, || quality::covariance_spectrum(&rows))?;
    let found = quality::alpha_req(&spectrum, range);
    Ok((found.weighted, found.unweighted))
}

/// LiDAR, its entropy, and the largest eigenvalue.
#[pyfunction]
pub fn lidar(
    py: Python<'_>,
    rows: Rows<'_>,
    views: usize,
    delta: Option<f64>,
    epsilon: Option<f64>,
) -> PyResult<(f64, f64, f64)> {
    let rows = features(&rows, None)?;
    let own = LidarSettings::default();
    let settings = LidarSettings {
        delta: delta.unwrap_or(own.delta),
        epsilon: epsilon.unwrap_or(own.epsilon),
    };
    let found = figure(py, || quality::lidar(&rows, views, settings))?;
    Ok((found.lidar, found.entropy, found.top_eigenvalue))
}
