//! `vssl report`: runs as one page, and features for TensorBoard's projector.

use std::path::Path;

use anyhow::{Context, anyhow};
use serde_json::json;
use vssl::{
    comparison,
    encoder::Encoder,
    page::{Document, Look, PageError, RunView, Sample, html},
    posterior::Posteriors,
};
use vssl_data::{Splits, dataset};

use super::{encoder, say};
use crate::{
    arguments::{Common, Report, Shown},
    failure::Failure,
    launcher, progress,
};

/// Thumbnails of all runs together; a page with more of them takes seconds to open.
const MOST_THUMBNAILS: usize = 6000;

pub(super) fn run(arguments: &Report, common: &Common) -> Result<(), Failure> {
    let Report { to, projector, shown, .. } = arguments;
    let folders = comparison::folders(&arguments.runs)?;
    let names = || folders.iter().map(|run| run.display().to_string()).collect::<Vec<_>>();
    if projector.is_some() && folders.len() > 1 {
        return Err(Failure::usage(anyhow!(
            "--projector writes the features of one run; got {}: {}",
            folders.len(),
            names().join(", ")
        )));
    }
    let bar = progress::bar(common, "{spinner} {msg}");
    let mut document = Document {
        live: false,
        version: env!("CARGO_PKG_VERSION"),
        runs: Vec::new(),
        looks: Vec::new(),
        missing: Vec::new(),
    };
    for folder in &folders {
        bar.set_message(format!("reading {}", folder.display()));
        let run = RunView::read(folder)?;
        if !run.has_figures() {
            return Err(PageError::NoMetrics { run: folder.clone() }.into());
        }
        bar.set_message(format!("asking the encoder of {}", folder.display()));
        let points = (shown.points as usize).min((MOST_THUMBNAILS / folders.len()).max(100));
        let (look, missing) = match shown.curves {
            true => (None, Some("left out on request (--curves)".to_owned())),
            false => look(folder, points, shown, projector.as_deref(), common)?,
        };
        if let Some(missing) = missing.as_ref().filter(|_| !shown.curves && !common.quiet) {
            bar.suspend(|| eprintln!("note: {}: no pictures: {missing}", folder.display()));
        }
        document.runs.push(run);
        document.looks.push(look);
        document.missing.push(missing);
    }
    bar.finish_and_clear();
    let page = html(&document);
    vssl::run::whole_file::write(to, &page)
        .with_context(|| format!("writing the page to {}", to.display()))?;
    if common.json {
        let pictures = document.looks.iter().flatten().count();
        let value = json!({
            "event": "written", "path": to, "runs": folders.len(), "bytes": page.len(),
            "runs_with_pictures": pictures, "projector": projector,
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&to.display().to_string());
    }
    let size = page.len() as f64 / 1e6;
    say(&format!("{}: {}, {size:.1} MB", to.display(), names().join(", ")))?;
    match projector {
        Some(folder) => say(&format!(
            "{}: for TensorBoard: tensorboard --logdir {}",
            folder.display(),
            folder.display()
        )),
        None => Ok(()),
    }
}

/// What the encoder of the run says, or why it says nothing: images that were moved, or a run
/// without a checkpoint, leave a page without pictures.
fn look(
    run: &Path,
    points: usize,
    shown: &Shown,
    projector: Option<&Path>,
    common: &Common,
) -> Result<(Option<Look>, Option<String>), Failure> {
    let opened = open(run, shown, common)?;
    let found = opened.map_err(anyhow::Error::new).and_then(|(encoder, splits)| {
        let sample = sampled(&encoder, &splits, points, shown)?;
        if let (Some(folder), Some(recipe)) = (projector, &encoder.recipe) {
            sample.project(&recipe.data.path, folder)?;
        }
        Ok(sample.look(&encoder, &splits)?)
    });
    match found {
        Ok(look) => Ok((Some(look), None)),
        // What was asked for by name must be there.
        Err(error) if projector.is_some() || shown.copy.checkpoint != "latest" => Err(error.into()),
        Err(error) => Ok((None, Some(error.to_string()))),
    }
}

/// Images of a run, with what the run's posterior says of them where it has one.
pub(super) fn sampled(
    encoder: &Encoder,
    splits: &Splits,
    points: usize,
    shown: &Shown,
) -> Result<Sample, PageError> {
    let mut sample = Sample::of(encoder, splits, points)?;
    if let Some(found) = Posteriors::open(&encoder.path, &shown.copy.checkpoint, &encoder.device)? {
        sample.score(encoder, &found)?;
    }
    Ok(sample)
}

/// The encoder of a run and its images.
pub(super) fn open(
    run: &Path,
    shown: &Shown,
    common: &Common,
) -> Result<Result<(Encoder, Splits), PageError>, Failure> {
    let device = launcher::open(shown.copy.device)?;
    let opened = Encoder::open(run, &shown.copy.checkpoint, shown.copy.network.into(), &device);
    Ok(opened.map_err(PageError::from).and_then(|encoder| {
        let recipe = encoder.recipe.as_ref().expect("a folder's encoder has a recipe");
        let config = encoder::moved(recipe.data.source(), common);
        let splits = dataset::open(&config, None)?;
        Ok((encoder, splits))
    }))
}
