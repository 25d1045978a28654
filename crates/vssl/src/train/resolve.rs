//! Makes the plan of a run: opens the data, counts the steps, and checks all that can be checked before the first step,
//! the cheapest and the most telling first. [`remarks`](super::remarks) adds what a person should know.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use vssl_data::{Dataset, Pipeline, dataset};

use super::{
    Plan, TrainError,
    beginning::Beginning,
    environment::{
        Environment, adapt_batch, check_batch, check_group, check_step, check_views, find_data,
    },
    outside, start,
    teacher::Teacher,
};
use crate::{
    collective::Group,
    eval::evaluators,
    method::Sizes,
    methods,
    recipe::{self, Recipe},
    run::{events::Summary, folder, images::Images, length::Length, losses, resume},
    tensors::state::Tensors,
};

impl Plan {
    /// Plans a new run of `recipe` in the folder `run`.
    ///
    /// # Errors
    /// The data cannot be opened, settings do not fit together, or the disk is full.
    pub fn new(recipe: Recipe, run: &Path, environment: Environment) -> Result<Self, TrainError> {
        Self::resolve(recipe, run, environment, Beginning::default())
    }

    /// Plans to go on with the run in the folder `run` after the checkpoint `from` (`latest`, `best` or
    /// `step-…`). `recipe` is read from the folder; some of its settings may have been changed, the length
    /// among them.
    ///
    /// # Errors
    /// The errors of [`Plan::new`]; also, the checkpoint is damaged, was made with other settings than the
    /// length or with other images, or has done more steps than the new length has.
    pub fn resume(
        mut recipe: Recipe,
        run: &Path,
        from: &str,
        environment: Environment,
    ) -> Result<Self, TrainError> {
        let beginning = Beginning::of(run, from)?;
        keep_settings(&mut recipe, run, &beginning)?;
        Self::resolve(recipe, run, environment, beginning)
    }

    fn resolve(
        mut recipe: Recipe,
        run: &Path,
        environment: Environment,
        beginning: Beginning,
    ) -> Result<Self, TrainError> {
        recipe.data.path = find_data(&recipe.data.path, &environment)?;
        let mut notes: Vec<String> = beginning.note.iter().cloned().collect();
        let (start, teacher) = encoders(&mut recipe, run, &environment, &beginning, &mut notes)?;
        let group = environment.group.clone().with_joint_norms(recipe.train.sync_batchnorm);
        recipe.train.precision.check(&environment.device)?;
        check_folder(&recipe, run, &environment, &beginning)?;
        let splits = dataset::open(&recipe.data.source(), None)?;
        let count = splits.train.len();
        let images =
            group.leads().then(|| Images::of(splits.train.as_ref(), splits.validation.as_deref()));
        let allows_changes = environment.allow_changed_data;
        beginning.check_images(run, images.as_ref(), allows_changes)?;
        if beginning.checkpoint.is_some() && group.leads() {
            notes.extend(losses::notes::<Summary>(run, true)?);
        }
        if environment.adapts_batch {
            notes.extend(adapt_batch(&mut recipe, &group, count));
        }
        let (pipeline, sizes) = fitting(&recipe, &group, count)?;
        notes.extend(check_step(&recipe, &group, &environment.device)?);
        let teacher =
            taught(teacher, &mut recipe, &splits.train, (&environment, &beginning), &mut notes)?;
        let length = length(&recipe);
        notes.extend((!splits.found.is_empty()).then(|| splits.found.to_string()));
        let mut plan = Self {
            recipe_text: recipe.to_toml(),
            run: run.to_owned(),
            continues: beginning.continues,
            resume_from: beginning.checkpoint,
            images,
            train: splits.train,
            validation: splits.validation,
            device: environment.device,
            evaluators: evaluators::chosen(&evaluators::Settings::of(&recipe)).map_err(
                |problem| TrainError::Setting(format!("evaluation.evaluators: {problem}")),
            )?,
            steps_per_epoch: length.steps_per_epoch(count),
            total_steps: length.total_steps(count),
            notes,
            force: environment.force,
            group,
            pipeline,
            sizes,
            commit: environment.commit,
            recipe_folder: environment.recipe_folder,
            start: Mutex::new(start),
            teacher,
            without_weights: beginning.without_weights,
            recipe,
        };
        let remarks = plan.remarks(length, allows_changes)?;
        plan.notes.extend(remarks);
        Ok(plan)
    }
}

/// Settles the recipe of a run that goes on from `beginning`: what a run cannot change is kept as it was.
///
/// # Errors
/// The recipe changes more than a run that goes on allows.
fn keep_settings(recipe: &mut Recipe, run: &Path, beginning: &Beginning) -> Result<(), TrainError> {
    let checkpoint = beginning.checkpoint.as_ref();
    let stored = match checkpoint {
        Some(checkpoint) => checkpoint.recipe.clone(),
        None => folder::recipe_of(run)?,
    };
    let unless_empty = |differences: Vec<recipe::Difference>| match differences.is_empty() {
        true => Ok(()),
        false => Err(TrainError::OtherRecipe { run: run.to_owned(), differences }),
    };
    // A recipe that cannot be read is told of below.
    if let Ok(was) = methods::recipe_from(&stored) {
        resume::keep_start(&was, recipe);
        // Without a checkpoint the run begins again, and with the encoder that its folder holds.
        let kept = [(folder::START, "init."), (folder::TEACHER, "teacher.")];
        let is_kept = |key: &str| {
            kept.iter().any(|(file, of)| key.starts_with(of) && run.join(file).is_file())
        };
        if checkpoint.is_none() {
            let mut differences = resume::apart_from_place(recipe::difference(&was, recipe));
            differences.retain(|found| is_kept(&found.key));
            unless_empty(differences)?;
        }
    }
    if let Some(checkpoint) = checkpoint {
        recipe.data.normalisation = Some(recipe.data.normalisation());
        let differences = resume::differences_since(&checkpoint.recipe, recipe);
        let differences = differences
            .map_err(|source| TrainError::StoredRecipe { run: run.to_owned(), source })?;
        unless_empty(resume::apart_from_length(differences))?;
    }
    Ok(())
}

/// Reads the encoder that the run starts from and the frozen teacher, and settles in the recipe what follows from
/// them. Notes on both are added to `notes`.
///
/// # Errors
/// An encoder cannot be read or does not fit, or settings do not fit together.
fn encoders(
    recipe: &mut Recipe,
    run: &Path,
    environment: &Environment,
    beginning: &Beginning,
    notes: &mut Vec<String>,
) -> Result<(Option<Tensors>, Option<Teacher>), TrainError> {
    let (folder, begun) = (environment.recipe_folder.as_deref(), beginning.continues);
    let mut start = None;
    if beginning.checkpoint.is_none() {
        let (told, weights) = start::take_over(recipe, run, begun, folder)?;
        notes.extend(told);
        start = weights;
    }
    recipe.check().map_err(TrainError::Setting)?;
    // A recipe that a program made may lack the normalisation; the recipe of the run has it.
    recipe.data.normalisation = Some(recipe.data.normalisation());
    let (teacher, told) = Teacher::of_run(recipe, run, begun, folder, &environment.device)?;
    notes.extend(told);
    Ok((start, teacher))
}

/// Gives the teacher the features that the recipe names, if it names some, of images that are known to be those of the run:
/// others lack features. Notes on them are added to `notes`.
///
/// # Errors
/// The errors of [`Teacher::with_features`].
fn taught(
    teacher: Option<Teacher>,
    recipe: &mut Recipe,
    images: &Arc<dyn Dataset>,
    (environment, beginning): (&Environment, &Beginning),
    notes: &mut Vec<String>,
) -> Result<Option<Teacher>, TrainError> {
    let Some(teacher) = teacher else { return Ok(None) };
    let folder = environment.recipe_folder.as_deref();
    let goes_on = beginning.checkpoint.is_some();
    let (teacher, told) = teacher.with_features(recipe, images, folder, goes_on)?;
    notes.extend(told);
    Ok(Some(teacher))
}

/// Checks that a new run may write to its folder.
///
/// # Errors
/// The folder holds another run, or what the recipe reads would be replaced.
fn check_folder(
    recipe: &Recipe,
    run: &Path,
    environment: &Environment,
    beginning: &Beginning,
) -> Result<(), TrainError> {
    if beginning.continues || !environment.group.leads() {
        return Ok(());
    }
    match environment.force {
        true => outside::check(recipe, run, environment.recipe_folder.as_deref()),
        false => Ok(folder::check_free(run)?),
    }
}

/// Checks that batches, views and method fit each other and `count` training images. Returns what makes the views, and
/// the sizes that the method is told.
fn fitting(
    recipe: &Recipe,
    group: &Group,
    count: usize,
) -> Result<(Arc<Pipeline>, Sizes), TrainError> {
    check_group(recipe, group)?;
    check_views(recipe, group)?;
    let normalisation = recipe.data.normalisation();
    let pipeline = Pipeline::new(recipe.views.clone(), normalisation, recipe.seed)?;
    check_batch(recipe, group, count)?;
    let sizes = sizes(recipe, count);
    check_method(recipe, sizes)?;
    Ok((Arc::new(pipeline), sizes))
}

/// Checks that the method can learn from so many images and views, and from the patches of each full-size view.
fn check_method(recipe: &Recipe, sizes: Sizes) -> Result<(), TrainError> {
    let seen = sizes.images - sizes.images % recipe.train.batch;
    recipe.method.check(&Sizes { images: seen, ..sizes }).map_err(TrainError::Setting)?;
    for view in recipe.views.iter().filter(|view| !view.local) {
        let patches = recipe.backbone.patches(view.size);
        recipe.method.check_patches(patches).map_err(TrainError::Setting)?;
    }
    Ok(())
}

fn length(recipe: &Recipe) -> Length {
    let train = &recipe.train;
    Length { batch: train.batch, epochs: train.epochs, max_steps: train.max_steps }
}

/// Returns the sizes that a method is told for `images` training images.
pub(crate) fn sizes(recipe: &Recipe, images: usize) -> Sizes {
    let views = |local: bool| {
        recipe.views.iter().filter(|group| group.local == local).map(|group| group.count).sum()
    };
    Sizes {
        images,
        batch: recipe.train.batch / recipe.train.accumulate,
        global_views: views(false),
        local_views: views(true),
    }
}
