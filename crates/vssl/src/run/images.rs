//! Fingerprints of the images of a training, so that a training that goes on notices other images.
//!
//! The order of the images, the steps of an epoch and every schedule depend on the number of images. A
//! training computes the fingerprints when it is planned and keeps them in its checkpoints.

use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vssl_data::Dataset;

use super::digest::sha256;

/// The number of images that one thread looks at in one go.
const CHUNK: usize = 256;

/// The fingerprints of both splits: what a set of images is, wherever it lies and whatever its folder is
/// called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// The images to learn from.
    pub training: Fingerprint,
    /// The images to evaluate on; `None` without a validation split.
    pub validation: Option<Fingerprint>,
    /// The number of classes; `None` without labels, and in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
}

/// The fingerprint of the images of a split. Two are equal if the images are: `names`, which only some files
/// have, is not compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The number of images.
    pub count: usize,
    /// The SHA-256 of their names within the set, stored sizes and labels, in their order.
    pub digest: String,
    /// The SHA-256 of their names alone: an image that was repaired keeps its name and its place. `None` in
    /// checkpoints of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<String>,
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        (self.count, &self.digest) == (other.count, &other.digest)
    }
}

impl Eq for Fingerprint {}

/// A split whose images have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name of the split: `training` or `validation`.
    pub split: &'static str,
    /// The number of images before.
    pub was: usize,
    /// The number of images now.
    pub now: usize,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { split, was, now } = self;
        match was == now {
            true => {
                write!(f, "{split} images: {was} as before, but with other names, sizes or labels")
            }
            false => write!(f, "{split} images: {was} then, {now} now"),
        }
    }
}

impl Fingerprint {
    /// Computes the fingerprint of one split. Asks the file system for the size of each file.
    pub fn of(images: &dyn Dataset) -> Self {
        let count = images.len();
        let labels = images.labels();
        let line = |index: usize| {
            let label = labels.map_or(String::new(), |labels| labels[index].to_string());
            match images.stored_as(index) {
                Some((name, bytes)) => {
                    let line = format!("{name}\0{bytes}\0{label}\n");
                    (line, name + "\n")
                }
                None => (format!("\0\0{label}\n"), "\n".to_owned()),
            }
        };
        let starts: Vec<usize> = (0..count).step_by(CHUNK).collect();
        let chunk = |&start: &usize| -> (String, String) {
            (start..count.min(start + CHUNK)).map(line).unzip()
        };
        let (lines, names): (Vec<String>, Vec<String>) = starts.par_iter().map(chunk).unzip();
        Self { count, digest: sha256(&lines), names: Some(sha256(&names)) }
    }

    /// Returns whether every image certainly has the name and the place that it had in `was`.
    pub fn keeps_names_of(&self, was: &Self) -> bool {
        let same = |names: &String| was.names.as_ref() == Some(names);
        self == was || (self.count == was.count && self.names.as_ref().is_some_and(same))
    }
}

impl Images {
    /// Computes the fingerprints of both splits of a set.
    pub fn of(training: &dyn Dataset, validation: Option<&dyn Dataset>) -> Self {
        Self {
            training: Fingerprint::of(training),
            validation: validation.map(Fingerprint::of),
            classes: training.labels().map(|_| training.classes().len()),
        }
    }

    /// Returns the splits that differ from `was`.
    pub fn changes_since(&self, was: &Self) -> Vec<Change> {
        let splits = [
            ("training", Some(&was.training), Some(&self.training)),
            ("validation", was.validation.as_ref(), self.validation.as_ref()),
        ];
        let count = |split: Option<&Fingerprint>| split.map_or(0, |split| split.count);
        let changed = splits.into_iter().filter(|(_, was, now)| was != now);
        changed
            .map(|(split, was, now)| Change { split, was: count(was), now: count(now) })
            .collect()
    }
}
