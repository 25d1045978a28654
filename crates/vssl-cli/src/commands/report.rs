//! `vssl report`: writes runs as one HTML page, and features for TensorBoard's projector.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    comparison,
    encoder::Encoder,
    page::{Document, ImageSample, PageError, RunPictures, RunView, html},
    posterior::Posteriors,
};
use vssl_data::{
    Splits,
    dataset::{self, Evaluated},
};

use super::{destination, encoder};
use crate::{
    arguments::{Common, Report, Shown},
    failure::{Failure, during},
    launcher,
    notes::note,
    output::say,
    progress::Meter,
};

/// Largest number of thumbnails of all runs together; a page with more takes seconds to open.
const MOST_THUMBNAILS: usize = 6000;

pub(super) fn run(arguments: &Report, common: &Common) -> Result<(), Failure> {
    let to = &arguments.to;
    let folders = checked(arguments)?;
    let bar = Meter::waiting(common);
    // Runs that cannot be shown: each costs its own place on the page and no other.
    let mut left_out = Vec::new();
    let mut document = Document {
        live: false,
        version: env!("CARGO_PKG_VERSION"),
        runs: Vec::new(),
        pictures: Vec::new(),
        missing: Vec::new(),
    };
    for folder in &folders {
        bar.set_message(format!("reading {}", folder.display()));
        let run = match RunView::read(folder) {
            Ok(run) if run.has_figures() => run,
            found => {
                let nothing = || PageError::without_figures(folder);
                left_out.push(found.err().unwrap_or_else(nothing));
                continue;
            }
        };
        add(&mut document, run, (arguments, folders.len()), &bar, common)?;
    }
    bar.finish_and_clear();
    if document.runs.is_empty() {
        return Err(left_out.swap_remove(0).into());
    }
    for error in &left_out {
        note(&format!("a run is left out: {error}"));
    }
    let shown: Vec<PathBuf> = document.runs.iter().map(|run| run.folder.clone()).collect();
    let page = html(&document);
    vssl::run::whole_file::write(to, &page).map_err(during("writing the page to", to))?;
    tell(arguments, &shown, &left_out, (&document, page.len()), common)
}

/// Returns the folders of the runs that the page shows.
///
/// # Errors
/// A file that cannot be written or is no page, a path without a run, or several runs where one is expected.
fn checked(arguments: &Report) -> Result<Vec<PathBuf>, Failure> {
    let Report { to, projector, .. } = arguments;
    if destination::ending(to).is_some_and(|ending| !["html", "htm"].contains(&ending.as_str())) {
        return Err(Failure::usage(anyhow!(
            "--to {}: the page is HTML; expected a name that ends in .html",
            to.display()
        )));
    }
    destination::check::<&Path>("--to", to, &[])?;
    if let Some(folder) = projector {
        destination::check::<&Path>("--projector", folder, &[])?;
    }
    let folders = comparison::folders(&arguments.runs)?;
    if projector.is_some() && folders.len() > 1 {
        return Err(Failure::usage(anyhow!(
            "--projector writes the features of one run; got {}: {}",
            folders.len(),
            listed(&folders)
        )));
    }
    Ok(folders)
}

/// Adds a run to the page, with the pictures that its encoder makes; `count` is the number of runs.
fn add(
    document: &mut Document,
    run: RunView,
    (arguments, count): (&Report, usize),
    bar: &Meter,
    common: &Common,
) -> Result<(), Failure> {
    let Report { projector, shown, .. } = arguments;
    for remark in &run.remarks {
        bar.suspend(|| note(&format!("{}: {remark}", run.folder.display())));
    }
    bar.set_message(format!("asking the encoder of {}", run.folder.display()));
    let points = (shown.points as usize).min((MOST_THUMBNAILS / count).max(100));
    let (pictures, missing) = match shown.curves {
        true => (None, Some("left out on request (--curves)".to_owned())),
        false => pictures(&run.folder, points, shown, (projector.as_deref(), bar), common)?,
    };
    if let Some(missing) = missing.as_ref().filter(|_| !shown.curves && !common.quiet) {
        bar.suspend(|| note(&format!("{}: no pictures: {missing}", run.folder.display())));
    }
    document.runs.push(run);
    document.pictures.push(pictures);
    document.missing.push(missing);
    Ok(())
}

/// Prints what was written: `bytes` of a page of `document`, with the runs in `folders`.
fn tell(
    arguments: &Report,
    folders: &[PathBuf],
    left_out: &[PageError],
    (document, bytes): (&Document, usize),
    common: &Common,
) -> Result<(), Failure> {
    let Report { to, projector, .. } = arguments;
    if common.json {
        let pictures = document.pictures.iter().flatten().count();
        let projector = projector.as_ref().map(|folder| folder.to_string_lossy());
        let value = json!({
            "event": "written", "path": to.to_string_lossy(), "runs": folders.len(),
            "bytes": bytes, "runs_with_pictures": pictures, "projector": projector,
            "left_out": left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&to.display().to_string());
    }
    say(&format!("{}: {}, {:.1} MB", to.display(), listed(folders), bytes as f64 / 1e6))?;
    match projector {
        Some(folder) => say(&format!(
            "{}: for TensorBoard: tensorboard --logdir {}",
            folder.display(),
            folder.display()
        )),
        None => Ok(()),
    }
}

fn listed(folders: &[PathBuf]) -> String {
    let names: Vec<String> = folders.iter().map(|run| run.display().to_string()).collect();
    names.join(", ")
}

/// The pictures that the encoder of a run makes, or the reason why there are none: the page of a run
/// without a checkpoint, or whose images were moved, has no pictures.
fn pictures(
    run: &Path,
    points: usize,
    shown: &Shown,
    (projector, bar): (Option<&Path>, &Meter),
    common: &Common,
) -> Result<(Option<RunPictures>, Option<String>), Failure> {
    let opened = open(run, shown, common)?;
    let found = opened.map_err(anyhow::Error::new).and_then(|((encoder, told), splits)| {
        bar.suspend(|| told.iter().for_each(|text| note(text)));
        let changed = changed(&encoder, shown, &splits);
        bar.suspend(|| changed.iter().for_each(|text| note(text)));
        let sample = sampled(&encoder, &splits, points, shown)?;
        bar.suspend(|| {
            encoder::tell_left_out(sample.left_out());
            if let Some(recipe) = &encoder.recipe {
                encoder::tell_found(&recipe.data.source(), &splits);
            }
        });
        if let (Some(folder), Some(recipe)) = (projector, &encoder.recipe) {
            sample.project(&recipe.data.path, folder)?;
        }
        Ok(sample.pictures(&encoder, &splits)?)
    });
    match found {
        Ok(pictures) => Ok((Some(pictures), None)),
        // Pictures that were asked for by name must be there.
        Err(error) if projector.is_some() || shown.copy.checkpoint != "latest" => Err(error.into()),
        Err(error) => Ok((None, Some(error.to_string()))),
    }
}

/// A note on the images of the run, if they are others than those of its checkpoint.
pub(super) fn changed(encoder: &Encoder, shown: &Shown, splits: &Splits) -> Option<String> {
    encoder::changed(encoder, &shown.copy.checkpoint, splits, Evaluated::Validation)
}

/// A sample of a run's images, with their uncertainty where the run has a posterior.
pub(super) fn sampled(
    encoder: &Encoder,
    splits: &Splits,
    points: usize,
    shown: &Shown,
) -> Result<ImageSample, PageError> {
    let mut sample = ImageSample::of(encoder, splits, points)?;
    if let Some(found) = Posteriors::open(&encoder.path, &shown.copy.checkpoint, &encoder.device)? {
        sample.score(encoder, &found)?;
    }
    Ok(sample)
}

/// The encoder of a run with a note on its feature, and the images of the run.
type Opened = ((Encoder, Option<String>), Splits);

/// Opens the encoder of a run and its images.
pub(super) fn open(
    run: &Path,
    shown: &Shown,
    common: &Common,
) -> Result<Result<Opened, PageError>, Failure> {
    let device = launcher::open(shown.copy.device)?;
    let opened = Encoder::open(run, &shown.copy.checkpoint, shown.copy.network.into(), &device);
    let (encoder, told) = match opened {
        Ok(encoder) => encoder::pooled(encoder, &shown.copy)?,
        Err(error) => return Ok(Err(error.into())),
    };
    Ok(Ok(encoder).and_then(|encoder| {
        let recipe = encoder.recipe.as_ref().expect("a folder's encoder has a recipe");
        let config = encoder::moved(recipe.data.source(), common);
        let splits = dataset::open(&config, None)?;
        Ok(((encoder, told), splits))
    }))
}
