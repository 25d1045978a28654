//! Which images a training learns from and is judged by, so that one that goes on notices others.
//!
//! The order of the images, the steps of an epoch and every schedule are functions of how many images there
//! are. Called where a training is planned; kept in its checkpoints.

use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vssl_data::Dataset;

use super::digest::sha256;

/// Images that are looked at by one thread at a time.
const CHUNK: usize = 256;

/// The images of both splits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// To learn from.
    pub training: Fingerprint,
    /// To judge by; `None` without a validation split.
    pub validation: Option<Fingerprint>,
}

/// What tells the images of a split from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// How many there are.
    pub count: usize,
    /// SHA-256 of their names within the set, stored sizes and labels, in their order.
    pub digest: String,
}

/// A split whose images are others than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `training` or `validation`.
    pub split: &'static str,
    /// How many there were.
    pub was: usize,
    /// How many there are.
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
    /// Of the images of one split. Asks the file system for the size of each file.
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
    /// Of both splits of a set.
    pub fn of(training: &dyn Dataset, validation: Option<&dyn Dataset>) -> Self {
        Self { training: Fingerprint::of(training), validation: validation.map(Fingerprint::of) }
    }

    /// What is not as it `was`.
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
