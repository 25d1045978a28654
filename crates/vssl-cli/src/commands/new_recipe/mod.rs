//! `vssl new-recipe`: writes a recipe for the user's images, with every key explained.
//!
//! [`survey`] looks at the images with [`channels`] and [`pixels`], [`encoder`] at what the run starts from, [`tuning`]
//! knows the optimiser and the views of each method, [`meaning`] what its settings do, [`text`] writes the recipe. It is
//! parsed and checked before it is saved, so that `vssl pretrain` accepts the file as it is.

mod channels;
mod encoder;
mod meaning;
mod networks;
mod page;
mod pixels;
mod survey;
mod text;
mod tuning;
mod views;

use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    method::Sizes,
    methods::{self, METHODS},
    recipe::{Entry, Recipe},
    run::whole_file,
    train::Role,
};

use super::{destination, pretrain};
use crate::{
    arguments::{Common, NewRecipe},
    failure::{Failure, during},
    notes::note,
    output::{counted, quoted, say},
};
use encoder::Encoder;
use survey::{Asked, Survey};
use text::Encoders;

pub(super) fn run(arguments: &NewRecipe, common: &Common) -> Result<(), Failure> {
    let method = &arguments.method;
    let entry = methods::find(method)
        .ok_or_else(|| Failure::usage(anyhow!("no method {method}; `vssl methods` lists all")))?;
    let path = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("{method}.toml")));
    let sources = [Some(&arguments.data), arguments.from.as_ref(), arguments.teacher.as_ref()];
    destination::check("--out", &path, &sources.into_iter().flatten().collect::<Vec<_>>())?;
    check_teacher(entry, arguments.teacher.is_some())?;
    // Refused before the images are read, which takes longer.
    if path.exists() && !arguments.force {
        return Err(exists(&path));
    }
    let open = |role, path: &Option<PathBuf>| {
        path.as_deref().map(|path| Encoder::open(role, path)).transpose()
    };
    let from = open(Role::Start, &arguments.from)?;
    let teacher = open(Role::Teacher, &arguments.teacher)?;
    let channels = |encoder: &Option<Encoder>| encoder.as_ref().map(|encoder| encoder.channels);
    let asked = Asked {
        train: arguments.train.as_deref(),
        channels: arguments.channels.map(usize::from),
        known: channels(&teacher).or_else(|| channels(&from)),
        recipe: &path,
    };
    let mut survey = Survey::of(&arguments.data, asked)?;
    check_channels(channels(&teacher), &survey)?;
    if networks::needs_patches(entry) {
        survey.view = tuning::cut(survey.side).0;
    }
    if let Some(from) = &from {
        survey.view = from.fitting(survey.view);
    }
    survey.notes.extend(from.iter().chain(&teacher).flat_map(|encoder| encoder.notes.clone()));
    survey.notes.extend(changed_stem(channels(&from), &survey));
    let encoders = Encoders { from: from.as_ref(), teacher: teacher.as_ref() };
    let text = text::write(entry, &survey, encoders, &path)?;
    let start = from.as_ref().and_then(|from| from.start.as_ref());
    let recipe = check(entry, &survey, &text, &path, start.is_some())?;
    survey.notes.extend(start.and_then(|start| start.remark(&recipe)));
    if let Some(start) = teacher.and_then(|teacher| teacher.start) {
        let checked = vssl::train::check_teacher(start, &recipe);
        survey.notes.extend(checked.map_err(pretrain::classified)?);
    }
    // Programs get the notes with the result.
    if !common.json {
        survey.notes.iter().for_each(|text| note(text));
    }
    save(&path, &text, arguments.force)?;
    tell(method, &survey, &path, common)
}

/// Refuses a method that has a frozen teacher without one, and a teacher for a method that has none.
fn check_teacher(entry: &Entry, is_given: bool) -> Result<(), Failure> {
    let name = entry.name;
    match (is_given, entry.defaults().has_frozen_teacher()) {
        (false, true) => Err(Failure::usage(anyhow!(
            "{name} has a frozen teacher, and --teacher is not given; expected --teacher ENCODER: a run folder, a file \
             that `vssl export` or `vssl import` wrote, or another program's weights"
        ))),
        (true, false) => Err(Failure::usage(anyhow!(
            "--teacher is given, and {name} has no frozen teacher; expected the method distill, or no --teacher"
        ))),
        _ => Ok(()),
    }
}

/// Refuses a teacher of images with other channels than the recipe reads, which nothing can give it.
fn check_channels(of_teacher: Option<usize>, survey: &Survey) -> Result<(), Failure> {
    let Some(own) = of_teacher.filter(|own| *own != survey.channels) else { return Ok(()) };
    let stored = match survey.stored.is_empty() {
        true => String::new(),
        false => format!(" (of the images that were looked at, {})", survey.stored),
    };
    Err(Failure::usage(anyhow!(
        "--teacher takes images of {}, and the recipe would read images of {}{stored}; expected a teacher that was \
         trained on such images, or --channels {own} for images that can be read so",
        counted(own, "channel"),
        counted(survey.channels, "channel")
    )))
}

/// Returns a note where the encoder to start from takes other channels than the recipe reads.
fn changed_stem(of_encoder: Option<usize>, survey: &Survey) -> Option<String> {
    let own = of_encoder.filter(|own| *own != survey.channels)?;
    Some(format!(
        "the encoder takes images of {}, the recipe reads images of {}: its first layer starts with the mean of its \
         weights (init.stem_channels)",
        counted(own, "channel"),
        counted(survey.channels, "channel")
    ))
}

/// Reads the recipe as `vssl pretrain` will. Its network is known unless an encoder decides it that could not be read:
/// `knows_encoder` says whether one was.
fn check(
    entry: &Entry,
    survey: &Survey,
    text: &str,
    path: &Path,
    knows_encoder: bool,
) -> Result<Recipe, Failure> {
    if entry.name == "wmse" && survey.images < 16 {
        return Err(anyhow!(
            "wmse whitens groups of images that are more than its dimensions; expected at least 16 images, and \
             these are {}",
            survey.images
        )
        .into());
    }
    let (recipe, _) = Recipe::parse(text, &path.display().to_string(), &[], METHODS)?;
    let views = |local: bool| -> usize {
        let groups = recipe.views.iter().filter(|group| group.local == local);
        groups.map(|group| group.count).sum()
    };
    let sizes = Sizes {
        images: survey.images,
        batch: recipe.train.batch,
        global_views: views(false),
        local_views: views(true),
    };
    if recipe.method.sees_labels() && survey.classes.is_none() {
        return Err(anyhow!(
            "{} learns from labels, and these images have none; expected a folder for each class",
            entry.name
        )
        .into());
    }
    recipe
        .method
        .check(&sizes)
        .map_err(|problem| anyhow!("{} does not fit these images: {problem}", entry.name))?;
    // Of another program's file that does not tell all, the network is not known before the run.
    if recipe.init.is_none() || knows_encoder {
        let what = if recipe.init.is_some() { "this encoder" } else { "these images" };
        let global = recipe.views.iter().filter(|group| !group.local);
        for patches in global.map(|group| recipe.backbone.patches(group.size)) {
            recipe
                .method
                .check_patches(patches)
                .map_err(|problem| anyhow!("{} does not fit {what}: {problem}", entry.name))?;
        }
    }
    Ok(recipe)
}

fn save(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let written = match force {
        true => whole_file::write(path, text),
        false => File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes())),
    };
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) if error.kind() == ErrorKind::NotFound && !force => {
            let said = vssl_data::explained(path, &error);
            Err(anyhow!("writing {}: {said}; make the folder first", path.display()).into())
        }
        written => Ok(written.map_err(during("writing", path))?),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::usage(anyhow!(
        "{}: the file exists; expected a new file: name another with --out, or replace it with \
         --force",
        path.display()
    ))
}

fn tell(method: &str, survey: &Survey, path: &Path, common: &Common) -> Result<(), Failure> {
    if common.json {
        return say(&json!({
            "event": "written",
            "path": path.to_string_lossy(),
            "method": method,
            "images": survey.images,
            "validation_images": survey.validation.map(|split| split.images),
            "classes": survey.classes,
            "side": survey.side,
            "channels": survey.channels,
            "stored_channels": survey.stored,
            "grey": survey.grey,
            "looked_at": survey.looked_at,
            "unreadable": survey.unreadable,
            "notes": survey.notes,
        })
        .to_string());
    }
    if common.quiet {
        return say(&path.display().to_string());
    }
    say(&format!(
        "{}: {method} for {}\n\nnext:\n  vssl pretrain {}",
        path.display(),
        survey.summary(),
        quoted(&path.display().to_string())
    ))
}
