//! `vssl bench allreduce`: how long ranks take to add up their gradients.

use std::time::{Duration, Instant};

use serde_json::json;

use super::rounded;
use crate::{
    arguments::{AllreduceArguments, Common},
    commands::say,
    failure::Failure,
    launcher::Together,
};

/// Nothing here takes longer than this when the network works.
const LIMIT: Duration = Duration::from_secs(60);
/// Sums before the clock runs.
const WARMUP: usize = 2;

pub(super) fn run(arguments: &AllreduceArguments, common: &Common) -> Result<(), Failure> {
    let together = Together::join(LIMIT)?;
    let group = &together.group;
    for &bytes in &arguments.sizes {
        let mut values = vec![group.rank() as f32; (bytes / 4) as usize];
        let mut began = Instant::now();
        for round in 0..WARMUP + arguments.rounds as usize {
            if round == WARMUP {
                group.barrier();
                began = Instant::now();
            }
            group.sum("a benchmark", &mut values);
        }
        let seconds = began.elapsed().as_secs_f64() / f64::from(arguments.rounds);
        group.check().map_err(|error| together.fail(error.into()))?;
        if !group.leads() {
            continue;
        }
        let (micros, rate) = (rounded(seconds * 1e6, 1), rounded(bytes as f64 / seconds / 1e9, 3));
        let ranks = group.world();
        if common.json {
            let line =
                json!({ "ranks": ranks, "bytes": bytes, "micros": micros, "gb_per_s": rate });
            say(&line.to_string())?;
        } else {
            say(&format!("{ranks} ranks {bytes:>12} bytes {micros:>12} µs {rate:>8} GB/s"))?;
        }
    }
    Ok(())
}
