//! The pictures of a run's page: spectrum, map, neighbours and certainty of a sample of images, and
//! the views that the encoder learnt from.

use std::{path::Path, sync::Arc};

use serde::Serialize;
use vssl_data::{Dataset, Image, OnBadImage, Splits, augment::Scratch, dataset::Subset};

use super::{
    PageError,
    gallery::Gallery,
    map::Map,
    neighbour_graph::{Certainty, NeighbourGraph, Row},
    picture::{self, Canvas, Sheet},
};
use crate::{
    encoder::{
        Encoder, Reading,
        images::{each_evaluated, features},
    },
    eval::spectrum,
    features::{FeatureError, Features},
    posterior::{self, Posteriors},
    run::tensorboard::{Cloud, Sprite, write_projector},
};

/// Largest side of a thumbnail in pixels.
const THUMBNAIL: usize = 48;

/// Number of thumbnails in a row of their sheet.
const COLUMNS: usize = 50;

/// The images that the page shows, and their features.
pub struct ImageSample {
    images: Arc<dyn Dataset>,
    /// Numbers of the images that could be read.
    kept: Vec<usize>,
    features: Features,
    /// Uncertainty of each image by the posterior, for a run that has one.
    uncertainty: Option<Vec<f32>>,
    /// Name of the split: `validation` or `training`.
    split: &'static str,
    /// Number of images of the split.
    of: usize,
    /// Number of images of the sample that could not be read.
    left_out: usize,
}

/// The pictures of a run, computed from a sample of images.
#[derive(Clone, Debug, Serialize)]
pub struct RunPictures {
    /// Number of training steps of the encoder.
    step: Option<u64>,
    split: &'static str,
    /// Number of images of the split.
    of: usize,
    /// Number of images of the sample that could not be read.
    left_out: usize,
    /// Length of a feature.
    dim: usize,
    classes: Vec<String>,
    /// Class of each image.
    labels: Option<Vec<i64>>,
    names: Vec<String>,
    singular_values: Vec<f32>,
    effective_rank: f64,
    spread: f64,
    mean_cosine: f64,
    map: Map,
    thumbnails: Sheet,
    rows: Vec<Row>,
    certainty: Certainty,
    gallery: Gallery,
}

impl ImageSample {
    /// Takes at most `points` images of the validation split (without one, of the training split), evenly
    /// over the classes, and computes their features. Images that cannot be read are left out, whatever the
    /// run did about them: one of them must not cost all pictures.
    ///
    /// # Errors
    /// Not one image that can be read; features that are not finite.
    pub fn of(encoder: &Encoder, splits: &Splits, points: usize) -> Result<Self, PageError> {
        let (split, all) = match &splits.validation {
            Some(validation) => ("validation", validation),
            None => ("training", &splits.train),
        };
        let images: Arc<dyn Dataset> = match points.max(1) < all.len() {
            true => Arc::new(Subset::balanced(Arc::clone(all), points.max(1))),
            false => Arc::clone(all),
        };
        let reading = Reading { on_bad_image: OnBadImage::Skip, ..Reading::default() };
        let mut sample = Self {
            features: Features {
                labels: images.labels().map(|_| Vec::new()),
                ..Features::default()
            },
            kept: Vec::new(),
            uncertainty: None,
            split,
            of: all.len(),
            left_out: 0,
            images: Arc::clone(&images),
        };
        sample.left_out = encoder.each_batch::<PageError>(&images, &reading, |indices, part| {
            let Features { rows, dim, values, labels } = &mut sample.features;
            if let (Some(labels), Some(known)) = (labels, images.labels()) {
                labels.extend(indices.iter().map(|&index| i64::from(known[index])));
            }
            *rows += part.rows;
            *dim = part.dim;
            values.extend(part.values);
            sample.kept.extend_from_slice(indices);
            Ok(())
        })?;
        if sample.kept.is_empty() {
            // The reason is that of the first image.
            images.image(0)?;
        }
        sample.features.check("features of the page's images")?;
        Ok(sample)
    }

    /// Scores the images by the network's own posterior, so that they are shown in that order.
    ///
    /// # Errors
    /// Images that cannot be read again, scores that are not finite.
    pub fn score(&mut self, encoder: &Encoder, posteriors: &Posteriors) -> Result<(), PageError> {
        let images: Arc<dyn Dataset> =
            Arc::new(Subset::of(Arc::clone(&self.images), self.kept.clone())?);
        let plan = encoder.plan(&Reading::default());
        let mut scores = Vec::with_capacity(self.kept.len());
        each_evaluated(&images, plan, PageError::from, |indices, pixels| {
            let posterior = posteriors.of(pixels, indices.len());
            scores.extend(features(posterior::score(&posterior).unsqueeze_dim(1)).values);
            Ok(())
        })?;
        if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
            let (set, value) = ("uncertainty of the page's images", scores[row]);
            return Err(FeatureError::NotFinite { set, row, column: 0, value }.into());
        }
        self.uncertainty = Some(scores);
        Ok(())
    }

    /// Returns how many images of the sample could not be read and are left out.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Computes everything that the page shows of the sample.
    ///
    /// # Errors
    /// Images that cannot be read a second time.
    ///
    /// # Panics
    /// When `encoder` was read from a file: only a run has views.
    pub fn pictures(&self, encoder: &Encoder, splits: &Splits) -> Result<RunPictures, PageError> {
        let features = &self.features;
        let recipe = encoder.recipe.as_ref().expect("only runs have a page");
        let found = spectrum::spectrum(features)?;
        let graph = NeighbourGraph::of(features, Map::neighbours(features.rows))?;
        let labels = features.labels.as_deref();
        Ok(RunPictures {
            step: encoder.step,
            split: self.split,
            of: self.of,
            left_out: self.left_out,
            dim: features.dim,
            classes: self.images.classes().to_vec(),
            labels: features.labels.clone(),
            names: self.names(&recipe.data.path),
            singular_values: found.singular_values.iter().map(|&value| value as f32).collect(),
            effective_rank: found.effective_rank,
            spread: found.spread,
            mean_cosine: found.mean_cosine,
            map: Map::of(features, &graph),
            thumbnails: self.canvas(COLUMNS)?.sheet()?,
            rows: graph.rows(labels),
            certainty: match &self.uncertainty {
                Some(scores) => Certainty::of_posterior(scores),
                None => graph.certainty(labels),
            },
            gallery: Gallery::of(recipe, &splits.train)?,
        })
    }

    /// Writes the features for TensorBoard's embedding projector into `folder`.
    ///
    /// # Errors
    /// Files that cannot be written, images that cannot be read again.
    pub fn project(&self, data: &Path, folder: &Path) -> Result<(), PageError> {
        let classes = self.images.classes();
        let class = |row: usize| {
            let label = *self.features.labels.as_ref()?.get(row)?;
            classes.get(usize::try_from(label).ok()?).cloned()
        };
        let names = self.names(data).into_iter().enumerate();
        let names: Vec<_> = names.map(|(row, name)| (name, class(row))).collect();
        // The projector assumes as many rows as columns.
        let columns = (self.kept.len() as f64).sqrt().ceil() as usize;
        let canvas = self.canvas(columns)?;
        let sprite = Some(Sprite { png: canvas.png()?, side: canvas.side() });
        let cloud = Cloud { features: &self.features, names: &names, sprite };
        let io = |source| PageError::Io { path: folder.to_owned(), source };
        write_projector(folder, &cloud).map_err(io)
    }

    fn canvas(&self, columns: usize) -> Result<Canvas, PageError> {
        let mut scratch = Scratch::default();
        let mut canvas = None;
        for (at, &index) in self.kept.iter().enumerate() {
            let image = self.images.image(index)?;
            let canvas = canvas.get_or_insert_with(|| {
                Canvas::new(thumbnail(&image), columns.min(self.kept.len()), self.kept.len())
            });
            canvas.put(at, &image, &mut scratch)?;
        }
        Ok(canvas.expect("checked: there are features, and so images"))
    }

    /// Names of the images, without the folder of the data.
    fn names(&self, data: &Path) -> Vec<String> {
        let name = |&index: &usize| {
            let name = self.images.name(index);
            let below = Path::new(&name).strip_prefix(data).ok();
            below.map_or(name.clone(), |below| below.display().to_string())
        };
        self.kept.iter().map(name).collect()
    }
}

fn thumbnail(first: &Image) -> usize {
    picture::cell(first.width.min(first.height), THUMBNAIL)
}
