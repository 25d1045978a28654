//! The networks that are judged, and what they say of a set of pictures.
//!
//! Pictures are brought to the network's size once, as evaluations do, and stay 8-bit: corruptions
//! and views are made from that. Called by `assessment`.

use std::{path::Path, sync::Arc};

use burn::tensor::Device;
use rayon::prelude::*;
use vssl_data::{
    Dataset, EvaluationTransform, Image, OnBadImage, Pipeline, ViewGroup,
    augment::{Canvas, Normaliser, Scratch},
    dataset::Subset,
};

use super::{
    Progress, UncertaintyError,
    score::{self, Directions, Score, numbers},
};
use crate::{
    encoder::{
        Encoder,
        images::{self, OwnMemory},
    },
    features::Features,
    method::{Posterior, learner::Network},
    posterior::Posteriors,
};

/// An encoder, the posterior of its run where the method has one, and the recipe's augmentation.
pub struct Subject {
    /// The encoder.
    pub encoder: Encoder,
    /// Whether an image that cannot be read stops the evaluation or is left out; as in the run.
    pub on_bad_image: OnBadImage,
    posteriors: Option<Posteriors>,
    views: Option<Pipeline>,
    normaliser: Normaliser,
}

/// What the networks say of some pictures, one entry a picture.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    pub features: Features,
    /// The scores that need neither training images nor labels.
    pub scores: Vec<(Score, Vec<f64>)>,
    /// Whether variances are free vectors; `None` without a posterior.
    pub free_variance: Option<bool>,
}

impl Subject {
    /// The student of the run folder `path` as it was in `checkpoint`, or the encoder of an exported
    /// file, which has neither posterior nor augmentation. `views` of each picture are made by the
    /// augmentation of the first global views of the recipe, drawn by `seed`.
    ///
    /// # Errors
    /// As [`Encoder::open`] and [`Posteriors::open`].
    pub fn open(
        path: &Path,
        checkpoint: &str,
        views: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, UncertaintyError> {
        let encoder = Encoder::open(path, checkpoint, Network::Student, device)?;
        let posteriors = match &encoder.recipe {
            Some(_) => Posteriors::open(path, checkpoint, device)?,
            None => None,
        };
        let global = encoder.recipe.as_ref().and_then(|r| r.views.iter().find(|g| !g.local));
        let views = match global {
            Some(group) if views > 0 => {
                let group = ViewGroup { count: views, ..group.clone() };
                Some(Pipeline::new(vec![group], encoder.input.normalisation, seed)?)
            }
            _ => None,
        };
        let normaliser = Normaliser::new(&encoder.input.normalisation)?;
        let on_bad_image = encoder.reading().on_bad_image;
        Ok(Self { encoder, on_bad_image, posteriors, views, normaliser })
    }

    /// Pictures of the network's size, of a set of images in its order, and the set without the images that
    /// were left out.
    pub(super) fn prepare(
        &self,
        images: &Arc<dyn Dataset>,
    ) -> Result<(Arc<dyn Dataset>, Vec<Image>), UncertaintyError> {
        let transform: EvaluationTransform = self.encoder.input.transform();
        let skips = self.on_bad_image == OnBadImage::Skip;
        let prepare = |scratch: &mut Scratch, index| match images.image(index) {
            Err(_) if skips => Ok(None),
            image => Ok(Some((index, transform.apply(&image?, scratch)?.to_image()))),
        };
        let prepared = (0..images.len()).into_par_iter().map_init(Scratch::default, prepare);
        let prepared = prepared.collect::<Result<Vec<_>, UncertaintyError>>()?;
        let (kept, pictures): (Vec<usize>, Vec<Image>) = prepared.into_iter().flatten().unzip();
        Ok((Arc::new(Subset::of(Arc::clone(images), kept)?), pictures))
    }

    /// Features and scores of prepared pictures, which are called `what` in the progress.
    pub(super) fn outputs(
        &self,
        pictures: &[Image],
        what: &str,
        progress: &mut Progress<'_>,
    ) -> Result<Outputs, UncertaintyError> {
        let mut all = Outputs::default();
        let (count, _memory) = (self.encoder.batch(), OwnMemory::begin());
        for (number, batch) in pictures.chunks(count).enumerate() {
            progress(what, number * count, pictures.len());
            let part = self.batch(batch, number * count)?;
            all.features.rows += part.features.rows;
            all.features.dim = part.features.dim;
            all.features.values.extend(part.features.values);
            all.free_variance = part.free_variance;
            if all.scores.is_empty() {
                all.scores = part.scores;
            } else {
                let pairs = all.scores.iter_mut().zip(part.scores);
                pairs.for_each(|((_, all), (_, part))| all.extend(part));
            }
        }
        Ok(all)
    }

    fn batch(&self, pictures: &[Image], first: usize) -> Result<Outputs, UncertaintyError> {
        let (features, posterior) = self.forward(self.plain(pictures), pictures.len());
        let norms = features.values.chunks(features.dim.max(1)).map(|row| {
            let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            -score::length(&row)
        });
        let mut scores = vec![(Score::FeatureNorm, norms.collect())];
        if let Some(losses) = self.encoder.predicted_losses(&features) {
            scores.push((Score::PredictedLoss, losses.into_iter().map(f64::from).collect()));
        }
        scores.extend(posterior.iter().flat_map(score::of_posterior));
        if let Some(pipeline) = &self.views {
            scores.extend(self.of_views(pipeline, pictures, first)?);
        }
        scores.sort_by_key(|(score, _)| *score);
        Ok(Outputs { features, scores, free_variance: posterior.map(|p| p.free_variance) })
    }

    /// Spreads over the views, and the mean divergence.
    fn of_views(
        &self,
        pipeline: &Pipeline,
        pictures: &[Image],
        first: usize,
    ) -> Result<Vec<(Score, Vec<f64>)>, UncertaintyError> {
        let (mut features, mut means) = (Directions::default(), Directions::default());
        let mut divergence = vec![0.0; pictures.len()];
        let views = pipeline.views().len();
        for view in 0..views {
            let pixels = self.view(pipeline, pictures, first, view)?;
            let (seen, posterior) = self.forward(pixels, pictures.len());
            let rows: Vec<f64> = seen.values.iter().map(|&x| f64::from(x)).collect();
            features.add(&rows, seen.dim);
            if let Some(posterior) = posterior {
                let mean = &posterior.student.gaussian.mean;
                means.add(&numbers(mean), mean.dims()[1]);
                let here = numbers(&posterior.divergence);
                divergence.iter_mut().zip(here).for_each(|(sum, x)| *sum += x / views as f64);
            }
        }
        let mut scores = vec![(Score::FeatureSpread, features.spread())];
        if self.posteriors.is_some() {
            scores.push((Score::MeanSpread, means.spread()));
            scores.push((Score::ViewDivergence, divergence));
        }
        Ok(scores)
    }

    fn forward(&self, pixels: Vec<f32>, count: usize) -> (Features, Option<Posterior>) {
        let Some(posteriors) = &self.posteriors else {
            return (self.encoder.embed(pixels, count), None);
        };
        let posterior = posteriors.of(pixels, count);
        let features = images::features(posterior.student.features.clone());
        (features, Some(posterior))
    }

    /// Normalised, `count · size · size · channels`.
    fn plain(&self, pictures: &[Image]) -> Vec<f32> {
        let (values, normaliser) = (self.values(), &self.normaliser);
        let mut pixels = vec![0.0; pictures.len() * values];
        pixels.par_chunks_mut(values).zip(pictures).for_each(|(out, picture)| {
            normaliser.write(&Canvas::from_image(picture), false, out);
        });
        pixels
    }

    /// One view of each picture. A picture's views depend on its number alone, so that those of a
    /// corrupted picture are cut and coloured as the views of the clean picture.
    fn view(
        &self,
        pipeline: &Pipeline,
        pictures: &[Image],
        first: usize,
        view: usize,
    ) -> Result<Vec<f32>, UncertaintyError> {
        let values = self.values();
        let mut pixels = vec![0.0; pictures.len() * values];
        let places = pixels.par_chunks_mut(values).zip(pictures).enumerate();
        places.try_for_each_init(Scratch::default, |scratch, (at, (out, picture))| {
            pipeline.view(picture, 0, (first + at) as u64, view, scratch, out)
        })?;
        Ok(pixels)
    }

    fn values(&self) -> usize {
        self.encoder.input.size.pow(2) * self.encoder.input.channels()
    }
}
