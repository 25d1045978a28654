//! `vssl bench step`: measures the time of a training step.

use std::{fmt::Write as _, path::Path};

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    backbone::{BackboneConfig, Stem},
    collective::Group,
    device::Backend,
    methods::METHODS,
    precision::Precision,
    recipe::Recipe,
    train::{
        Environment, Plan,
        bench::{self, StepBench, StepClock, StepTimes, method},
    },
};
use vssl_kernels::{
    Isa,
    breakdown::{Breakdown, Part},
};

use super::{super::pretrain::classified, backbone};
use crate::{
    arguments::{Common, StemName, StepArguments},
    failure::Failure,
    launcher,
    notes::note,
    output::{counted, say, to_digits},
};

/// Width of the published ResNets.
const PUBLISHED: u16 = 64;

pub(super) fn run(arguments: &StepArguments, common: &Common) -> Result<(), Failure> {
    if arguments.breakdown && arguments.device.backend != Backend::Cpu {
        return Err(Failure::usage(anyhow!(
            "--breakdown: the host's clock measures only the CPU, whose operations are done when they return; leave \
             it out with --device {}",
            arguments.device
        )));
    }
    let clock = StepClock {
        warmup: arguments.warmup.into(),
        steps: arguments.steps.into(),
        breakdown: arguments.breakdown,
    };
    let (what, times) = match &arguments.recipe {
        Some(recipe) => of_recipe(recipe, clock, arguments, common)?,
        None => of_method(clock, arguments)?,
    };
    print(&what, &times, arguments, common)
}

/// What was measured.
struct Measured {
    method: String,
    backbone: BackboneConfig,
    /// The side of the first view in pixels.
    size: usize,
    /// The number of views of an image.
    views: usize,
    batch: usize,
    precision: Precision,
}

/// Times the steps of a method with its default settings, on random views.
fn of_method(
    clock: StepClock,
    arguments: &StepArguments,
) -> Result<(Measured, StepTimes), Failure> {
    let changes = [("hidden", arguments.hidden), ("dim", arguments.dim)];
    let changes: Vec<_> =
        changes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let method =
        method(&arguments.method, arguments.batch.into(), &changes).map_err(Failure::usage)?;
    let mut backbone = backbone::of(&arguments.backbone, arguments.size, PUBLISHED)?;
    match (&mut backbone, arguments.stem_padding) {
        (BackboneConfig::Resnet(resnet), Some(padding)) => resnet.stem_padding = padding.into(),
        (_, Some(_)) => {
            let error = anyhow!("--stem-padding: only ResNets have one; leave it out");
            return Err(Failure::usage(error));
        }
        (_, None) => {}
    }
    let small = arguments.local_size.unwrap_or(arguments.size.div_ceil(2));
    check_patches(&backbone, small, arguments)?;
    let bench = StepBench {
        backbone,
        size: arguments.size.into(),
        local: (arguments.local_views.into(), small.into()),
        batch: arguments.batch.into(),
        precision: arguments.precision.into(),
        algorithm: arguments.optimizer.into(),
        clock,
    };
    bench.check(method.as_ref()).map_err(Failure::usage)?;
    let device = launcher::open(arguments.device)?;
    let times = bench.run(method.as_ref(), &device).map_err(classified)?;
    let StepBench { backbone, size, local, batch, precision, .. } = bench;
    let method = arguments.method.clone();
    Ok((Measured { method, backbone, size, views: 2 + local.0, batch, precision }, times))
}

/// Refuses views that a transformer cannot cut into patches; `small` is the side of the small crops.
fn check_patches(
    backbone: &BackboneConfig,
    small: u16,
    arguments: &StepArguments,
) -> Result<(), Failure> {
    let Some(patch) = backbone.vit().map(|vit| vit.patch) else { return Ok(()) };
    let mut sides = vec![(arguments.size, format!("--size {}", arguments.size))];
    if arguments.local_views > 0 {
        let by_default = match arguments.local_size {
            Some(_) => "",
            None => ", by default half of --size",
        };
        sides.push((small, format!("--local-size {small}{by_default}")));
    }
    match sides.into_iter().find(|(side, _)| !usize::from(*side).is_multiple_of(patch)) {
        None => Ok(()),
        Some((_, what)) => {
            let error = anyhow!("{what}: expected a multiple of the patch of {patch} pixels");
            Err(Failure::usage(error))
        }
    }
}

/// Times the first steps of a run of `recipe`, which leaves no file.
fn of_recipe(
    recipe: &Path,
    clock: StepClock,
    arguments: &StepArguments,
    common: &Common,
) -> Result<(Measured, StepTimes), Failure> {
    let (parsed, origins) =
        Recipe::load(recipe, &arguments.overrides, METHODS).map_err(Failure::usage)?;
    let environment = Environment {
        group: Group::alone(),
        device: launcher::open(arguments.device)?,
        data_root: Some(common.data.clone()),
        recipe_folder: recipe.parent().map(Path::to_owned),
        commit: None,
        force: false,
        allow_changed_data: false,
        adapts_batch: !origins.is_given("train.batch"),
    };
    // A plan has a folder, which no step writes to: one that is not there.
    let folder = std::env::temp_dir().join(format!("vssl-bench-step-{}", std::process::id()));
    let plan = Plan::new(parsed, &folder, environment).map_err(classified)?;
    if !common.json {
        origins.notes.iter().chain(&plan.notes).for_each(|text| note(text));
    }
    let times = bench::plan(&plan, clock).map_err(classified)?;
    let Recipe { method, backbone, train, views, .. } = &plan.recipe;
    let measured = Measured {
        method: method.name().to_owned(),
        backbone: backbone.clone(),
        size: plan.evaluation_size(),
        views: views.iter().map(|group| group.count).sum(),
        batch: train.batch,
        precision: train.precision,
    };
    Ok((measured, times))
}

fn print(
    what: &Measured,
    times: &StepTimes,
    arguments: &StepArguments,
    common: &Common,
) -> Result<(), Failure> {
    let Measured { method, backbone, size, views, batch, precision } = what;
    let median = median(&times.seconds);
    let speed = to_digits(*batch as f64 / median, 2);
    // Our kernels run on our own back end only.
    let isa = match arguments.device.backend {
        Backend::Cpu => vssl_kernels::isa(),
        _ => Isa::Reference,
    };
    let (threads, isa) = (vssl_kernels::threads(), isa.name());
    let (name, width, stem) = (backbone.architecture().name(), width(backbone), stem(backbone));
    let parts = times.parts.as_ref().map(|parts| Parts { parts, step: mean(&times.seconds) });
    if common.json {
        let value = json!({
            "device": arguments.device.to_string(), "method": method, "backbone": name, "width": width,
            "size": size, "views": views, "precision": precision.name(), "recipe": arguments.recipe,
            "stem": stem, "batch": batch, "threads": threads, "isa": isa,
            "step_s_median": to_digits(median, 4), "step_s_min": to_digits(times.seconds[0], 4),
            "first_step_s": to_digits(times.first, 2), "images_per_s": speed, "loss": to_digits(times.loss, 4),
            "peak_rss_mib": times.peak_rss_mib, "device_mib": times.device_mib,
            "parts_s": parts.as_ref().map(Parts::json),
            "step_by_networks": parts.as_ref().map(|parts| to_digits(parts.step_by_networks(), 3)),
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&speed.to_string());
    }
    let width = width.map_or(String::new(), |width| format!(" of width {width}"));
    let (milliseconds, best) = (median * 1e3, times.seconds[0] * 1e3);
    let mib = |memory: Option<u64>| memory.map_or("unknown".to_owned(), |mib| format!("{mib} MiB"));
    let mut memory = mib(times.peak_rss_mib);
    if times.device_mib.is_some() {
        memory = format!("{}, and {memory} of the host", mib(times.device_mib));
    }
    let by_threads = counted(threads, "thread");
    say(&format!(
        "{method} with {name}{width}, {} of {size}×{size}, in {} on {} with \
         {by_threads}, {isa}\nstep          {milliseconds:.1} ms (median of {}), {best:.1} ms (best)\nspeed         {speed} \
         images/s, each seen as {}\npeak memory   {memory}\nloss          {:.4}{}",
        counted(batch, "image"),
        precision.name(),
        arguments.device,
        times.seconds.len(),
        counted(views, "view"),
        times.loss,
        parts.map_or(String::new(), |parts| parts.table()),
    ))
}

/// The parts of a step.
struct Parts<'a> {
    parts: &'a Breakdown,
    /// The mean seconds of a step.
    step: f64,
}

/// The parts in the order of a step, by their names.
const PARTS: [(Part, &str); 7] = [
    (Part::Loader, "loader"),
    (Part::Teacher, "teacher"),
    (Part::Backbone, "backbone"),
    (Part::Heads, "heads"),
    (Part::Loss, "loss"),
    (Part::Optimizer, "optimizer"),
    (Part::Memory, "memory"),
];

impl Parts<'_> {
    fn named(&self) -> impl Iterator<Item = (&'static str, [f64; 2])> {
        PARTS.iter().filter_map(|(part, name)| Some((*name, *self.parts.get(part)?)))
    }

    /// The time of a step, divided by that of its networks' passes.
    fn step_by_networks(&self) -> f64 {
        let networks = [Part::Teacher, Part::Backbone, Part::Heads];
        let seconds = networks.iter().filter_map(|part| self.parts.get(part)).flatten();
        self.step / seconds.sum::<f64>()
    }

    fn json(&self) -> serde_json::Value {
        let seconds = |seconds: [f64; 2]| seconds.map(|seconds| to_digits(seconds, 7));
        let parts = self.named().map(|(name, both)| (name.to_owned(), json!(seconds(both))));
        serde_json::Value::Object(parts.collect())
    }

    fn table(&self) -> String {
        let mut lines = String::from("\n\npart          forward   backward   share of a step");
        for (name, [forward, backward]) in self.named() {
            let share = 100.0 * (forward + backward) / self.step;
            let backward = match backward {
                0.0 => "-".to_owned(),
                backward => format!("{:.1} ms", backward * 1e3),
            };
            let forward = format!("{:.1} ms", forward * 1e3);
            let _ = write!(lines, "\n{name:<12}{forward:>9}{backward:>11}{share:>16.1} %");
        }
        let ratio = self.step_by_networks();
        let _ =
            write!(lines, "\na step takes {ratio:.2} times as long as the passes of its networks");
        lines
    }
}

/// The stem of a ResNet, as the command line names it.
fn stem(backbone: &BackboneConfig) -> Option<&'static str> {
    match backbone {
        BackboneConfig::Resnet(resnet) => Some(match resnet.stem {
            Stem::Cifar => StemName::Cifar.name(),
            Stem::Imagenet => StemName::Imagenet.name(),
        }),
        _ => None,
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
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
