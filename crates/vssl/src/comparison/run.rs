//! Reads a run from its folder: the recipe, the summary and the metrics.
//!
//! The recipe is read as plain TOML: it holds every setting, so that runs of another version, or of
//! methods that this version does not have, can be compared all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::Table;

use super::{
    ComparisonError, LeftOut, State,
    column::{EFFECTIVE_RANK, IMAGES_PER_SECOND, OFFLINE as OFFLINE_TOP1, ONLINE, SECONDS, Values},
};
use crate::{
    eval::evaluators::Judged,
    method::learner::Network,
    recipe,
    run::{
        events::Summary,
        folder::{self, LINEAR, RECIPE, RunFolderError, SUMMARY},
        history::{self, Entry},
        images::Images,
        json_lines::JsonLinesError,
        metrics,
        resume::changes_of_course,
    },
    supervised,
};

/// A run that was trained to its last step.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) folder: PathBuf,
    pub(super) method: String,
    pub(super) seed: u64,
    pub(super) dataset: String,
    /// Every setting as TOML, by key.
    pub(super) settings: BTreeMap<String, String>,
    pub(super) values: Values,
    /// Figures of the encoder before its first step.
    pub(super) untrained: Values,
    /// Of the encoder that the run started from.
    pub(super) before: Values,
    /// Figures of the pixels themselves.
    pub(super) pixels: Values,
    pub(super) summary: Summary,
    /// Why a figure in the folder was left out, if one was.
    pub(super) remark: Option<String>,
    /// A note on a run whose length or images changed on the way.
    pub(super) course: Option<String>,
}

/// The content of a run folder.
pub(super) enum Found {
    Finished(Box<Run>),
    LeftOut(LeftOut),
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> ComparisonError {
    let path = path.to_owned();
    move |source| ComparisonError::Io { path, source }
}

/// All run folders in and below `paths`, in the order of their names, each once.
///
/// # Errors
/// A path that neither is nor holds a run folder, a folder that cannot be read.
pub fn folders(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ComparisonError> {
    let (mut all, mut known) = (Vec::new(), BTreeSet::new());
    for path in paths {
        let mut found = Vec::new();
        walk(path, &mut BTreeSet::new(), &mut found)?;
        if found.is_empty() {
            return Err(ComparisonError::NoRun { path: path.clone() });
        }
        all.extend(found.into_iter().filter(|(real, _)| known.insert(real.clone())));
    }
    Ok(all.into_iter().map(|(_, folder)| folder).collect())
}

/// Adds each run folder with its real path. `visited` holds the real paths of the folders that were
/// listed already, because links may lead in a circle.
fn walk(
    path: &Path,
    visited: &mut BTreeSet<PathBuf>,
    found: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<(), ComparisonError> {
    let real = fs::canonicalize(path).map_err(io(path))?;
    if !real.is_dir() || !visited.insert(real.clone()) {
        return Ok(());
    }
    if folder::is_run(path) {
        found.push((real, path.to_owned()));
        return Ok(());
    }
    let mut below = Vec::new();
    for entry in fs::read_dir(path).map_err(io(path))? {
        let entry = entry.map_err(io(path))?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // A broken link is not a folder.
        if !is_hidden && entry.path().is_dir() {
            below.push(entry.path());
        }
    }
    below.sort();
    below.iter().try_for_each(|path| walk(path, visited, found))
}

/// Returns why the last start of the run in `folder` failed; `None` where it did not, as far as its events tell.
fn failure(folder: &Path) -> Option<String> {
    match history::read(folder).ok()?.pop()? {
        Entry::Failed { message, .. } => Some(message),
        _ => None,
    }
}

/// Returns why a run whose last logged step is `last_step` has no result.
fn without_result(folder: &Path, last_step: Option<u64>) -> String {
    let reached = last_step
        .map_or("no step was logged".to_owned(), |step| format!("its last logged step is {step}"));
    let end = match failure(folder) {
        Some(message) => format!("it failed: {}", message.lines().next().unwrap_or_default()),
        None => "it is running or was killed".to_owned(),
    };
    format!("no {SUMMARY}: {end}; {reached}")
}

/// Returns why a result is not one of the run with this method and seed, where it is not.
fn of_another_run(summary: &Summary, method: &str, seed: u64) -> Option<String> {
    let is_own = summary.method == method && summary.seed == seed;
    (!is_own).then(|| {
        format!(
            "{SUMMARY} is of {} with seed {}, {RECIPE} of {method} with seed {seed}",
            summary.method, summary.seed
        )
    })
}

/// Reads the run in `folder`, which has a recipe.
pub(super) fn read(folder: &Path) -> Result<Found, ComparisonError> {
    let mut left_out = LeftOut {
        run: folder.to_owned(),
        method: None,
        seed: None,
        state: State::Damaged,
        reason: String::new(),
    };
    let damaged = |left_out: LeftOut, reason: String| {
        Ok(Found::LeftOut(LeftOut { state: State::Damaged, reason, ..left_out }))
    };
    let (method, seed, recipe) = match recipe(folder)? {
        Ok(recipe) => recipe,
        Err(problem) => return damaged(left_out, format!("{RECIPE}: {problem}")),
    };
    (left_out.method, left_out.seed) = (Some(method.clone()), Some(seed));
    let Measured { last_step, effective_rank, remark: unread } = measured(folder)?;
    let summary: Summary = match result(folder)? {
        Ok(Some(summary)) => summary,
        Ok(None) => {
            let reason = without_result(folder, last_step);
            return Ok(Found::LeftOut(LeftOut { state: State::Unfinished, reason, ..left_out }));
        }
        Err(problem) => return damaged(left_out, format!("{SUMMARY}: {problem}")),
    };
    if let Some(reason) = of_another_run(&summary, &method, seed) {
        return damaged(left_out, reason);
    }
    if summary.interrupted {
        let reason = format!("stopped on request after step {}", summary.steps);
        return Ok(Found::LeftOut(LeftOut { state: State::Interrupted, reason, ..left_out }));
    }
    let (offline, remark) = match offline(&folder.join(LINEAR), &summary)? {
        Ok(found) => found,
        Err(problem) => return damaged(left_out, format!("{LINEAR}/{SUMMARY}: {problem}")),
    };
    let remark = remark.or(unread);
    let settings = recipe::upgraded(recipe.clone());
    let settings = recipe::leaves(&settings)
        .into_iter()
        .map(|(key, value)| (key.join("."), value.to_string()));
    let course = changes_of_course(&summary.notes).join("; ");
    let course = (!course.is_empty()).then(|| format!("{}: {course}", folder.display()));
    Ok(Found::Finished(Box::new(Run {
        course,
        folder: folder.to_owned(),
        method,
        seed,
        dataset: dataset(&recipe),
        settings: settings.collect(),
        values: values(&summary, offline, effective_rank),
        untrained: Judged::Untrained.of(&summary),
        before: Judged::Before.of(&summary),
        pixels: Judged::Pixels.of(&summary),
        remark: remark.map(|remark| format!("{}: {remark}", folder.display())),
        summary,
    })))
}

/// Top-1 accuracy of the linear evaluation of a run, if one was finished; or a remark, if it belongs to
/// other weights: to an earlier checkpoint, or to a run that this run replaced.
type Offline = (Option<f64>, Option<String>);

fn offline(folder: &Path, run: &Summary) -> Result<Result<Offline, String>, ComparisonError> {
    let linear: supervised::Summary = match result(folder)? {
        Ok(Some(linear)) => linear,
        Ok(None) => return Ok(Ok((None, None))),
        Err(problem) => return Ok(Err(problem)),
    };
    // Labels that the run did not read, and images that were repaired, do not make them others.
    let same = |own: &Images, other: &Images| match (&own.validation, &other.validation) {
        (Some(own), Some(other)) => other.keeps_names_of(own),
        (own, other) => own == other,
    };
    if let (Some(own), Some(other)) = (run.images.as_deref(), linear.images.as_ref())
        && !same(own, other)
    {
        let remark = format!("{LINEAR}/{SUMMARY} is of other validation images: it is left out");
        return Ok(Ok((None, Some(remark))));
    }
    if linear.network == Some(Network::Teacher) {
        let remark = format!("{LINEAR}/{SUMMARY} is of the teacher: it is left out");
        return Ok(Ok((None, Some(remark))));
    }
    let encoder = (linear.encoder_step, linear.method.as_ref(), linear.pretraining_seed);
    if encoder == (Some(run.steps), Some(&run.method), Some(run.seed)) {
        return Ok(Ok((linear.top1.filter(|_| !linear.interrupted), None)));
    }
    let step = linear.encoder_step.map_or("no step".to_owned(), |step| format!("step {step}"));
    Ok(Ok((
        None,
        Some(format!(
            "{LINEAR}/{SUMMARY} is of {step}, method {} and seed {}, not of the encoder after the last \
             step, {}: it is left out",
            linear.method.as_deref().unwrap_or("unknown"),
            linear.pretraining_seed.map_or("unknown".to_owned(), |seed| seed.to_string()),
            run.steps
        )),
    )))
}

fn values(summary: &Summary, offline: Option<f64>, effective_rank: Option<f64>) -> Values {
    let others = [
        (ONLINE, summary.online_top1),
        (OFFLINE_TOP1, offline),
        (EFFECTIVE_RANK, effective_rank),
        (SECONDS, Some(summary.seconds)),
        (IMAGES_PER_SECOND, Some(summary.images_per_s)),
    ];
    let others = others.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Judged::Trained.of(summary).into_iter().chain(others).collect()
}

/// The result in `folder`, `None` before there is one; inside, what is wrong with it.
fn result<S: DeserializeOwned>(
    folder: &Path,
) -> Result<Result<Option<S>, String>, ComparisonError> {
    match folder::summary_of(folder) {
        Err(RunFolderError::Summary { what, .. }) => Ok(Err(what)),
        summary => Ok(Ok(summary?)),
    }
}

/// Method, seed and all settings of the run in `folder`; inside, what is wrong with its recipe.
fn recipe(folder: &Path) -> Result<Result<(String, u64, Table), String>, ComparisonError> {
    match folder::recipe_of(folder) {
        Err(RunFolderError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
            Ok(Err(source.to_string()))
        }
        text => Ok(parsed(&text?)),
    }
}

fn parsed(text: &str) -> Result<(String, u64, Table), String> {
    let recipe: Table =
        text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let method = recipe.get("method").and_then(toml::Value::as_str);
    let method = method.ok_or("it does not name its method; expected method = \"…\"")?.to_owned();
    let seed = match recipe.get("seed") {
        None => 0,
        Some(seed) => {
            let number = seed.as_integer().and_then(|seed| u64::try_from(seed).ok());
            number.ok_or_else(|| format!("seed = {seed}: expected a whole number from 0 up"))?
        }
    };
    Ok((method, seed, recipe))
}

/// Name of the dataset. CIFAR and ImageNet-100 are the same wherever they lie; other images are named
/// after their folder.
fn dataset(recipe: &Table) -> String {
    let data = recipe.get("data").and_then(toml::Value::as_table);
    let text = |key: &str| data?.get(key)?.as_str();
    let format = text("format").unwrap_or("folder");
    if format.starts_with("cifar") || format == "imagenet100" {
        return format.to_owned();
    }
    let name = text("path").and_then(|path| Path::new(path).file_name());
    name.map_or(format.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What the figures of a run say.
#[derive(Default)]
struct Measured {
    last_step: Option<u64>,
    /// The effective rank that was measured last.
    effective_rank: Option<f64>,
    /// Why there is none of these.
    remark: Option<String>,
}

fn measured(folder: &Path) -> Result<Measured, ComparisonError> {
    let lines = match metrics::read(folder) {
        Ok(lines) => lines,
        Err(damaged @ JsonLinesError::Damaged { .. }) => {
            let remark = Some(format!("its figures are left out: {damaged}"));
            return Ok(Measured { remark, ..Measured::default() });
        }
        Err(error) => return Err(error.into()),
    };
    let last_step = lines.last().map(|line| line.step);
    let effective_rank = lines.iter().rev().find_map(|line| line.figure("health/effective_rank"));
    Ok(Measured { last_step, effective_rank, remark: None })
}
