//! Features that a frozen teacher made once of all training images, instead of its forward pass in each step:
//! `teacher.features` of a recipe. Called by the plan of a run.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use vssl_data::{Dataset, OnBadImage};

use super::{TrainError, teacher::Teacher};
use crate::{
    features::{Features, check_finite},
    recipe::Recipe,
    run::digest::sha256,
    stored::{Index, OfImages, fingerprint_of},
};

/// What file is expected.
const EXPECTED: &str = "expected the file that `vssl embed TEACHER --to FILE` wrote of the training images, .parquet or .safetensors";

impl Teacher {
    /// Gives the teacher the features that the recipe names, if it names some, of all `images` of the training, and gives
    /// the recipe their place and digest. Returns notes on them.
    ///
    /// # Errors
    /// The features cannot be read, are of another encoder or another feature of it, or an image has none.
    pub(super) fn with_features(
        self,
        recipe: &mut Recipe,
        images: &Arc<dyn Dataset>,
        recipe_folder: Option<&Path>,
    ) -> Result<(Self, Option<String>), TrainError> {
        let Some(table) = &mut recipe.teacher else { return Ok((self, None)) };
        let Some(named) = &table.features else { return Ok((self, None)) };
        let path = found(named, recipe_folder)?;
        let digest = digest_of(&path)?;
        match &table.features_digest {
            Some(expected) if *expected != digest => {
                return Err(setting(
                    &path,
                    &format!(
                        "its SHA-256 is {digest}, the recipe expects {expected} (teacher.features_digest); bring that file \
                     back, or begin a new run without the key"
                    ),
                ));
            }
            _ => table.features_digest = Some(digest.clone()),
        }
        if let Ok(place) = path.canonicalize()
            && place.to_str().is_some()
        {
            table.features = Some(place);
        }
        let index = Index::open(&path).map_err(unread)?;
        self.check_origin(&index, &path)?;
        let found = index.of_images(images.as_ref(), &recipe.data.path).map_err(unread)?;
        check_complete(recipe, &path, &index, images.as_ref(), &found)?;
        let OfImages { features, others, .. } = found;
        check_finite("teacher.features", 0, features.dim, &features.values).map_err(unread)?;
        let note = note(&path, &digest, &features, others);
        let network = Arc::new(self.network.as_ref().clone().with_features(features));
        let checked = recipe.method.check_teacher(&network, &recipe.backbone);
        checked.map_err(TrainError::Setting)?;
        Ok((Self { network, ..self }, Some(note)))
    }

    /// Checks that the features are those that this teacher makes of whole images.
    fn check_origin(&self, index: &Index, path: &Path) -> Result<(), TrainError> {
        let origin = &index.origin;
        let made_by = origin.encoder.display();
        if fingerprint_of(self.network.backbone()) != origin.sha256 {
            let step = origin.step.map(|step| format!(" after step {step}")).unwrap_or_default();
            return Err(setting(
                path,
                &format!(
                    "made by {made_by}{step}, whose weights are not those of the teacher; {EXPECTED}"
                ),
            ));
        }
        if let Some(pooling) = origin.pooling {
            return Err(setting(
                path,
                &format!(
                    "the features are {}, not the teacher's own; write the file again with --pooling {}",
                    pooling.words(),
                    self.network.config().pooling().map_or("token", |own| own.name())
                ),
            ));
        }
        if origin.input != self.input {
            return Err(setting(
                path,
                &format!(
                    "{made_by} was given images of another size or normalisation than the teacher has; {EXPECTED}"
                ),
            ));
        }
        match index.dim() == self.network.dim() {
            true => Ok(()),
            false => Err(setting(
                path,
                &format!(
                    "rows of {} numbers, and the teacher's features have {}; {EXPECTED}",
                    index.dim(),
                    self.network.dim()
                ),
            )),
        }
    }
}

/// Checks that every image of the training has a row. Images that cannot be read need none where others take their places:
/// the training never shows them.
fn check_complete(
    recipe: &Recipe,
    path: &Path,
    index: &Index,
    images: &dyn Dataset,
    found: &OfImages,
) -> Result<(), TrainError> {
    let skips = recipe.data.on_bad_image == OnBadImage::Skip;
    let is_needed = |image: &&usize| !skips || images.image(**image).is_ok();
    let lacking: Vec<usize> = found.missing.iter().filter(is_needed).copied().collect();
    let Some(&first) = lacking.first() else { return Ok(()) };
    let known = match index.rows() {
        0 => "no image".to_owned(),
        rows => {
            format!("{rows} images, the first of which is {}", index.entry(0).map_err(unread)?.path)
        }
    };
    Err(setting(
        path,
        &format!(
            "it has no features of {} of the {} training images, the first of which is {}; it has those of {known}; {EXPECTED}",
            lacking.len(),
            images.len(),
            images.name(first)
        ),
    ))
}

fn note(path: &Path, digest: &str, features: &Features, others: usize) -> String {
    let Features { rows, dim, .. } = features;
    let mib = (rows * dim * 4) >> 20;
    let others = match others {
        0 => String::new(),
        1 => "; 1 row of another image is not used".to_owned(),
        rows => format!("; {rows} rows of other images are not used"),
    };
    format!(
        "the teacher's features of {rows} images come from {}, SHA-256 {digest}, and take {mib} MiB of memory: the teacher \
         has seen each image once, whole and without augmentation{others}",
        path.display()
    )
}

fn setting(path: &Path, what: &str) -> TrainError {
    TrainError::Setting(format!("teacher.features: {}: {what}", path.display()))
}

fn unread(error: impl std::fmt::Display) -> TrainError {
    TrainError::Setting(format!("teacher.features: {error}"))
}

/// Returns the path of the file, in the working folder or beside the recipe.
pub(super) fn found(named: &Path, recipe_folder: Option<&Path>) -> Result<PathBuf, TrainError> {
    let beside = recipe_folder.filter(|_| named.is_relative()).map(|folder| folder.join(named));
    let places = [Some(named.to_owned()), beside];
    let place = places.into_iter().flatten().find(|place| place.is_file());
    place.ok_or_else(|| setting(named, &format!("there is no such file; {EXPECTED}")))
}

fn digest_of(path: &Path) -> Result<String, TrainError> {
    let bytes = fs::read(path).map_err(|error| setting(path, &error.to_string()))?;
    Ok(sha256([bytes]))
}
