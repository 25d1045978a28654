//! Whether what a checkpoint remembers of each image still belongs to that image.
//!
//! A method such as DeepCluster v2 keeps a cluster and an embedding of every image by the image's number. A run
//! may go on with changed images (`--allow-changed-data`); where names and places of the images are others,
//! these rows would silently be those of other images.

use std::sync::Arc;

use super::{Plan, TrainError};
use crate::{
    method::{
        Sizes,
        learner::{Initial, Learner},
    },
    run::checkpoint::{Checkpoint, Store},
};

/// Checks that the run may go on with the memory of `checkpoint`, which `learner` has loaded.
///
/// # Errors
/// The memory has a row for each image, and the images are not the same by name and place.
pub(super) fn check(
    checkpoint: &Checkpoint,
    plan: &Plan,
    learner: &dyn Learner,
) -> Result<(), TrainError> {
    let (Some(was), Some(now)) = (&checkpoint.images, &plan.images) else { return Ok(()) };
    if now.training.keeps_names_of(&was.training) || !remembers_images(plan, learner) {
        return Ok(());
    }
    Err(TrainError::RemembersPlaces {
        folder: Store::of(&plan.run).folder_of(checkpoint.position.step),
        method: checkpoint.method.clone(),
        images: now.training.count,
    })
}

/// Returns whether the method remembers each image: its memory would have another shape with one image more.
fn remembers_images(plan: &Plan, learner: &dyn Learner) -> bool {
    let shapes = |learner: &dyn Learner| -> Vec<Vec<usize>> {
        learner.memory().values().map(|tensor| tensor.shape().as_slice().to_vec()).collect()
    };
    let sizes = Sizes { images: plan.sizes.images + 1, ..plan.sizes };
    let recipe = &plan.recipe;
    let device = plan.device.clone().autodiff();
    let teacher = plan.teacher.as_ref().map(|teacher| Arc::clone(&teacher.network));
    let initial = Initial { channels: recipe.data.channels, teacher, ..Initial::default() };
    let made = recipe.method.learner_from(initial, &recipe.backbone, &sizes, &device, recipe.seed);
    let other = made.expect("without weights of an encoder there is nothing that could not fit");
    shapes(learner) != shapes(other.as_ref())
}
