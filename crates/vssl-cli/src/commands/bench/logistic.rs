//! `vssl bench logistic`: measures one fit of the regression behind the figure `linear`.

use std::{path::Path, time::Instant};

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    eval::linear::{LinearConfig, LinearProbe},
    features::{self, Features, Source},
    layers::budget::check_memory,
};

use super::knn::rows;
use crate::{
    arguments::{Common, LogisticBenchArguments},
    failure::Failure,
    output::{say, to_digits},
};

/// Numbers that a fit keeps for each weight, in single precision: the weights, their gradients, the pairs that
/// the minimisation remembers.
const PER_WEIGHT: u64 = 32;

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
            "isa": isa, "seconds": to_digits(seconds, 3), "iterations": probe.iterations,
            "evaluations": evaluations, "stop": stop, "loss": best, "trace": trace,
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&to_digits(seconds, 3).to_string());
    }
    say(&format!(
        "{rows} images of {dim} numbers, {classes} classes, L2 penalty {l2}, {threads} threads, {isa}\n\
         time         {seconds:.2} s\nevaluations  {evaluations}, {} iterations, end: {stop}\n\
         loss         {best:.6}, penalty included",
        probe.iterations
    ))
}

/// The features of a file.
fn stored(path: &Path, labels: Option<&Path>) -> Result<Features, Failure> {
    let stored = features::open(path, labels)?;
    let (rows, dim) = (stored.rows(), stored.dim());
    let mut values = vec![0.0; rows * dim];
    stored.read(0, &mut values)?;
    let labels = stored.labels().map(<[i64]>::to_vec);
    Ok(Features { rows, dim, values, labels })
}

/// Random features, if they and the fit have room in memory.
fn random(arguments: &LogisticBenchArguments) -> Result<Features, Failure> {
    let LogisticBenchArguments { images, dim, classes, .. } = *arguments;
    // The features, and as they are standardised.
    let rows_twice = 2 * u64::from(images);
    let numbers = (rows_twice + PER_WEIGHT * u64::from(classes)).saturating_mul(dim.into());
    check_memory(numbers.saturating_mul(size_of::<f32>() as u64)).map_err(|space| {
        Failure::usage(anyhow!(
            "--images {images} rows of --dim {dim} and weights for --classes {classes} take {space}"
        ))
    })?;
    Ok(rows(0, images as usize, dim as usize, classes))
}

fn lowest(trace: &[(f64, f64)]) -> f64 {
    trace.iter().map(|evaluation| evaluation.1).fold(f64::INFINITY, f64::min)
}
