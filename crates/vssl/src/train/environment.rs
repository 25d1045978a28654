//! The machine and the arguments that a run needs beside its recipe, and whether they fit the recipe.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use vssl_data::{Share, ViewGroup, counted, dataset};
use vssl_kernels::accelerates;

use super::TrainError;
use crate::{collective::Group, layers::budget, recipe::Recipe, run::folder::RunFolderError};

/// The part of a run's settings that does not belong in a recipe.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The device of the tensors, without autodiff.
    pub device: Device,
    /// The processes that train together.
    pub group: Group,
    /// `--data`: the folder in which relative paths of data are looked for first.
    pub data_root: Option<PathBuf>,
    /// The folder of the recipe, in which relative paths of data are looked for last.
    pub recipe_folder: Option<PathBuf>,
    /// The commit that the program was built from.
    pub commit: Option<String>,
    /// Whether to replace a run that is in the run folder already.
    pub force: bool,
    /// Whether to go on with a run although its images are not those of its checkpoint.
    pub allow_changed_data: bool,
    /// Whether `train.batch` is a default that nobody has chosen: it is lowered where there are fewer images.
    pub adapts_batch: bool,
}

/// Returns which part of each batch belongs to this process.
pub(super) fn share(recipe: &Recipe, group: &Group) -> Share {
    Share { rank: group.rank(), world: group.world(), parts: recipe.train.accumulate }
}

/// Returns the batch for `images` images where the batch of `recipe` is larger: the largest power of two that
/// fits, so that queues, micro-batches and processes divide it as before. `None` where no batch fits.
fn smaller_batch(recipe: &Recipe, group: &Group, images: usize) -> Option<usize> {
    let least = 2 * recipe.train.accumulate.max(1) * group.world();
    let batch = 1_usize << images.checked_ilog2()?;
    (batch >= least && images < recipe.train.batch).then_some(batch)
}

/// Lowers a batch that nobody has chosen and that is larger than the training set of `images` images. Returns a
/// note on it.
pub(super) fn adapt_batch(recipe: &mut Recipe, group: &Group, images: usize) -> Option<String> {
    let batch = smaller_batch(recipe, group, images)?;
    let default = std::mem::replace(&mut recipe.train.batch, batch);
    Some(format!(
        "there are {images} training images, fewer than the {default} of a batch unless train.batch is given: \
         train.batch is {batch}"
    ))
}

/// Checks that the memory of this machine can hold the views of the batches that wait in this process: its part of
/// each batch.
pub(super) fn check_views(recipe: &Recipe, group: &Group) -> Result<(), TrainError> {
    let numbers = recipe.views.iter().fold(0_u64, |sum, group| {
        let side = group.size as u64;
        let view = side.saturating_mul(side).saturating_mul(recipe.data.channels as u64);
        sum.saturating_add(view.saturating_mul(group.count as u64))
    });
    let batches = (recipe.data.prefetch as u64).max(1);
    let own = (recipe.train.batch / group.world()) as u64;
    let images = batches.saturating_mul(own);
    let bytes = numbers.saturating_mul(images).saturating_mul(size_of::<f32>() as u64);
    let share = match group.world() {
        1 => "train.batch".to_owned(),
        world => format!("train.batch / {world} processes"),
    };
    budget::check_memory(bytes).map_err(|space| {
        TrainError::Setting(format!(
            "the views of {batches} batches (data.prefetch) of {own} images ({share}) take {space}: lower one of \
             these, or the size or the number of views"
        ))
    })
}

/// Checks that there are enough images for one batch.
pub(super) fn check_batch(recipe: &Recipe, group: &Group, images: usize) -> Result<(), TrainError> {
    let batch = recipe.train.batch;
    if batch <= images {
        return Ok(());
    }
    Err(TrainError::Setting(format!(
        "train.batch = {batch}: larger than the training set of {}; {}",
        counted(images, "image"),
        match smaller_batch(recipe, group, images) {
            Some(batch) => {
                format!("expected at most {images}, for instance --set train.batch={batch}")
            }
            None => "too few for any batch of this recipe: expected more images".to_owned(),
        }
    )))
}

/// Checks that the memory of this machine can hold what a step of the student keeps for its backward pass: patches that are
/// too small for their views are found here and not when the memory is gone. Returns a note where it takes more than half.
/// Other devices than the CPU have a memory of their own, of which nothing is known.
pub(super) fn check_step(
    recipe: &Recipe,
    group: &Group,
    device: &Device,
) -> Result<Option<String>, TrainError> {
    let train = &recipe.train;
    // The backbone keeps nothing where the heads train alone to the end.
    let may_stay_frozen = recipe.init.as_ref().is_some_and(|init| {
        init.freeze_epochs >= train.epochs || (init.freeze_epochs > 0 && train.max_steps.is_some())
    });
    if !accelerates(device) || may_stay_frozen {
        return Ok(None);
    }
    // ReSSL's student sees one of two views, that of most methods all of them: half of them is never too much.
    let views: usize = recipe.views.iter().map(|group| group.count).sum();
    let share = recipe.method.visible_share() * if views > 1 { 0.5 } else { 1.0 };
    let seen = |group: &ViewGroup| {
        let bytes = recipe.backbone.training_bytes(group.size) as f64;
        bytes * share * group.count as f64
    };
    let own = train.batch / (group.world() * train.accumulate);
    let bytes = recipe.views.iter().map(seen).sum::<f64>() * own as f64;
    let largest = recipe.views.iter().map(|group| group.size).max().unwrap_or(0);
    let patches = match recipe.backbone.patches(largest) {
        Some(patches) => format!(" in {}", counted(patches.grid[0] * patches.grid[1], "patch")),
        None => String::new(),
    };
    let what = format!(
        "the activations of a step with views of {largest} pixels{patches} and {} at once (train.batch / \
         train.accumulate) take",
        counted(own, "image")
    );
    let help = match patches.is_empty() {
        true => "views.size or train.batch lower, or train.accumulate higher",
        false => "larger patches, views.size or train.batch lower, or train.accumulate higher",
    };
    budget::check_memory(bytes as u64)
        .map_err(|space| TrainError::Setting(format!("{what} {space}; expected {help}")))?;
    let half = budget::check_memory((2.0 * bytes) as u64);
    Ok(half.err().map(|_| {
        let gib = bytes / f64::from(1 << 30);
        format!(
            "{what} at least {gib:.1} GiB, more than half of this machine's memory; less needs {help}"
        )
    }))
}

/// Checks that the processes of `group` can share the batches of `recipe`.
pub(super) fn check_group(recipe: &Recipe, group: &Group) -> Result<(), TrainError> {
    let (batch, parts, world) = (recipe.train.batch, recipe.train.accumulate, group.world());
    if share(recipe, group).check(batch).is_err() {
        let (unit, below) = (world * parts, batch - batch % (world * parts));
        return Err(TrainError::Setting(format!(
            "train.batch is {batch}, shared by {world} processes in {parts} micro-batches: expected \
             a multiple of {unit}, for instance {}",
            if below == 0 { unit } else { below }
        )));
    }
    let own = batch / (world * parts);
    if world > 1 && !recipe.train.sync_batchnorm && own < 2 {
        return Err(TrainError::Setting(format!(
            "train.batch is {batch}: each of {world} processes sees one image at a time, and batch norm has \
             no variance over one; expected at least {}, or train.sync_batchnorm = true",
            2 * world * parts
        )));
    }
    Ok(())
}

/// Returns the path of the data. A relative path is looked for under `--data`, in the working folder, in its
/// folder `data`, where the set of the quick start is, and beside the recipe, in this order.
pub(super) fn find_data(path: &Path, environment: &Environment) -> Result<PathBuf, TrainError> {
    if path.as_os_str().is_empty() {
        let message = "data.path is not set; expected the folder of the images".to_owned();
        return Err(TrainError::Setting(message));
    }
    let (here, shipped) = (Path::new("."), Path::new("data"));
    let (root, beside) = (&environment.data_root, &environment.recipe_folder);
    let folders = [root.as_deref(), Some(here), Some(shipped), beside.as_deref()];
    let folders: Vec<&Path> = folders.into_iter().flatten().collect();
    let found = dataset::locate(path, &folders);
    if found.exists() {
        let real =
            found.canonicalize().map_err(|source| RunFolderError::Io { path: found, source })?;
        // The recipe in the run folder is text, and its path has to lead to the images again.
        if real.to_str().is_none() {
            return Err(TrainError::Setting(format!(
                "data.path leads to {real:?}, a name that is not UTF-8, which no recipe can hold: rename it, \
                 or move the images to another folder"
            )));
        }
        return Ok(real);
    }
    let mut looked = Vec::new();
    for candidate in folders.iter().map(|folder| folder.join(dataset::in_home(path))) {
        if !looked.contains(&candidate) {
            looked.push(candidate);
        }
    }
    Err(TrainError::NoData { path: path.to_owned(), looked })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        collective::Threads,
        methods::{self, METHODS},
    };

    #[test]
    fn each_process_holds_the_views_of_its_part_of_a_batch() {
        let text = "method = \"simclr\"\ndata.path = \"x\"\n";
        let mut recipe = methods::recipe_from(text).unwrap();
        recipe.train.batch = 1 << 40;
        let said = |group: &Group| check_views(&recipe, group).unwrap_err().to_string();
        let alone = said(&Group::alone());
        assert!(
            alone.contains(&format!("of {} images (train.batch) take", 1_u64 << 40)),
            "{alone}"
        );
        let mut ranks = Threads::new(4, Duration::from_secs(1));
        let shared = said(&Group::new(ranks.remove(0)));
        let expected = format!("of {} images (train.batch / 4 processes) take", 1_u64 << 38);
        assert!(shared.contains(&expected), "{shared}");
    }

    #[test]
    fn a_step_of_too_many_patches_is_refused_with_what_to_change() {
        let of = |rest: &str| {
            let text = format!(
                "method = \"simclr\"\ndata.path = \"x\"\nviews = [{{ count = 2, size = 224 }}]\n{rest}"
            );
            let recipe = Recipe::parse(&text, "test.toml", &[], METHODS).unwrap().0;
            check_step(&recipe, &Group::alone(), &Device::flex())
        };
        let vit =
            "backbone = { architecture = \"vit-large\", vit.patch = 1, vit.image_size = 224 }";
        let refused = of(&format!("{vit}\ntrain.batch = 65536")).unwrap_err();
        assert!(refused.is_usage());
        let refused = refused.to_string();
        for part in [
            "50176 patches",
            "65536 images",
            "this machine has",
            "larger patches",
            "train.accumulate",
        ] {
            assert!(refused.contains(part), "{part:?} is not in {refused}");
        }
        let few =
            of(&format!("{vit}\ntrain = {{ batch = 65536, accumulate = 32768 }}")).unwrap_or(None);
        assert!(few.is_none_or(|note| note.contains("2 images at once")));
        assert_eq!(of("train.batch = 2").unwrap(), None);
    }
}
