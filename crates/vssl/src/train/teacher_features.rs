//! Features that a frozen teacher made once of all training images, instead of its forward pass in each step:
//! `teacher.features` of a recipe. Called by the plan of a run.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use vssl_data::{
    Dataset, EvaluationLoader, EvaluationPlan, EvaluationTransform, OnBadImage, dataset::Subset,
};

use super::{TrainError, teacher::Teacher};
use crate::{
    encoder::Reading,
    features::{Features, check_finite},
    recipe::{InitSection, Recipe},
    run::digest::sha256_of_file,
    stored::{Index, OfImages, Origin, Split, fingerprint_of},
};

/// What file is expected.
const EXPECTED: &str = "expected the file that `vssl embed TEACHER --to FILE` wrote of the training images, .parquet or .safetensors";

/// The side in pixels to which images are brought that are read only to see whether they can be.
const SIDE: usize = 8;

impl Teacher {
    /// Gives the teacher the features that the recipe names, if it names some, of all `images` of the training, and gives
    /// the recipe their place and digest. Returns notes on them. `goes_on` says whether the run has a checkpoint.
    ///
    /// # Errors
    /// The features cannot be read, are of another encoder or another feature of it, or an image has none.
    pub(super) fn with_features(
        self,
        recipe: &mut Recipe,
        images: &Arc<dyn Dataset>,
        recipe_folder: Option<&Path>,
        goes_on: bool,
    ) -> Result<(Self, Vec<String>), TrainError> {
        let Some(table) = &mut recipe.teacher else { return Ok((self, Vec::new())) };
        let Some(named) = &table.features else { return Ok((self, Vec::new())) };
        let path = found(named, recipe_folder)?;
        let digest = pin(table, &path)?;
        let index = Index::open(&path).map_err(unread)?;
        self.check_origin(&index, &path)?;
        let found = index.of_images(images.as_ref(), &recipe.data.path).map_err(unread)?;
        check_classes(&path, images.as_ref(), &found)?;
        check_complete(recipe, (&path, &index), images, &found, goes_on)?;
        let OfImages { features, others, .. } = found;
        check_finite("teacher.features", 0, features.dim, &features.values).map_err(unread)?;
        let notes = notes((&path, &digest), &index.origin, &features, others);
        let network = Arc::new(self.network.as_ref().clone().with_features(features));
        let checked = recipe.method.check_teacher(&network, &recipe.backbone);
        checked.map_err(TrainError::Setting)?;
        Ok((Self { network, ..self }, notes))
    }

    /// Checks that the features are those that this teacher makes of whole images.
    fn check_origin(&self, index: &Index, path: &Path) -> Result<(), TrainError> {
        let origin = &index.origin;
        let made_by = origin.encoder.display();
        let refused = |what: &str| Err(setting(path, what));
        if fingerprint_of(self.network.backbone()) != origin.sha256 {
            let step = origin.step.map(|step| format!(" after step {step}")).unwrap_or_default();
            return refused(&format!(
                "made by {made_by}{step}, whose weights are not those of the teacher; {EXPECTED}"
            ));
        }
        let config = self.network.config();
        let differences = origin.differences(config);
        let pools = differences.iter().any(|difference| difference.key == "vit.pooling");
        if let Some(pooling) = origin.pooling_of_rows().filter(|_| pools || origin.is_unsure()) {
            let own = config.pooling().map_or("token", |own| own.name()).replace('_', "-");
            return refused(&format!(
                "the features are {}, not the teacher's own; write the file again with --pooling {own}",
                pooling.words()
            ));
        }
        if !differences.is_empty() {
            let listed: Vec<String> = differences.iter().map(ToString::to_string).collect();
            return refused(&format!(
                "made by {made_by}, whose weights are those of the teacher and whose settings are not ({}; the file -> the \
                 teacher); {EXPECTED}",
                listed.join(", ")
            ));
        }
        if origin.input != self.input {
            return refused(&format!(
                "{made_by} was given images of another size or normalisation than the teacher has; {EXPECTED}"
            ));
        }
        let (dim, own) = (index.dim(), self.network.dim());
        match dim == own {
            true => Ok(()),
            false => refused(&format!(
                "rows of {dim} numbers, and the teacher's features have {own}; {EXPECTED}"
            )),
        }
    }
}

/// Gives the table of the recipe the digest and the place of the file, and returns the digest.
///
/// # Errors
/// The file cannot be read, or is not the one that the recipe expects.
fn pin(table: &mut InitSection, path: &Path) -> Result<String, TrainError> {
    let digest = sha256_of_file(path).map_err(|error| failed(path, &error.to_string()))?;
    match &table.features_digest {
        Some(expected) if *expected != digest => {
            return Err(failed(
                path,
                &format!(
                    "its SHA-256 is {digest}, the recipe expects {expected} (teacher.features_digest); bring that file back, \
                     or begin a new run without the key"
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
    Ok(digest)
}

/// Checks that images have the classes that they had when their features were made: another set may have the same names.
fn check_classes(path: &Path, images: &dyn Dataset, found: &OfImages) -> Result<(), TrainError> {
    let Some(other) = &found.other_class else { return Ok(()) };
    Err(setting(
        path,
        &format!(
            "its row of {} is of class {}, and the training image is of class {}: the features are of another set of images, \
             or the classes have changed since; {EXPECTED}",
            images.name(other.image),
            other.of_index,
            other.of_set
        ),
    ))
}

/// Checks that every image of the training has a row. Images that cannot be read need none where others take their places:
/// the training never shows them.
fn check_complete(
    recipe: &Recipe,
    (path, index): (&Path, &Index),
    images: &Arc<dyn Dataset>,
    found: &OfImages,
    goes_on: bool,
) -> Result<(), TrainError> {
    let skips = recipe.data.on_bad_image == OnBadImage::Skip;
    let lacking = match skips && found.missing.len() < images.len() {
        true => readable(recipe, images, &found.missing)?,
        false => found.missing.clone(),
    };
    let Some(&first) = lacking.first() else { return Ok(()) };
    let known = match index.rows() {
        0 => "no image".to_owned(),
        rows => {
            format!("{rows} images, the first of which is {}", index.entry(0).map_err(unread)?.path)
        }
    };
    let advice = match goes_on {
        true => {
            "a run that goes on cannot take other features: bring its images back, or begin a new run"
        }
        false => EXPECTED,
    };
    Err(setting(
        path,
        &format!(
            "it has no features of {} of the {} training images, the first of which is {}; it has those of {known}; {advice}",
            lacking.len(),
            images.len(),
            images.name(first)
        ),
    ))
}

/// Returns those of the images of these numbers that the training can show, in the same order.
fn readable(
    recipe: &Recipe,
    images: &Arc<dyn Dataset>,
    numbers: &[usize],
) -> Result<Vec<usize>, TrainError> {
    let some = Arc::new(Subset::of(Arc::clone(images), numbers.to_vec())?);
    let Reading { workers, prefetch, .. } = Reading::default();
    let plan = EvaluationPlan {
        transform: EvaluationTransform { resize: Some(SIDE), crop: SIDE },
        normalisation: recipe.data.normalisation(),
        batch: 16,
        workers,
        prefetch,
        on_bad_image: OnBadImage::Skip,
    };
    let mut readable = Vec::new();
    for batch in EvaluationLoader::new(some, plan)? {
        readable.extend(batch?.indices.iter().map(|&at| numbers[at]));
    }
    Ok(readable)
}

fn notes(
    (path, digest): (&Path, &str),
    origin: &Origin,
    features: &Features,
    others: usize,
) -> Vec<String> {
    let Features { rows, dim, .. } = features;
    let mib = (rows * dim * 4) >> 20;
    let others = match others {
        0 => String::new(),
        1 => "; 1 row of another image is not used".to_owned(),
        rows => format!("; {rows} rows of other images are not used"),
    };
    let (split, set, file) = (origin.split, origin.images.path.display(), path.display());
    let told = format!(
        "the teacher's features of {rows} images come from {file}, SHA-256 {digest}, made of the {split} images of {set}, and \
         take {mib} MiB of memory: the teacher has seen each image once, whole and without augmentation{others}"
    );
    let other_split = (split != Split::Train).then(|| {
        format!(
            "{file}: its features are of the {split} images of {set}, and the run learns from training images of the same \
             names; that both are the same images was not checked"
        )
    });
    let unsure = origin.is_unsure().then(|| {
        format!(
            "{file}: an earlier version wrote it, which noted the weights of the encoder and not its settings: that its \
             pooling and the like are the teacher's was not checked"
        )
    });
    [Some(told), other_split, unsure].into_iter().flatten().collect()
}

fn setting(path: &Path, what: &str) -> TrainError {
    TrainError::Setting(format!("teacher.features: {}: {what}", path.display()))
}

/// The error of a file that cannot be read, for the reason `error`, which names the file.
fn unread(error: impl std::fmt::Display) -> TrainError {
    TrainError::TeacherFeatures(error.to_string())
}

fn failed(path: &Path, what: &str) -> TrainError {
    TrainError::TeacherFeatures(format!("{}: {what}", path.display()))
}

/// Returns the path of the file, in the working folder or beside the recipe.
pub(super) fn found(named: &Path, recipe_folder: Option<&Path>) -> Result<PathBuf, TrainError> {
    let beside = recipe_folder.filter(|_| named.is_relative()).map(|folder| folder.join(named));
    let places = [Some(named.to_owned()), beside];
    let place = places.into_iter().flatten().find(|place| place.is_file());
    place.ok_or_else(|| {
        failed(
            named,
            &format!(
                "there is no such file; {EXPECTED}. Where it was moved, --set teacher.features=FILE names its new place"
            ),
        )
    })
}
