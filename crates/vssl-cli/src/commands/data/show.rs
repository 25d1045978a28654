//! `vssl data show`: draws images as they are decoded, and their views as the network gets them.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::{Value, json};
use vssl::{
    methods::METHODS,
    recipe::Recipe,
    run::{folder::RECIPE, whole_file},
};
use vssl_data::{
    Dataset, Draw, Image, Pipeline,
    augment::{Adjustment, ViewParameters},
    dataset::{Folder, Tones, text_of},
    view_sheet,
};

use super::super::destination;
use crate::{
    arguments::Common,
    failure::{Failure, during},
    output::{counted, say},
};

/// The recipe whose views are drawn, and their seed if it is not the recipe's.
pub(super) struct Views<'a> {
    pub recipe: &'a Path,
    pub seed: Option<u64>,
}

pub(super) fn run(
    (files, channels): (&[PathBuf], Option<usize>),
    to: &Path,
    views: Option<Views>,
    draws: u64,
    common: &Common,
) -> Result<(), Failure> {
    if !to.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png")) {
        let error = anyhow!("--to {}: expected a file that ends in .png", to.display());
        return Err(Failure::usage(error));
    }
    let recipe = views.as_ref().map(|views| views.recipe);
    let read: Vec<&Path> = files.iter().map(PathBuf::as_path).chain(recipe).collect();
    destination::check("--to", to, &read)?;
    let pipeline = views.as_ref().map(pipeline).transpose()?;
    let set = Folder::of_files(files.to_vec());
    let set = match &pipeline {
        Some(seen) => set.with_tones(seen.tones).with_channels(seen.pipeline.channels()),
        None => set.with_channels(channels.unwrap_or(3)),
    };
    let images = (0..files.len()).map(|at| set.image(at)).collect::<Result<Vec<_>, _>>()?;
    let pipe = pipeline.as_ref().map(|seen| &seen.pipeline);
    let (collage, drawn) = view_sheet(&images, pipe, draws).map_err(Failure::usage)?;
    let (width, height) = collage.size();
    let png = collage.png();
    let png = png.map_err(|what| anyhow!("a picture of {width} x {height} pixels: {what}"))?;
    whole_file::write(to, png).map_err(during("writing the picture to", to))?;
    if common.json {
        let seed = pipeline.as_ref().map(|seen| seen.seed);
        let images = files.iter().zip(&images).enumerate();
        let images: Vec<Value> =
            images.map(|(at, (file, image))| told(at, file, image, &drawn)).collect();
        let value = json!({
            "event": "shown", "path": to.to_string_lossy(), "width": width, "height": height,
            "seed": seed, "images": images,
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&to.display().to_string());
    }
    for (file, image) in files.iter().zip(&images) {
        say(&described(file, image))?;
    }
    let rows = match &pipeline {
        None => String::new(),
        Some(seen) => format!(
            ", a row for each of {} of {} with seed {}; --json tells their parameters",
            counted(draws, "draw"),
            counted(seen.pipeline.views().len(), "view"),
            seen.seed
        ),
    };
    say(&format!("{}: {}{rows}", to.display(), counted(files.len(), "image")))
}

/// An image in words: its size, and how much of it is drawn.
fn described(file: &Path, image: &Image) -> String {
    let (Image { width, height, .. }, file) = (image, text_of(file));
    let drawn = match image.channels() {
        3 => String::new(),
        1 => ", 1 channel".to_owned(),
        2 => ", 2 channels, of which the first is drawn".to_owned(),
        more => format!(", {more} channels, of which the first three are drawn"),
    };
    format!("{file}: {width} x {height} pixels{drawn}")
}

/// How a recipe reads and changes images.
struct Seen {
    pipeline: Pipeline,
    seed: u64,
    /// What samples of more than 8 bits become.
    tones: Tones,
}

/// The views of a recipe, their seed, and the tones of its images.
fn pipeline(views: &Views) -> Result<Seen, Failure> {
    let path = match views.recipe.is_dir() {
        true => views.recipe.join(RECIPE),
        false => views.recipe.to_owned(),
    };
    let (recipe, _) = Recipe::load(&path, &[], METHODS).map_err(Failure::usage)?;
    let (normalisation, seed) = (recipe.data.normalisation(), views.seed.unwrap_or(recipe.seed));
    let tones = recipe.data.source().tones();
    Ok(Seen { pipeline: Pipeline::new(recipe.views, normalisation, seed)?, seed, tones })
}

fn told(at: usize, file: &Path, image: &Image, drawn: &[Draw]) -> Value {
    let own = drawn.iter().filter(|draw| draw.image == at);
    let draws: Vec<Value> = own
        .map(|draw| {
            let views: Vec<Value> = draw.views.iter().map(parameters).collect();
            json!({ "draw": draw.draw, "views": views })
        })
        .collect();
    json!({
        "path": file.to_string_lossy(), "width": image.width, "height": image.height,
        "channels": image.channels(), "draws": draws,
    })
}

fn parameters(view: &ViewParameters) -> Value {
    let ViewParameters { region, jitter, grayscale, blur, solarize, equalize, flip } = view;
    let adjustment = |adjustment: &Adjustment| match adjustment {
        Adjustment::Nothing => None,
        Adjustment::Brightness(value) => Some(json!({ "brightness": value })),
        Adjustment::Contrast(value) => Some(json!({ "contrast": value })),
        Adjustment::Saturation(value) => Some(json!({ "saturation": value })),
        Adjustment::Hue(value) => Some(json!({ "hue": value })),
    };
    let jitter = jitter.map(|all| all.iter().filter_map(adjustment).collect::<Vec<Value>>());
    json!({
        "crop": {
            "left": region.left, "top": region.top, "width": region.width, "height": region.height,
        },
        "jitter": jitter, "grayscale": grayscale, "blur": blur, "solarize": solarize,
        "equalize": equalize, "flip": flip,
    })
}
