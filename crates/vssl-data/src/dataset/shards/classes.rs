//! The labels of images in shards, and the names of their classes.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::found::Found;
use super::super::{Labels, read};
use super::part::{NO_LABEL, Part};
use crate::DataError;
use crate::counted::having;

/// The largest number of classes: a larger number in a shard is no class.
const MOST_CLASSES: u32 = 1 << 20;

/// The file of the names of classes, one a line in the order of their numbers.
const FILE: &str = "classes.txt";

/// The labels of both splits.
pub(super) struct Labelled {
    pub(super) train: Option<Vec<u32>>,
    pub(super) judged: Option<Vec<u32>>,
    pub(super) classes: Vec<String>,
}

/// The names of the classes in `classes.txt` in the folder of the shards; none without such a file.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn named(root: &Path) -> Result<Vec<String>, DataError> {
    Ok(read::lines(&root.join(FILE))?.unwrap_or_default())
}

impl Labelled {
    /// The labels that the parts have, as `labels` asks for. `named` are the names of the classes, where they are
    /// known.
    ///
    /// # Errors
    /// Labels that are asked for and missing; numbers that are no classes; classes of the images to evaluate on
    /// that training does not have.
    pub(super) fn of(
        root: &Path,
        (train, judged): (&[Part], Option<&[Part]>),
        (labels, named): (Labels, Vec<String>),
        found: &mut Found,
    ) -> Result<Self, DataError> {
        let none = Self { train: None, judged: None, classes: Vec::new() };
        if labels == Labels::None {
            return Ok(none);
        }
        let without = |parts: &[Part]| {
            parts.iter().flat_map(|part| &part.labels).filter(|label| **label == NO_LABEL).count()
        };
        if let missing @ 1.. = without(train) {
            if labels == Labels::Auto {
                found.taken.push(format!("no training labels: {} none", having(missing, "image")));
                return Ok(none);
            }
            return Err(DataError::Format {
                path: root.into(),
                what: format!("{} no label", having(missing, "training image")),
                expected: "a label for each, as data.labels asks; \"auto\" does without".into(),
            });
        }
        let judged = judged.filter(|parts| {
            let missing = without(parts);
            if missing > 0 {
                found.taken.push(format!(
                    "no labels of the images to evaluate on: {missing} of them have none"
                ));
            }
            missing == 0
        });
        let both = || train.iter().chain(judged.into_iter().flatten());
        if both().any(|part| !part.words.is_empty()) {
            return words(root, (train, judged));
        }
        numbers(root, (train, judged), named)
    }
}

/// Labels that are numbers.
fn numbers(
    root: &Path,
    (train, judged): (&[Part], Option<&[Part]>),
    named: Vec<String>,
) -> Result<Labelled, DataError> {
    let all = |parts: &[Part]| -> Vec<u32> {
        parts.iter().flat_map(|part| part.labels.iter().copied()).collect()
    };
    let (train_labels, judged_labels) = (all(train), judged.map(all));
    let largest = train_labels.iter().chain(judged_labels.iter().flatten()).max().copied();
    let count = largest.map_or(0, |largest| largest.saturating_add(1));
    if count > MOST_CLASSES {
        return Err(DataError::Format {
            path: root.into(),
            what: format!("the label {}", count - 1),
            expected: format!("numbers of classes below {MOST_CLASSES}"),
        });
    }
    let in_files = train.iter().map(|part| &part.class_names).find(|names| !names.is_empty());
    let mut classes = if named.is_empty() { in_files.cloned().unwrap_or_default() } else { named };
    if !classes.is_empty() && (count as usize) > classes.len() {
        return Err(DataError::Format {
            path: root.into(),
            what: format!("the label {}, and {} names of classes", count - 1, classes.len()),
            expected: "a name for every class".into(),
        });
    }
    let numbers = classes.len()..count as usize;
    classes.extend(numbers.map(|number| number.to_string()));
    Ok(Labelled { train: Some(train_labels), judged: judged_labels, classes })
}

/// Labels that are names: the classes are sorted by the bytes of their names.
fn words(root: &Path, (train, judged): (&[Part], Option<&[Part]>)) -> Result<Labelled, DataError> {
    // A shard whose labels all look like numbers may lie beside shards with names.
    let word = |part: &Part, label: u32| match part.words.get(label as usize) {
        Some(word) => word.clone(),
        None => label.to_string(),
    };
    let used = |part: &Part| -> BTreeSet<u32> { part.labels.iter().copied().collect() };
    let known: BTreeSet<String> = train
        .iter()
        .flat_map(|part| used(part).into_iter().map(move |label| word(part, label)))
        .collect();
    let classes: Vec<String> = known.into_iter().collect();
    let of = |parts: &[Part]| -> Result<Vec<u32>, DataError> {
        let mut labels = Vec::new();
        for part in parts {
            let mut places = std::collections::BTreeMap::new();
            for label in used(part) {
                let word = word(part, label);
                let place = classes.binary_search(&word).map_err(|_| DataError::Format {
                    path: root.into(),
                    what: format!("the class {word:?} of the images to evaluate on is no class of the training images"),
                    expected: format!("one of the {} classes of training", classes.len()),
                })?;
                places.insert(label, place as u32);
            }
            labels.extend(part.labels.iter().map(|label| places[label]));
        }
        Ok(labels)
    };
    let (train, judged) = (of(train)?, judged.map(of).transpose()?);
    Ok(Labelled { train: Some(train), judged, classes })
}
