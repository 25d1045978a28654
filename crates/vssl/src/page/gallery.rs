//! Shows the augmented views that the network saw in the first epoch.

use std::sync::Arc;

use serde::Serialize;
use vssl_data::{Dataset, Image, Pipeline, augment::Scratch};

use super::{
    PageError,
    picture::{self, Canvas, Sheet},
};
use crate::recipe::Recipe;

/// Number of images, largest number of views of each, and largest side of a view in pixels.
const IMAGES: usize = 6;
const VIEWS: usize = 10;
const SIDE: usize = 96;

/// Number of images that are tried in place of one that cannot be read.
const TRIED: usize = 100;

/// A sheet with a row for each image: the image itself, then its views.
#[derive(Clone, Debug, Serialize)]
pub struct Gallery {
    sheet: Sheet,
    /// Names of the images.
    names: Vec<String>,
    /// Descriptions of the views.
    views: Vec<String>,
    /// Number of views that are not shown.
    more: usize,
}

/// The image `index`, or the first after it that can be read, and its number.
fn readable(images: &Arc<dyn Dataset>, index: usize) -> Result<(usize, Image), PageError> {
    let (before, after) = (0..index, index..images.len());
    let mut bad = None;
    for index in after.chain(before).take(TRIED) {
        match images.image(index) {
            Ok(image) => return Ok((index, image)),
            Err(error) => bad = bad.or(Some(error)),
        }
    }
    Err(bad.expect("a training set has an image").into())
}

impl Gallery {
    /// Makes the gallery of images that are spread evenly over the training set.
    pub(super) fn of(recipe: &Recipe, train: &Arc<dyn Dataset>) -> Result<Self, PageError> {
        let normalisation = recipe.data.normalisation();
        let pipeline = Pipeline::new(recipe.views.clone(), normalisation, recipe.seed)?;
        let shapes = &pipeline.views()[..pipeline.views().len().min(VIEWS)];
        let largest = shapes.iter().map(|shape| shape.size).max().unwrap_or(1);
        let count = IMAGES.min(train.len());
        let columns = 1 + shapes.len();
        let mut canvas = Canvas::new(picture::cell(largest, SIDE), columns, count * columns);
        let mut scratch = Scratch::default();
        let mut names = Vec::new();
        for row in 0..count {
            let (index, image) = readable(train, row * train.len() / count)?;
            names.push(train.name(index));
            canvas.put(row * columns, &image, &mut scratch)?;
            for view in 0..shapes.len() {
                let picture = pipeline.view_image(&image, 0, index as u64, view, &mut scratch)?;
                canvas.put(row * columns + 1 + view, &picture, &mut scratch)?;
            }
        }
        let view = |(index, shape): (usize, &vssl_data::augment::ViewShape)| {
            let kind = if shape.local { "local" } else { "global" };
            format!("view {}, {kind}, {} px", index + 1, shape.size)
        };
        let views = shapes.iter().enumerate().map(view).collect();
        let more = pipeline.views().len() - shapes.len();
        Ok(Self { sheet: canvas.sheet()?, names, views, more })
    }
}
