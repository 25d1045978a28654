//! `vssl bench step`: measures the time of a training step.

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    backbone::BackboneConfig,
    device::Backend,
    train::bench::{StepBench, method},
};
use vssl_kernels::Isa;

use super::{super::pretrain::classified, backbone};
use crate::{
    arguments::{Common, StemName, StepArguments},
    failure::Failure,
    launcher,
    output::{say, to_digits},
};

/// Width of the published ResNets.
const PUBLISHED: u16 = 64;

pub(super) fn run(arguments: &StepArguments, common: &Common) -> Result<(), Failure> {
    let changes = [("hidden", arguments.hidden), ("dim", arguments.dim)];
    let changes: Vec<_> =
        changes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let method = method(&arguments.method, &changes).map_err(Failure::usage)?;
    let mut backbone = backbone::of(&arguments.backbone, arguments.size, PUBLISHED)?;
    match (&mut backbone, arguments.stem_padding) {
        (BackboneConfig::Resnet(resnet), Some(padding)) => resnet.stem_padding = padding.into(),
        (_, Some(_)) => {
            let error = anyhow!("--stem-padding: only ResNets have one; leave it out");
            return Err(Failure::usage(error));
        }
        (_, None) => {}
    }
    let bench = StepBench {
        backbone,
        size: arguments.size.into(),
        batch: arguments.batch.into(),
        precision: arguments.precision.into(),
        warmup: arguments.warmup.into(),
        steps: arguments.steps.into(),
    };
    bench.check(method.as_ref()).map_err(Failure::usage)?;
    let device = launcher::open(arguments.device)?;
    let times = bench.run(method.as_ref(), &device).map_err(classified)?;
    let median = median(&times.seconds);
    let speed = to_digits(bench.batch as f64 / median, 2);
    // Our kernels run on our own back end only.
    let isa = match arguments.device.backend {
        Backend::Cpu => vssl_kernels::isa(),
        _ => Isa::Reference,
    };
    let (threads, isa) = (vssl_kernels::threads(), isa.name());
    let stem = match &bench.backbone {
        BackboneConfig::Resnet(_) => Some(arguments.backbone.stem.unwrap_or_default()),
        _ => None,
    };
    let (name, width) = (arguments.backbone.backbone.name(), width(&bench.backbone));
    if common.json {
        let value = json!({
            "device": arguments.device.to_string(), "method": arguments.method, "backbone": name, "width": width,
            "size": bench.size, "precision": bench.precision.name(),
            "stem": stem.map(StemName::name), "batch": bench.batch, "threads": threads, "isa": isa,
            "step_s_median": to_digits(median, 4), "step_s_min": to_digits(times.seconds[0], 4),
            "first_step_s": to_digits(times.first, 2), "images_per_s": speed, "loss": to_digits(times.loss, 4),
            "peak_rss_mib": times.peak_rss_mib, "device_mib": times.device_mib,
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&speed.to_string());
    }
    let width = width.map_or(String::new(), |width| format!(" of width {width}"));
    let (size, batch) = (bench.size, bench.batch);
    let (milliseconds, best) = (median * 1e3, times.seconds[0] * 1e3);
    let mib = |memory: Option<u64>| memory.map_or("unknown".to_owned(), |mib| format!("{mib} MiB"));
    let mut memory = mib(times.peak_rss_mib);
    if times.device_mib.is_some() {
        memory = format!("{}, and {memory} of the host", mib(times.device_mib));
    }
    say(&format!(
        "{} with {name}{width}, {batch} images of {size}×{size}, in {} on {} with \
         {threads} threads, {isa}\nstep          {milliseconds:.1} ms (median of {}), {best:.1} ms (best)\nspeed         {speed} \
         images/s, each seen as two views\npeak memory   {memory}\nloss          {:.4}",
        arguments.method,
        bench.precision.name(),
        arguments.device,
        times.seconds.len(),
        times.loss
    ))
}

/// The width of a ResNet; that of the other networks is part of their name.
fn width(backbone: &BackboneConfig) -> Option<usize> {
    match backbone {
        BackboneConfig::Resnet(resnet) => Some(resnet.width),
        _ => None,
    }
}

/// The median of ascending numbers.
fn median(ascending: &[f64]) -> f64 {
    let middle = ascending.len() / 2;
    match ascending.len() % 2 {
        0 => (ascending[middle - 1] + ascending[middle]) / 2.0,
        _ => ascending[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        assert_eq!(median(&[5.0]), 5.0);
    }
}
