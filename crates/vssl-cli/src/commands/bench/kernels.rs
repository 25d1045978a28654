//! `vssl bench kernels`: measures each convolution beside a plain matrix product of its size.

use std::time::Duration;

use serde_json::{Value, json};
use vssl_kernels::bench::{Layer, Speed, layers};

use crate::{
    arguments::{Common, KernelArguments},
    failure::Failure,
    output::{counted, say, to_digits},
};

const HEADER: &str = "GFLOP/s (and % of the product)              forward     input gradient    \
                      weight gradient  product";

pub(super) fn run(arguments: &KernelArguments, common: &Common) -> Result<(), Failure> {
    if vssl_kernels::isa() == vssl_kernels::Isa::Reference {
        let problem = "VSSL_KERNELS=reference: there are no kernels to measure; unset it";
        return Err(Failure::usage(anyhow::anyhow!(problem)));
    }
    let sizes = arguments.size.map_or_else(|| vec![32, 224], |size| vec![size.into()]);
    let (width, batch) = (arguments.width.into(), arguments.batch.into());
    let budget = Duration::from_millis(arguments.budget.into());
    let (threads, isa) = (vssl_kernels::threads(), vssl_kernels::isa().name());
    if !common.json {
        let by_threads = counted(threads, "thread");
        say(&format!("batch {batch}, {by_threads}, {isa}"))?;
    }
    let mut measured = Vec::new();
    for (network, bottleneck) in [("ResNet-18", false), ("ResNet-50", true)] {
        for size in &sizes {
            if !common.json {
                say(&format!("\n{network}, width {width}, {size}×{size}\n{HEADER}"))?;
            }
            for layer in layers(bottleneck, width, *size, batch) {
                let speed = layer.measure(budget);
                match common.json {
                    true => measured.push(object(network, *size, &layer, speed)),
                    false => say(&line(&layer, speed))?,
                }
            }
        }
    }
    if common.json {
        let value = json!({
            "width": width, "batch": batch, "threads": threads, "isa": isa, "layers": measured,
        });
        say(&value.to_string())?;
    }
    Ok(())
}

/// The speed of the three passes of a layer as a JSON object.
fn passes(speed: Speed) -> [(&'static str, f64); 3] {
    [
        ("forward", speed.forward),
        ("input_gradient", speed.input_gradient),
        ("weight_gradient", speed.weight_gradient),
    ]
}

fn object(network: &str, size: usize, layer: &Layer, speed: Speed) -> Value {
    let mut value = json!({
        "network": network, "size": size, "layer": layer.name,
        "product_gflops": to_digits(speed.product, 2),
    });
    for (name, gflops) in passes(speed) {
        value[format!("{name}_gflops")] = to_digits(gflops, 2).into();
        value[format!("{name}_percent")] = to_digits(100.0 * gflops / speed.product, 1).into();
    }
    value
}

fn line(layer: &Layer, speed: Speed) -> String {
    let cells = passes(speed)
        .map(|(_, gflops)| format!("{gflops:>8.1} ({:>4.0} %)", 100.0 * gflops / speed.product));
    format!("{:<36} {} {:>8.1}", layer.name, cells.join("  "), speed.product)
}
