//! `vssl bench logistic`: measures one fit of the regression behind the figure `linear`.

use std::{path::Path, time::Instant};

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    eval::{
        linear::{LinearConfig, LinearProbe, Stop},
        memory_of_a_fit,
    },
    features::{self, Features, MOST_CLASSES, Source},
    layers::budget::check_memory,
};

use super::knn::rows;
use crate::{
    arguments::{Common, LogisticBenchArguments},
    failure::Failure,
    output::{counted, say, to_digits},
};

pub(super) fn run(arguments: &LogisticBenchArguments, common: &Common) -> Result<(), Failure> {
    let train = match &arguments.features {
        Some(path) => stored(path, arguments.labels.as_deref())?,
        None => random(arguments)?,
    };
    let LogisticBenchArguments { l2, tolerance, iterations, .. } = *arguments;
    let config = LinearConfig { l2: vec![l2], tolerance, iterations: iterations as usize };
    let began = Instant::now();
    let probe = LinearProbe::fit(&train, &config)?;
    let seconds = began.elapsed().as_secs_f64();
    let (evaluations, best) = (probe.trace.len(), lowest(&probe.trace));
    // Where the trace begins: features were standardised before.
    let before = seconds - probe.trace.last().map_or(0.0, |evaluation| evaluation.0);
    let trace: Vec<_> = probe.trace.iter().map(|(at, value)| (before + at, value)).collect();
    let (threads, isa) = (vssl_kernels::threads(), vssl_kernels::isa().name());
    let Features { rows, dim, .. } = train;
    let (classes, stop) = (probe.classes, format!("{:?}", probe.stop));
    if common.json {
        let value = json!({
            "images": rows, "dim": dim, "classes": classes, "l2": l2, "threads": threads,
            "isa": isa, "seconds": to_digits(seconds, 6), "iterations": probe.iterations,
            "evaluations": evaluations, "stop": stop, "loss": best, "trace": trace,
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&to_digits(seconds, 6).to_string());
    }
    let end = match probe.stop {
        Stop::Gradient => "the gradient is within the tolerance",
        Stop::Precision => "no step lowers the loss any more",
        Stop::Iterations => "the most iterations were done",
    };
    let by_threads = counted(threads, "thread");
    say(&format!(
        "{rows} images of {dim} numbers, {classes} classes, L2 penalty {l2}, {by_threads}, {isa}\n\
         time         {seconds:.2} s\nevaluations  {evaluations}, {} iterations, end: {end}\n\
         loss         {best:.6}, penalty included",
        probe.iterations
    ))
}

/// The features of a file, if they and the fit have room in memory.
fn stored(path: &Path, labels: Option<&Path>) -> Result<Features, Failure> {
    let stored = features::open(path, labels)?;
    let (rows, dim) = (stored.rows(), stored.dim());
    let labels = stored.labels().map(<[i64]>::to_vec);
    if labels.is_none() {
        return Err(anyhow!(
            "{}: no labels in it or beside it; name a file of them with --labels",
            path.display()
        )
        .into());
    }
    // Other labels are refused before anything is fitted.
    let classes = labels.iter().flatten().filter(|&label| (0..MOST_CLASSES).contains(label));
    let classes = classes.max().map_or(1, |&label| label as u64 + 1);
    check_memory(needed(rows as u64, dim as u64, classes)).map_err(|space| {
        anyhow!(
            "{}: {rows} rows of {dim} numbers and weights for {classes} classes take {space}",
            path.display()
        )
    })?;
    let mut values = vec![0.0; rows * dim];
    stored.read(0, &mut values)?;
    Ok(Features { rows, dim, values, labels })
}

/// Random features, if they and the fit have room in memory.
fn random(arguments: &LogisticBenchArguments) -> Result<Features, Failure> {
    let LogisticBenchArguments { images, dim, classes, .. } = *arguments;
    if images < classes {
        return Err(Failure::usage(anyhow!(
            "--images {images}: expected at least as many images as --classes, {classes}"
        )));
    }
    check_memory(needed(images.into(), dim.into(), classes.into())).map_err(|space| {
        Failure::usage(anyhow!(
            "--images {images} rows of --dim {dim} and weights for --classes {classes} take {space}"
        ))
    })?;
    Ok(rows(0, images as usize, dim as usize, classes))
}

/// The bytes of the features and of the fit.
fn needed(rows: u64, dim: u64, classes: u64) -> u64 {
    let features = rows.saturating_mul(dim).saturating_mul(size_of::<f32>() as u64);
    features.saturating_add(memory_of_a_fit(rows, dim, classes))
}

fn lowest(trace: &[(f64, f64)]) -> f64 {
    trace.iter().map(|evaluation| evaluation.1).fold(f64::INFINITY, f64::min)
}
