//! `vssl bench knn`: measures the exact search behind every accuracy of nearest neighbours.

use std::time::Instant;

use anyhow::anyhow;
use rayon::prelude::*;
use serde_json::json;
use vssl::{
    eval::{knn, neighbours::Distance},
    features::Features,
    layers::budget::check_memory,
};
use vssl_data::rng::{Stream, rng, uniform};

use crate::{
    arguments::{Common, KnnBenchArguments},
    failure::Failure,
    output::{counted, say, to_digits},
};

/// Temperature of the weights of the vote.
const TEMPERATURE: f64 = 0.07;
/// Spread of the centres, in units of the spread of the noise.
const CENTRE_SPREAD: f64 = 0.2;

pub(super) fn run(arguments: &KnnBenchArguments, common: &Common) -> Result<(), Failure> {
    let KnnBenchArguments { train, queries, dim, k, classes } = *arguments;
    let numbers = (u64::from(train) + u64::from(queries)).saturating_mul(dim.into());
    check_memory(numbers.saturating_mul(size_of::<f32>() as u64)).map_err(|space| {
        Failure::usage(anyhow!(
            "--train {train} and --queries {queries} rows of --dim {dim} take {space}"
        ))
    })?;
    let dim = dim as usize;
    let known = rows(0, train as usize, dim, classes);
    let asked = rows(1, queries as usize, dim, classes);
    let began = Instant::now();
    let cells = knn::grid(&known, &asked, &[Distance::Cosine], &[k as usize], &[TEMPERATURE])?;
    let seconds = began.elapsed().as_secs_f64();
    let top1 = cells[0].accuracy.top1;
    let speed = f64::from(queries) / seconds;
    // Counts a multiplication and an addition for each number of each pair of rows.
    let gflops = 2e-9 * f64::from(train) * f64::from(queries) * dim as f64 / seconds;
    let (threads, isa) = (vssl_kernels::threads(), vssl_kernels::isa().name());
    if common.json {
        let value = json!({
            "train": train, "queries": queries, "dim": dim, "k": k, "classes": classes,
            "threads": threads, "isa": isa, "seconds": to_digits(seconds, 6),
            "queries_per_s": to_digits(speed, 1), "product_gflops": to_digits(gflops, 1),
            "top1": to_digits(top1, 2),
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&to_digits(speed, 1).to_string());
    }
    let by_threads = counted(threads, "thread");
    say(&format!(
        "{queries} rows among {train} of {dim} numbers, cosine, k {k}, {by_threads}, {isa}\n\
         time      {seconds:.2} s\nspeed     {speed:.0} rows/s\nproducts  {gflops:.0} GFLOP/s\n\
         top-1     {top1:.2} %, of rows of noise around {classes} centres"
    ))
}

/// Rows of uniform noise around the centre of their class, the classes taking turns. `set` is another
/// number for the queries than for the rows that are searched.
pub(super) fn rows(set: u64, count: usize, dim: usize, classes: u32) -> Features {
    let centres: Vec<Vec<f64>> =
        (0..u64::from(classes)).map(|class| noise(2, class, dim).collect()).collect();
    let mut values = vec![0.0; count * dim];
    values.par_chunks_mut(dim).enumerate().for_each(|(row, values)| {
        let centre = &centres[row % centres.len()];
        let numbers = noise(set, row as u64, dim).zip(centre);
        values.iter_mut().zip(numbers).for_each(|(value, (noise, centre))| {
            *value = (noise + CENTRE_SPREAD * centre) as f32;
        });
    });
    let labels = (0..count).map(|row| (row % centres.len()) as i64).collect();
    Features { rows: count, dim, values, labels: Some(labels) }
}

fn noise(set: u64, row: u64, dim: usize) -> impl Iterator<Item = f64> {
    let mut rng = rng(0, Stream::Evaluation, set, row);
    (0..dim).map(move |_| uniform(&mut rng, -1.0, 1.0))
}
