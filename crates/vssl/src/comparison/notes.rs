//! Notes on a table: what keeps its rows from being compared, and what a reader needs to know.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    Column, Row,
    group::{Group, Settings, listed, matches_key, shortened, value, varying},
};

/// Settings that decide how much a run could learn and what it was tested on. The settings of optimiser,
/// schedule and method are not among them, because they are tuned for each method.
const BUDGET: [&str; 11] = [
    "backbone.",
    "init.from",
    "teacher.from",
    "views.",
    "data.",
    "train.epochs",
    "train.max_steps",
    "train.batch",
    "train.accumulate",
    "knn.",
    "probe.",
];

/// A note on the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The subject of the note.
    pub kind: NoteKind,
    /// The settings that the note is about.
    pub keys: Vec<String>,
    /// The note as a sentence.
    pub text: String,
}

impl Note {
    /// A note that a figure is missing, and why.
    pub(super) fn missing(text: String) -> Self {
        Self { kind: NoteKind::Missing, keys: Vec::new(), text }
    }

    /// A note that a method sees labels.
    pub(super) fn labels(method: &str) -> Self {
        let text = format!(
            "{method} sees the labels of the training images: its accuracies do not compare with those of methods that \
             learn without labels"
        );
        Self { kind: NoteKind::Labels, keys: Vec::new(), text }
    }

    /// A note that a run did not go on as it began.
    pub(super) fn course(text: String) -> Self {
        Self { kind: NoteKind::Course, keys: Vec::new(), text }
    }
}

/// The subject of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// Rows had different backbones, views, lengths, batches or data.
    Budget,
    /// What a number in the name of a row stands for.
    Name,
    /// A figure is missing, or is not of all seeds.
    Missing,
    /// A method sees labels, so that its accuracies do not compare with those of the others.
    Labels,
    /// A run is not one that went on as it began: its length or its images changed on the way.
    Course,
    /// The source of published values.
    Source,
}

/// All notes on the rows that are made of `groups`.
pub(super) fn notes(
    groups: &[Group],
    rows: &[Row],
    datasets: &[String],
    columns: &[Column],
) -> Vec<Note> {
    let mut notes = Vec::new();
    for dataset in datasets {
        let place = if datasets.len() > 1 { format!("{dataset}: ") } else { String::new() };
        notes.extend(budget(groups, dataset, &place));
    }
    let mut named = BTreeSet::new();
    for group in groups.iter().filter(|group| !group.explanation.is_empty()) {
        if named.insert(&group.name) {
            notes.push(Note {
                kind: NoteKind::Name,
                keys: group.explanation.iter().map(|(key, _)| key.clone()).collect(),
                text: format!("{}: {}", group.name, listed(&group.explanation)),
            });
        }
    }
    for row in rows {
        notes.extend(missing(row, columns, datasets.len() > 1));
    }
    for dataset in datasets {
        let place = if datasets.len() > 1 { format!("{dataset}: ") } else { String::new() };
        notes.extend(columns.iter().filter_map(|column| absent(rows, dataset, column, &place)));
    }
    notes
}

fn budget(groups: &[Group], dataset: &str, place: &str) -> Option<Note> {
    let own = groups.iter().filter(|group| !group.reference && group.dataset == dataset);
    let runs: Vec<(&str, &Settings)> = own
        .flat_map(|group| group.members.iter().map(|run| (group.name.as_str(), &run.settings)))
        .collect();
    let settings: Vec<&Settings> = runs.iter().map(|(_, settings)| *settings).collect();
    let counts = |key: &String| BUDGET.iter().any(|budget| matches_key(key, budget));
    let differing = varying(settings.iter().copied()).into_iter().filter(counts);
    let mut keys: BTreeSet<String> = differing.map(|key| shortened(&key, &settings)).collect();
    keys.extend(other_path(&settings));
    if keys.is_empty() {
        return None;
    }
    let told: Vec<String> = keys.iter().map(|key| told(key, &runs)).collect();
    let text = format!("{place}the budgets differ: {}", told.join("; "));
    Some(Note { kind: NoteKind::Budget, keys: keys.into_iter().collect(), text })
}

/// The key of the data's path, if it differs: folders of one name in different places may hold different
/// images. CIFAR is the same everywhere.
fn other_path(settings: &[&Settings]) -> Option<String> {
    let is_cifar = |s: &&&Settings| s.get("data.format").is_some_and(|f| f.contains("cifar"));
    let others = settings.iter().filter(|s| !is_cifar(s));
    let paths: BTreeSet<_> = others.map(|s| s.get("data.path")).collect();
    (paths.len() > 1).then(|| "data.path".to_owned())
}

/// A setting with its values and rows, such as `train.batch is 128 (byol, vssl) or 256 (barlow)`.
fn told(key: &str, runs: &[(&str, &Settings)]) -> String {
    let mut rows: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (name, settings) in runs {
        rows.entry(value(settings, key)).or_default().insert(name);
    }
    let parts: Vec<String> = rows
        .iter()
        .map(|(value, names)| {
            let names: Vec<&str> = names.iter().copied().collect();
            format!("{value} ({})", names.join(", "))
        })
        .collect();
    format!("{key} is {}", parts.join(" or "))
}

fn missing(row: &Row, columns: &[Column], names_dataset: bool) -> Vec<Note> {
    let mut notes = Vec::new();
    for entry in row.results.iter().filter(|entry| !entry.seeds.is_empty()) {
        let seeds = entry.seeds.len();
        for column in columns {
            let count = entry.figure(column).map_or(seeds, |placed| placed.figure.count);
            if count < seeds {
                let (name, title) = (&row.name, &column.title);
                let on =
                    if names_dataset { format!(" on {}", entry.dataset) } else { String::new() };
                let text = format!("{name}{on}: {title} is of {count} of {seeds} seeds");
                notes.push(Note::missing(text));
            }
        }
    }
    notes
}

/// A note on a figure that some rows of a dataset have and others do not, for instance because their runs had other
/// evaluators. Rows without learning count for nothing.
fn absent(rows: &[Row], dataset: &str, column: &Column, place: &str) -> Option<Note> {
    let own = rows.iter().filter(|row| !row.reference && row.on(dataset).is_some());
    let (with, without): (Vec<&Row>, Vec<&Row>) =
        own.partition(|row| row.on(dataset).is_some_and(|entry| entry.figure(column).is_some()));
    if with.is_empty() || without.is_empty() {
        return None;
    }
    let names: Vec<&str> = without.iter().map(|row| row.name.as_str()).collect();
    let text = format!(
        "{place}{} of {} rows have no {}: {}",
        without.len(),
        with.len() + without.len(),
        column.title,
        names.join(", ")
    );
    Some(Note::missing(text))
}
