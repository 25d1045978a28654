//! Computes the features of augmented views of images, for LiDAR. Called by [`super::judge`].

use std::sync::Arc;

use rayon::prelude::*;
use vssl_data::{DataError, Dataset, OnBadImage, Pipeline, ViewGroup, augment::Scratch};

use super::{Chosen, Progress, RankingError};
use crate::{
    encoder::{Encoder, Reading, images::OwnMemory},
    eval::quality::ViewScatter,
};

/// Returns the pipeline of the views that LiDAR compares: the global views among `groups`, of the size that the
/// encoder sees, drawn by `seed`.
///
/// # Errors
/// A setting of a group is not valid, or there is no global view.
pub fn pipeline(groups: &[ViewGroup], encoder: &Encoder, seed: u64) -> Result<Pipeline, DataError> {
    let size = encoder.input.size;
    let global = groups.iter().filter(|group| !group.local);
    let groups = global.map(|group| ViewGroup { size, ..group.clone() }).collect();
    Pipeline::new(groups, encoder.input.normalisation, seed)
}

/// Collects the scatter of the views of the chosen images. Returns it, and how many of these images could not be read.
pub(super) fn scatter(
    encoder: &Encoder,
    images: &Arc<dyn Dataset>,
    chosen: &Chosen,
    pipeline: &Pipeline,
    reading: &Reading,
    progress: &mut Progress<'_>,
) -> Result<(ViewScatter, usize), RankingError> {
    let _memory = OwnMemory::begin();
    let (views, of) = (chosen.views, chosen.of_views.len());
    let at_once = (encoder.batch() / views).max(1);
    let mut scatter = ViewScatter::new(views, encoder.config.dim());
    let (mut done, mut unread) = (0, 0);
    progress("views", 0, of);
    for numbers in chosen.of_views.chunks(at_once) {
        let pixels = views_of(images, numbers, pipeline, views, reading.on_bad_image)?;
        let read: Vec<&[f32]> = pixels.iter().flatten().map(Vec::as_slice).collect();
        unread += numbers.len() - read.len();
        // More views of one image than go through the network together go in parts.
        let batch = read.concat();
        let image = pipeline.views()[0].size.pow(2) * 3;
        let mut rows = Vec::new();
        for part in batch.chunks(encoder.batch().max(1) * image) {
            let features = encoder.embed(part, part.len() / image);
            features.check("features of views").map_err(crate::eval::EvalError::from)?;
            rows.extend(features.values);
        }
        scatter.push(&rows);
        done += numbers.len();
        progress("views", done, of);
    }
    Ok((scatter, unread))
}

/// Makes the views of some images, image by image: `views · size · size · 3` numbers each; `None` for an image that
/// cannot be read and may be left out. View `k` is that of number `k mod m` in draw `k / m`, of the `m` views of the
/// pipeline.
fn views_of(
    images: &Arc<dyn Dataset>,
    numbers: &[usize],
    pipeline: &Pipeline,
    views: usize,
    on_bad_image: OnBadImage,
) -> Result<Vec<Option<Vec<f32>>>, DataError> {
    let kinds = pipeline.views().len();
    let values = pipeline.views()[0].size.pow(2) * 3;
    let of_image = |scratch: &mut Scratch, &number: &usize| {
        let image = match images.image(number) {
            Err(_) if on_bad_image == OnBadImage::Skip => return Ok(None),
            image => image?,
        };
        let mut pixels = vec![0.0; views * values];
        for (view, out) in pixels.chunks_exact_mut(values).enumerate() {
            let draw = (view / kinds) as u64;
            pipeline.view(&image, draw, number as u64, view % kinds, scratch, out)?;
        }
        Ok(Some(pixels))
    };
    numbers.par_iter().map_init(Scratch::default, of_image).collect()
}
