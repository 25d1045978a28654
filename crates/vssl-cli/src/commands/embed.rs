//! `vssl embed`: writes the features of a set of images to a file.

use std::cmp::Ordering;

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    embed::{EmbedError, Embedded, Form, Job, Origin, Split, embed},
    encoder::EncoderError,
    posterior::{self, Posteriors},
    run::stop::Stop,
};
use vssl_data::{DataError, OnBadImage};

use super::{destination, encoder};
use crate::{
    arguments::{Common, Embed, FormName, SplitName},
    failure::Failure,
    notes::complain,
    output::{counted, say},
    progress::Meter,
    signals,
};

/// Largest number of images left out that are named one by one.
const NAMED: usize = 20;

pub(super) fn run(arguments: &Embed, common: &Common) -> Result<(), Failure> {
    let form = form(arguments)?;
    let read = [Some(arguments.encoder.encoder.as_path()), arguments.encoder.named().0];
    destination::check("--to", &arguments.to, &read.into_iter().flatten().collect::<Vec<_>>())?;
    let copy = &arguments.encoder.copy;
    let encoder = encoder::open(&arguments.encoder.encoder, copy)?;
    let reading = &arguments.encoder.reading;
    let source = encoder::images(arguments.encoder.named(), &encoder, common)?;
    let source = reading.allowing(source);
    destination::check("--to", &arguments.to, &[&source.path])?;
    let split = split(arguments.split);
    let splits = split.open(&source)?;
    encoder::tell_found(&source, &splits);
    if arguments.encoder.images.is_none() {
        encoder::tell_changed(&encoder, &copy.checkpoint, &splits, split.evaluated());
    }
    let images = split.of(&splits).ok_or_else(|| {
        anyhow!(
            "{}: there are no validation images; expected the folder val/ beside train/",
            source.path.display()
        )
    })?;
    let posteriors = match encoder.recipe.is_some() && !arguments.features_only {
        true => Posteriors::open(&encoder.path, &copy.checkpoint, &encoder.device)?,
        false => None,
    };
    let network = copy.network.into();
    let mut reading = encoder::reading(reading, arguments.encoder.images.is_some(), &encoder);
    if arguments.skip_unreadable {
        reading.on_bad_image = OnBadImage::Skip;
    }
    let stop = Stop::default();
    signals::listen_briefly(&stop);
    let job = Job {
        posteriors: posteriors.as_ref(),
        network,
        origin: Origin::new(&encoder, &copy.checkpoint, network, &source, split),
        encoder: &encoder,
        images,
        reading,
        batch: arguments.batch.map(|batch| batch as usize),
        tokens: arguments.tokens,
        stop,
    };
    let bar = Meter::counting(common, "{msg} [{bar:30}] {pos}/{len}, {eta} left");
    bar.set_message("embedding");
    bar.set_length(job.images.len() as u64);
    let mut named = 0;
    let mut heard = |done: usize, left_out: &[DataError]| {
        bar.set_position(done as u64);
        if !common.quiet && !left_out.is_empty() {
            bar.suspend(|| name_left_out(left_out, &mut named));
        }
    };
    let done = embed(&job, &arguments.to, form, &mut heard).map_err(advised)?;
    bar.finish_and_clear();
    tell(&done, &job, arguments, common)
}

/// Names images that are left out, until [`NAMED`] of them were named; `named` counts them.
fn name_left_out(images: &[DataError], named: &mut usize) {
    for error in images {
        *named += 1;
        match (*named).cmp(&NAMED) {
            Ordering::Less => complain(&format!("left out: {error}")),
            Ordering::Equal => complain(&format!(
                "left out: {error}; further such images are only counted, and `vssl data check` names all"
            )),
            Ordering::Greater => (),
        }
    }
}

fn advised(error: EmbedError) -> Failure {
    match error {
        EmbedError::Encoder(EncoderError::Data(data)) => {
            let help = encoder::help(&data, Some("--skip-unreadable"));
            encoder::with_help(EncoderError::Data(data), help)
        }
        EmbedError::Stopped { .. } => {
            complain(&error.to_string());
            Failure::Interrupted
        }
        other => other.into(),
    }
}

fn tell(done: &Embedded, job: &Job<'_>, arguments: &Embed, common: &Common) -> Result<(), Failure> {
    let to = arguments.to.display();
    if common.json {
        let posterior = done.posterior.map(|of| {
            json!({
                "dim": of.dim, "variance_is_a_direction": of.free_variance,
                "uncertainty": posterior::SCORE,
            })
        });
        let value = json!({
            "event": "embedded", "path": arguments.to.to_string_lossy(), "images": done.rows,
            "left_out": done.left_out, "dim": done.dim, "batch": job.batch(), "posterior": posterior,
            "predicted_loss": done.predicted_loss, "pooling": job.encoder.config.pooling(),
            "sha256": job.origin.sha256,
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&to.to_string());
    }
    let posterior = match done.posterior {
        Some(of) if of.free_variance => format!(
            ", mean and variance direction of {}, uncertainty: {}",
            of.dim,
            posterior::SCORE
        ),
        Some(of) => {
            format!(", mean and variance of {}, uncertainty: {}", of.dim, posterior::SCORE)
        }
        None => String::new(),
    };
    let predicted = if done.predicted_loss { ", predicted loss" } else { "" };
    let left_out = match done.left_out {
        0 => String::new(),
        count => format!("; {count} left out"),
    };
    let images = counted(done.rows, "image");
    let pooling = job.encoder.pooling.map(|pooling| format!(" ({})", pooling.words()));
    let pooling = pooling.unwrap_or_default();
    let dim = done.dim;
    say(&format!("{to}: {images}, features of {dim}{pooling}{posterior}{predicted}{left_out}"))
}

fn split(name: SplitName) -> Split {
    match name {
        SplitName::Train => Split::Train,
        SplitName::Validation => Split::Validation,
        SplitName::Test => Split::Test,
    }
}

fn form(arguments: &Embed) -> Result<Form, Failure> {
    let named = arguments.to_format.map(|name| match name {
        FormName::Parquet => Form::Parquet,
        FormName::Csv => Form::Csv,
        FormName::Npy => Form::Npy,
        FormName::Safetensors => Form::Safetensors,
    });
    let ending = Form::of(&arguments.to);
    destination::agree(("--to", &arguments.to), ("--to-format", named), ending)?;
    named.or(ending).ok_or_else(|| {
        Failure::usage(anyhow!(
            "{}: the extension names no format; expected .parquet, .csv, .npy or .safetensors, or \
             --to-format",
            arguments.to.display()
        ))
    })
}
