//! What the training images add: distances to their features, and a linear probe on them.
//!
//! Called by `assessment`, once for all sets.

use std::sync::Arc;

use vssl_data::Dataset;

use super::{
    Progress, UncertaintyError,
    retrieval::correct_retrievals,
    score::Score,
    subject::{Outputs, Subject},
};
use crate::{
    encoder::{EncoderError, Reading},
    eval::{
        linear::{LinearConfig, LinearProbe},
        neighbours::{Distance, neighbours},
    },
    features::Features,
};

/// Training features, and a probe where there are labels.
pub(super) struct Judge {
    pub train: Features,
    /// Number of training images that could not be read.
    pub left_out: usize,
    pub probe: Option<LinearProbe>,
    neighbour: usize,
}

/// One entry an image.
pub(super) struct Verdict {
    /// All scores, in the order of [`Score`].
    pub scores: Vec<(Score, Vec<f64>)>,
    /// The probe's classes.
    pub classes: Option<Vec<usize>>,
    /// Whether the nearest other image of the set is of the same class, where the classes are known.
    pub retrieved: Option<Vec<bool>>,
}

impl Judge {
    pub(super) fn new(
        subject: &Subject,
        train: &Arc<dyn Dataset>,
        neighbour: usize,
        progress: &mut Progress<'_>,
    ) -> Result<Self, UncertaintyError> {
        let reading = Reading { on_bad_image: subject.on_bad_image, ..Reading::default() };
        let (train, left_out) = features(subject, train, &reading, progress)?;
        let probe = match train.labels {
            Some(_) => {
                progress("fitting the linear probe", 0, 0);
                Some(LinearProbe::fit(&train, &LinearConfig::default())?)
            }
            None => None,
        };
        Ok(Self { train, left_out, probe, neighbour })
    }

    /// Adds the scores that need the training images, and the retrievals of a set whose images have these classes.
    pub(super) fn complete(
        &self,
        outputs: Outputs,
        labels: Option<&[u32]>,
    ) -> Result<Verdict, UncertaintyError> {
        let Outputs { features, mut scores, .. } = outputs;
        let retrieved = labels.map(|labels| correct_retrievals(&features, labels)).transpose()?;
        let near = neighbours(&self.train, &features, Distance::Cosine, self.neighbour)?;
        let farthest = |row| near.of(row).last().expect("there is a neighbour").closeness;
        let distances = (0..features.rows).map(|row| 1.0 - farthest(row)).collect();
        scores.push((Score::NeighbourDistance, distances));
        let mut classes = None;
        if let Some(probe) = &self.probe {
            let all = probe.probabilities(&features)?;
            let rows = || all.chunks(probe.classes);
            scores.push((Score::ProbeEntropy, rows().map(entropy).collect()));
            let found: Vec<usize> = rows().map(largest).collect();
            let doubts = rows().zip(&found).map(|(row, &class)| 1.0 - row[class]).collect();
            scores.push((Score::ProbeDoubt, doubts));
            classes = Some(found);
        }
        scores.sort_by_key(|(score, _)| *score);
        Ok(Verdict { scores, classes, retrieved })
    }
}

/// The features of the training images that can be read, and how many cannot.
fn features(
    subject: &Subject,
    images: &Arc<dyn Dataset>,
    reading: &Reading,
    progress: &mut Progress<'_>,
) -> Result<(Features, usize), UncertaintyError> {
    let what = format!("features of {} training images", images.len());
    progress(&what, 0, images.len());
    let known = images.labels();
    let mut all = Features { labels: known.map(|_| Vec::new()), ..Features::default() };
    let add = |indices: &[usize], part: Features| -> Result<(), EncoderError> {
        (all.rows, all.dim) = (all.rows + part.rows, part.dim);
        all.values.extend(part.values);
        if let (Some(labels), Some(known)) = (&mut all.labels, known) {
            labels.extend(indices.iter().map(|&index| i64::from(known[index])));
        }
        progress(&what, all.rows, images.len());
        Ok(())
    };
    let left_out = subject.encoder.each_batch(images, reading, add)?;
    all.check("training features").map_err(EncoderError::from)?;
    Ok((all, left_out))
}

/// In nats; a class that cannot be adds nothing.
fn entropy(shares: &[f64]) -> f64 {
    -shares.iter().filter(|&&p| p > 0.0).map(|p| p * p.ln()).sum::<f64>()
}

/// The first of the likeliest classes.
fn largest(shares: &[f64]) -> usize {
    (1..shares.len()).fold(0, |best, class| if shares[class] > shares[best] { class } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_zero_when_sure_and_the_logarithm_of_the_classes_when_not() {
        assert_eq!(entropy(&[1.0, 0.0]), 0.0);
        assert!((entropy(&[0.25; 4]) - 4.0_f64.ln()).abs() < 1e-15);
        assert_eq!(largest(&[0.2, 0.4, 0.4]), 1);
    }
}
