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

/// The fingerprints of both splits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// The images to learn from.
    pub training: Fingerprint,
    /// The images to evaluate on; `None` without a validation split.
    pub validation: Option<Fingerprint>,
}

/// The fingerprint of the images of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The number of images.
    pub count: usize,
    /// The SHA-256 of their names within the set, stored sizes and labels, in their order.
    pub digest: String,
}

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
                Some((name, bytes)) => format!("{name}\0{bytes}\0{label}\n"),
                None => format!("\0\0{label}\n"),
            }
        };
        let starts: Vec<usize> = (0..count).step_by(CHUNK).collect();
        let chunk =
            |&start: &usize| -> String { (start..count.min(start + CHUNK)).map(line).collect() };
        let chunks: Vec<String> = starts.par_iter().map(chunk).collect();
        Self { count, digest: sha256(&chunks) }
    }
}

impl Images {
    /// Computes the fingerprints of both splits of a set.
    pub fn of(training: &dyn Dataset, validation: Option<&dyn Dataset>) -> Self {
        Self { training: Fingerprint::of(training), validation: validation.map(Fingerprint::of) }
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
