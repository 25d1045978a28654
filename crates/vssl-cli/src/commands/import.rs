//! `vssl import`: another program's encoder, for every command that takes one.

use std::{fmt::Write as _, path::Path};

use anyhow::anyhow;
use serde_json::json;
use vssl::encoder::foreign::{self, ForeignError, ImportReport, MatchStatus, Request};

use super::destination;
use crate::{
    arguments::{Common, Import},
    failure::Failure,
    notes,
    output::{counted, say},
    progress::Meter,
};

/// The largest number of tensors that a warning names.
const NAMED: usize = 20;

pub(super) fn run(arguments: &Import, common: &Common) -> Result<(), Failure> {
    let Import { file, to, .. } = arguments;
    written_as_safetensors(to)?;
    destination::check("--to", to, &[file])?;
    let request = Request {
        architecture: arguments.architecture,
        stem: arguments.stem,
        stem_padding: arguments.stem_padding.map(usize::from),
        heads: arguments.heads.map(usize::from),
        pooling: arguments.pooling.map(Into::into),
        size: arguments.size.map(usize::from),
        resize: arguments.resize.map(usize::from),
        normalisation: arguments.normalisation,
        network: arguments.network.into(),
        prefix: arguments.prefix.clone(),
    };
    let meter = Meter::waiting(common);
    meter.set_message(format!("reading {}", file.display()));
    let found = foreign::read(file, &request).map_err(|error| named(error, file))?;
    meter.finish_and_clear();
    if common.json {
        for row in &found.rows {
            let mut value = serde_json::to_value(row)?;
            value["event"] = "tensor".into();
            say(&value.to_string())?;
        }
    } else if !common.quiet {
        say(&account(&found))?;
    }
    if arguments.allow_partial {
        found.check_partial().map_err(|error| named(error, file))?;
        warn(&found);
    } else {
        found.check().map_err(|error| named(error, file))?;
    }
    found.write(to, file)?;
    if common.json {
        return say(&event(&found, arguments));
    }
    if common.quiet {
        return say(&to.display().to_string());
    }
    say(&result(&found, arguments))?;
    say(&advice(&found))
}

/// An error about `file`, with the file's name.
fn named(error: ForeignError, file: &Path) -> anyhow::Error {
    let has_name = matches!(
        error,
        ForeignError::Io { .. }
            | ForeignError::Damaged { .. }
            | ForeignError::NotWeights { .. }
            | ForeignError::Type { .. }
            | ForeignError::NotFinite { .. }
    );
    let error = anyhow::Error::from(error);
    if has_name { error } else { error.context(file.display().to_string()) }
}

/// Refuses names of other formats: the file would not be what its name says.
fn written_as_safetensors(to: &Path) -> Result<(), Failure> {
    let extension = to.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if extension.eq_ignore_ascii_case("safetensors") {
        return Ok(());
    }
    Err(Failure::usage(anyhow!(
        "--to {}: an import is written as .safetensors; expected a name with this ending. For ONNX or \
         Burn, export the imported file: vssl export encoder.safetensors --to encoder.onnx",
        to.display()
    )))
}

/// Warns of every tensor that a partial import does not take over.
fn warn(found: &ImportReport) {
    let with = |statuses: &[MatchStatus]| {
        let rows = found.rows.iter().filter(|row| statuses.contains(&row.status));
        rows.map(foreign::Row::label).collect::<Vec<_>>()
    };
    let tell = |names: Vec<String>, what: &str| {
        if !names.is_empty() {
            let more = names.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let shown = names[..names.len().min(NAMED)].join(", ");
            notes::warn(&format!("{} {what}: {shown}{more}", names.len()));
        }
    };
    tell(
        with(&[MatchStatus::Missing, MatchStatus::Mismatched]),
        "tensors of the network keep initial values, which are noise",
    );
    tell(
        with(&[MatchStatus::Unexpected]),
        "tensors of the file have no place in the network and are dropped",
    );
}

fn event(found: &ImportReport, arguments: &Import) -> String {
    let count = |status| found.count(status);
    let (side, features) = found.test_features();
    json!({
        "event": "imported",
        "path": arguments.to.to_string_lossy(),
        "prefix": found.prefix,
        "backbone": found.config,
        "input": found.input,
        "assumptions": found.assumptions(),
        "test_picture": { "side": side, "features": features },
        "matched": count(MatchStatus::Matched),
        "missing": count(MatchStatus::Missing),
        "mismatched": count(MatchStatus::Mismatched),
        "unexpected": count(MatchStatus::Unexpected),
        "left_out": count(MatchStatus::LeftOut),
    })
    .to_string()
}

fn result(found: &ImportReport, arguments: &Import) -> String {
    let ImportReport { config, input, .. } = found;
    let name = config.architecture().name();
    let channels = match input.channels() {
        3 => String::new(),
        channels => format!(" and {}", counted(channels, "channel")),
    };
    format!(
        "{}: {name}, {}, features of {}; images of {} pixels{channels}, mean {:?}, std {:?}",
        arguments.to.display(),
        counted(found.count(MatchStatus::Matched), "tensor"),
        config.dim(),
        input.size,
        input.normalisation.mean,
        input.normalisation.std
    )
}

/// How the import is checked, and what it took for granted.
fn advice(found: &ImportReport) -> String {
    let (side, features) = found.test_features();
    let channels = found.input.channels();
    let norm = features.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let first: Vec<String> = features.iter().take(4).map(|value| format!("{value:.4}")).collect();
    format!(
        "\ntaken for granted, for weights do not tell it: {}\n\nto verify it in PyTorch, with the network \
         that the weights come from, in place of its head torch.nn.Identity():\n  x = (torch.arange({channels} * \
         {side} * {side}) * 7919 % 1009 / 504 - 1).reshape(1, {channels}, {side}, {side})\n  y = \
         network.eval()(x)[0].detach()\n  print(y[:4], y.norm())  # vssl: [{}], {norm:.4}",
        found.assumptions().join("; "),
        first.join(", ")
    )
}

/// A line for every tensor of the file and of the network, and how many tensors have each status.
fn account(found: &ImportReport) -> String {
    let key = |row: &foreign::Row| row.key.clone().or(row.name.clone()).unwrap_or_default();
    let width = found.rows.iter().map(|row| key(row).len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in &found.rows {
        let shape =
            row.shape.as_deref().or(row.expected.as_deref()).map_or_else(String::new, shape_of);
        let _ = write!(text, "{:<10}  {:width$}  {shape}", status(row.status), key(row));
        let _ = match (row.status, &row.name, &row.expected, row.reason) {
            (MatchStatus::Matched, Some(name), ..) if row.key.as_ref() != Some(name) => {
                write!(text, "  → {name}")
            }
            (MatchStatus::Mismatched, _, Some(expected), _) => {
                write!(text, "  expected {}", shape_of(expected))
            }
            (MatchStatus::LeftOut, _, _, Some(reason)) => {
                write!(text, "  {reason}, not part of an encoder")
            }
            (_, _, _, Some(reason)) => write!(text, "  {reason}, which the network does not have"),
            _ => Ok(()),
        };
        text.push('\n');
    }
    let counts = [
        MatchStatus::Matched,
        MatchStatus::Missing,
        MatchStatus::Mismatched,
        MatchStatus::Unexpected,
        MatchStatus::LeftOut,
    ]
    .map(|kind| format!("{} {}", found.count(kind), status(kind)));
    text + &counts.join(", ")
}

fn status(status: MatchStatus) -> &'static str {
    match status {
        MatchStatus::Matched => "matched",
        MatchStatus::Missing => "missing",
        MatchStatus::Mismatched => "other shape",
        MatchStatus::Unexpected => "unexpected",
        MatchStatus::LeftOut => "left out",
    }
}

fn shape_of(shape: &[usize]) -> String {
    match shape {
        [] => "scalar".to_owned(),
        sizes => sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join("×"),
    }
}
