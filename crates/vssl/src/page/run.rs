//! Reads what the page shows of a run without its encoder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;
use vssl_data::dataset::Format;

use super::{
    PageError,
    classes::{ClassView, classes},
    figures::{FigureView, figures},
    verdict::{Verdict, verdict},
};
use crate::{
    methods,
    recipe::Recipe,
    run::{
        events::{StartedFrom, Summary, TaughtBy},
        folder::{self, RunFolderError},
        history::{self, Entry},
        json_lines::JsonLinesError,
        metrics::{self, Line},
    },
};

/// Largest number of points of a curve. Longer curves are averaged over neighbouring lines: a screen
/// has fewer columns, and the page stays small.
const MOST_POINTS: usize = 4000;

/// Number of the latest warnings that are shown.
const WARNINGS: usize = 20;

/// A run as the page holds it.
#[derive(Clone, Debug, Serialize)]
pub struct RunView {
    /// Name of the run folder.
    pub name: String,
    /// Path of the run folder, as it was given.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub folder: PathBuf,
    /// State of the run.
    pub state: State,
    /// Name of the method; empty before there is a recipe.
    pub method: String,
    /// Whether the method sees the labels of the training images.
    pub sees_labels: bool,
    /// The method in a sentence, and its paper.
    pub about: [String; 2],
    /// Seed of the run.
    pub seed: u64,
    /// Name of the training images.
    pub dataset: String,
    /// Name of the network.
    pub backbone: String,
    /// The encoder that the run started from; `None` for random weights.
    pub start: Option<StartedFrom>,
    /// The frozen teacher; `None` for a method without one.
    pub teacher: Option<TaughtBy>,
    /// Number of images of a step.
    pub batch: usize,
    /// Number of steps done, and of the whole run where it is known.
    pub steps: (u64, Option<u64>),
    /// The result, once there is one.
    pub summary: Option<Summary>,
    /// The figures of the result.
    pub figures: Vec<FigureView>,
    /// The accuracies by class, and a note on those that cannot be read.
    pub classes: (Vec<ClassView>, Option<String>),
    /// Whether the features are alive.
    pub verdict: Verdict,
    /// Limits of `health/effective_rank` and `health/spread`, below which a run warns.
    pub limits: BTreeMap<&'static str, f64>,
    /// The latest warnings.
    pub warnings: Vec<String>,
    /// What was left out of the files of the run because it is damaged.
    pub remarks: Vec<String>,
    /// Figures of logged steps.
    pub training: Curves,
    /// Figures of evaluations between epochs.
    pub evaluations: Curves,
    /// The resolved recipe.
    pub recipe: String,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// There is no recipe yet.
    Waiting,
    /// A process is at work on the run.
    Running,
    /// The run was trained to its last step.
    Finished,
    /// The run was stopped on request.
    Stopped,
    /// The run is neither running nor finished: it was killed, or ended with an error.
    Unfinished,
}

/// Figures over steps.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Curves {
    /// Steps done.
    pub steps: Vec<u64>,
    /// Number of logged lines that each point is the mean of.
    pub lines_a_point: usize,
    /// The values by the figures' names; `None` for a value that was not measured.
    pub series: BTreeMap<String, Vec<Option<f32>>>,
}

impl RunView {
    /// Reads the run in `folder`. A folder without a recipe is [`State::Waiting`].
    ///
    /// # Errors
    /// Files that are damaged or cannot be read.
    pub fn read(folder: &Path) -> Result<Self, PageError> {
        if !folder::is_run(folder) {
            return Ok(Self::waiting(folder));
        }
        let recipe_text = folder::recipe_of(folder)?;
        let recipe = methods::recipe_from(&recipe_text).map_err(|source| PageError::Recipe {
            path: folder.join(folder::RECIPE),
            source: Box::new(source),
        })?;
        let (lines, damaged) = metrics::readable(folder)?;
        let (history, more) = history::readable(folder)?;
        let mut remarks: Vec<String> =
            [left_out(&damaged), left_out(&more)].into_iter().flatten().collect();
        let summary = result(folder, &mut remarks)?;
        let (evaluations, steps): (Vec<Line>, Vec<Line>) =
            lines.into_iter().partition(|line| line.evaluation);
        let warnings: Vec<String> = history.iter().filter_map(warning).collect();
        let latest = warnings.len().saturating_sub(WARNINGS);
        // Nothing is known of a method of the user's own but its name.
        let about = methods::find(recipe.method.name()).map_or_else(Default::default, |method| {
            [method.summary, method.paper].map(str::to_owned)
        });
        let logged = steps.last().map_or(0, |line| line.step);
        let done = summary.as_ref().map_or(logged, |summary| summary.steps);
        Ok(Self {
            state: state(folder, summary.as_ref()),
            method: recipe.method.name().to_owned(),
            sees_labels: recipe.method.sees_labels(),
            about,
            seed: recipe.seed,
            dataset: dataset(&recipe),
            backbone: backbone(&recipe),
            start: recipe.init.as_ref().map(StartedFrom::of),
            teacher: recipe.teacher.as_ref().map(TaughtBy::of),
            batch: recipe.train.batch,
            steps: (done, total(&history, summary.as_ref())),
            verdict: verdict(&steps, &recipe.health, warnings.len()),
            limits: BTreeMap::from([
                ("health/effective_rank", recipe.health.min_rank),
                ("health/spread", recipe.health.min_spread),
            ]),
            warnings: warnings[latest..].iter().chain(&remarks).cloned().collect(),
            remarks,
            training: Curves::of(&steps),
            evaluations: Curves::of(&evaluations),
            recipe: recipe_text,
            figures: figures(summary.as_ref()),
            classes: classes(folder, summary.as_ref()),
            summary,
            ..Self::waiting(folder)
        })
    }

    /// The view of a folder without a recipe.
    pub fn waiting(folder: &Path) -> Self {
        // A name such as `.` or `..` is replaced by the name of the folder that it leads to.
        let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = real.file_name().unwrap_or(folder.as_os_str());
        Self {
            name: name.to_string_lossy().into_owned(),
            folder: folder.to_owned(),
            state: State::Waiting,
            method: String::new(),
            sees_labels: false,
            about: Default::default(),
            seed: 0,
            dataset: String::new(),
            backbone: String::new(),
            start: None,
            teacher: None,
            batch: 0,
            steps: (0, None),
            summary: None,
            figures: figures(None),
            classes: (Vec::new(), None),
            verdict: Verdict { level: "unknown", text: "nothing was logged yet".to_owned() },
            limits: BTreeMap::new(),
            warnings: Vec::new(),
            remarks: Vec::new(),
            training: Curves::default(),
            evaluations: Curves::default(),
            recipe: String::new(),
        }
    }

    /// Whether any figure was logged.
    pub fn has_figures(&self) -> bool {
        !self.training.steps.is_empty() || !self.evaluations.steps.is_empty()
    }
}

impl Curves {
    fn of(lines: &[Line]) -> Self {
        let lines_a_point = lines.len().div_ceil(MOST_POINTS).max(1);
        let mut curves = Self { lines_a_point, ..Self::default() };
        for (point, lines) in lines.chunks(lines_a_point).enumerate() {
            curves.steps.push(lines.last().map_or(0, |line| line.step));
            let mut sums = BTreeMap::<&str, (f64, u32)>::new();
            for (name, value) in lines.iter().flat_map(|line| &line.figures) {
                let (sum, count) = sums.entry(name).or_default();
                *sum += value;
                *count += 1;
            }
            for (name, (sum, count)) in sums {
                let values = curves.series.entry(name.to_owned()).or_default();
                values.resize(point, None);
                values.push(Some((sum / f64::from(count)) as f32));
            }
        }
        let points = curves.steps.len();
        curves.series.values_mut().for_each(|values| values.resize(points, None));
        curves
    }
}

/// Returns the result of the run in `folder`, if it has one. A remark says that it is damaged.
fn result(folder: &Path, remarks: &mut Vec<String>) -> Result<Option<Summary>, PageError> {
    let summary: Option<Summary> = match folder::summary_of(folder) {
        Err(RunFolderError::Summary { path, what }) => {
            let path = path.display();
            remarks.push(format!("the result is left out: {path} is damaged: {what}"));
            None
        }
        summary => summary?,
    };
    // The folder may have been moved or copied since.
    Ok(summary.map(|summary| Summary { run: folder.to_owned(), ..summary }))
}

fn state(folder: &Path, summary: Option<&Summary>) -> State {
    // A run that was resumed still has the summary of its stop. In a folder that cannot be written to, no
    // process is at work.
    if folder::is_busy(folder).unwrap_or(false) {
        return State::Running;
    }
    match summary {
        Some(summary) if summary.interrupted => State::Stopped,
        Some(_) => State::Finished,
        None => State::Unfinished,
    }
}

/// A remark on the damaged lines of a file: their number, and the first one.
fn left_out(damaged: &[JsonLinesError]) -> Option<String> {
    let first = damaged.first()?;
    Some(format!("damaged lines that are left out: {}; {first}", damaged.len()))
}

fn warning(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Failed { step, message } => Some(format!("step {step}: the run failed: {message}")),
        Entry::Warning { step, message } => Some(format!("step {step}: {message}")),
        _ => None,
    }
}

/// Steps of the whole run, as its last start said; in a run of an earlier version, which has no history,
/// those of a finished one.
fn total(history: &[Entry], summary: Option<&Summary>) -> Option<u64> {
    let said = history.iter().rev().find_map(|entry| match entry {
        Entry::Started { steps, .. } => Some(*steps),
        _ => None,
    });
    said.or(summary.filter(|summary| !summary.interrupted).map(|summary| summary.steps))
}

fn dataset(recipe: &Recipe) -> String {
    let name = match recipe.data.format {
        // CIFAR and STL-10 are the same wherever they lie; other images are named after their folder.
        Format::Cifar10 => "CIFAR-10".to_owned(),
        Format::Cifar100 => "CIFAR-100".to_owned(),
        Format::Stl10 => "STL-10".to_owned(),
        _ => {
            let name = recipe.data.path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.unwrap_or_else(|| "images".to_owned())
        }
    };
    match recipe.data.source().limit_train {
        Some(limit) => format!("{name}, {limit} training images"),
        None => name,
    }
}

fn backbone(recipe: &Recipe) -> String {
    let value = serde_json::to_value(&recipe.backbone).unwrap_or_default();
    let name = value.get("architecture").and_then(|name| name.as_str()).unwrap_or("backbone");
    match value.get("width").and_then(serde_json::Value::as_u64) {
        Some(width) => format!("{name}, width {width}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: u64) -> Vec<Line> {
        let line = |step| Line {
            evaluation: false,
            step,
            epoch: 0,
            figures: match step % 2 {
                0 => vec![("loss".to_owned(), step as f64), ("lr".to_owned(), 1.0)],
                _ => vec![("loss".to_owned(), step as f64)],
            },
        };
        (1..=count).map(line).collect()
    }

    #[test]
    fn values_that_were_not_measured_stay_missing() {
        let curves = Curves::of(&lines(3));
        assert_eq!(curves.steps, [1, 2, 3]);
        assert_eq!(curves.series["loss"], [Some(1.0), Some(2.0), Some(3.0)]);
        assert_eq!(curves.series["lr"], [None, Some(1.0), None]);
    }

    #[test]
    fn long_runs_are_averaged_and_say_so() {
        let curves = Curves::of(&lines(MOST_POINTS as u64 * 3 - 1));
        assert_eq!((curves.lines_a_point, curves.steps.len()), (3, MOST_POINTS));
        assert_eq!(curves.series["loss"][0], Some(2.0));
        assert_eq!(curves.steps[0], 3);
        assert!(curves.series.values().all(|values| values.len() == MOST_POINTS));
    }
}
