//! `vssl export`: writes an encoder to a file.

use std::path::Path;

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    device::{Backend, DeviceChoice},
    encoder::{
        Encoder,
        export::{Exported, Form, Options, export, write_with},
        onnx::Pixels,
    },
    methods::recipe_from,
    run::folder,
};

use super::{
    destination,
    encoder::{is_fine_tuned, tell_fine_tuned, tell_own_feature, tell_stand_in},
};
use crate::{
    arguments::{Common, Export, ExportFormat, NetworkName, Range},
    failure::Failure,
    output::{counted, say},
    progress::Meter,
};

pub(super) fn run(arguments: &Export, common: &Common) -> Result<(), Failure> {
    let Export { run, to, network, checkpoint, .. } = arguments;
    let (form, options) = asked(arguments)?;
    destination::check("--to", to, &[run])?;
    let meter = Meter::waiting(common);
    meter.set_message(format!("exporting {}", run.display()));
    let tuned = is_fine_tuned(run);
    let is_run = !run.is_file() && !tuned;
    tell_stand_in(run, checkpoint)?;
    let exported = if is_run && form == Form::Safetensors && !options.half {
        export(run, checkpoint, (*network).into(), to)?
    } else {
        let cpu = DeviceChoice { backend: Backend::Cpu, index: None }
            .resolve()
            .map_err(Failure::usage)?;
        let encoder = Encoder::open(run, checkpoint, (*network).into(), &cpu)?;
        write_with(&encoder, to, form, options)?
    };
    meter.finish_and_clear();
    tell_fine_tuned(run);
    if is_run && let Ok(recipe) = recipe_from(&folder::recipe_of(run)?) {
        tell_own_feature(run, &recipe, "the file is a network whose feature is");
    }
    let name = match network {
        _ if tuned => "fine-tuned network",
        _ if !is_run => "file",
        NetworkName::Student => "student",
        NetworkName::Teacher => "teacher",
    };
    tell(&exported, name, to, common)
}

/// Returns the format of the file and what was asked of it.
///
/// # Errors
/// An option that the format does not have.
fn asked(arguments: &Export) -> Result<(Form, Options), Failure> {
    let format = format(arguments)?;
    let form = match (format, arguments.with_normalisation) {
        (ExportFormat::Safetensors, None) => Form::Safetensors,
        (ExportFormat::Burn, None) => Form::Burn,
        (ExportFormat::Onnx, range) => Form::Onnx(match range {
            None => Pixels::Normalised,
            Some(Range::Unit) => Pixels::Unit,
            Some(Range::Bytes) => Pixels::Bytes,
        }),
        _ => {
            return Err(Failure::usage(anyhow!(
                "--with-normalisation is for ONNX; other files hold tensors only"
            )));
        }
    };
    let options = Options { half: arguments.half, any_size: arguments.any_size };
    if options.any_size && format != ExportFormat::Onnx {
        return Err(Failure::usage(anyhow!(
            "--any-size is for ONNX; other files hold tensors only"
        )));
    }
    if options.half && format == ExportFormat::Burn {
        return Err(Failure::usage(anyhow!(
            "--half is for safetensors and ONNX; Burn's record has the precision of the module"
        )));
    }
    Ok((form, options))
}

/// Prints what was written to `to`: the network called `name`.
fn tell(exported: &Exported, name: &str, to: &Path, common: &Common) -> Result<(), Failure> {
    if common.json {
        let value = json!({
            "event": "exported",
            "path": to.to_string_lossy(),
            "network": name,
            "step": exported.step,
            "tensors": exported.tensors,
            "head_tensors": exported.head,
        });
        return say(&value.to_string());
    }
    if common.quiet {
        return say(&to.display().to_string());
    }
    let step = exported.step;
    let trained = if step > 0 { format!(" after step {step}") } else { String::new() };
    let head = match exported.head {
        Some(0) => String::new(),
        Some(count) => format!(", and {count} of its head that predicts losses"),
        None => "; its head that predicts losses is left out, for a record holds the backbone only"
            .into(),
    };
    say(&format!(
        "{}: {} of the {name}'s backbone{trained}{head}",
        to.display(),
        counted(exported.tensors, "tensor"),
    ))
}

fn format(arguments: &Export) -> Result<ExportFormat, Failure> {
    let to = &arguments.to;
    let ending = destination::ending(to).unwrap_or_default();
    let named = match ending.as_str() {
        "safetensors" => Some(ExportFormat::Safetensors),
        "onnx" => Some(ExportFormat::Onnx),
        "bpk" | "burnpack" => Some(ExportFormat::Burn),
        _ => None,
    };
    destination::agree(("--to", to), ("--format", arguments.format), named)?;
    if let Some(format) = arguments.format.or(named) {
        return Ok(format);
    }
    match ending.as_str() {
        "pth" | "pt" | "ckpt" => Err(Failure::usage(anyhow!(
            "{}: pickles are not written; PyTorch loads .safetensors by safetensors.torch.load_file",
            arguments.to.display()
        ))),
        other => Err(Failure::usage(anyhow!(
            "{}: the extension {other:?} names no format; expected .safetensors, .onnx or .bpk, or \
             --format",
            arguments.to.display()
        ))),
    }
}
