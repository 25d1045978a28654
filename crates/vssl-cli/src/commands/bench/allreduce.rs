//! `vssl bench allreduce`: measures how long ranks take to sum their gradients.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    arguments::{AllreduceArguments, Common},
    failure::Failure,
    launcher::ProcessGroup,
    output::{say, to_digits},
};

/// Longest time that an exchange waits; a working network is much faster.
const LIMIT: Duration = Duration::from_secs(60);
/// Number of sums before the clock starts.
const WARMUP: usize = 2;

pub(super) fn run(arguments: &AllreduceArguments, common: &Common) -> Result<(), Failure> {
    let processes = ProcessGroup::join(LIMIT)?;
    let group = &processes.group;
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
        group.check().map_err(|error| processes.fail(error.into()))?;
        if !group.leads() {
            continue;
        }
        let (micros, rate) =
            (to_digits(seconds * 1e6, 1), to_digits(bytes as f64 / seconds / 1e9, 3));
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
