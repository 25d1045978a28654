//! `vssl import`: another program's encoder, for every command that takes one.

use std::fmt::Write;

use serde_json::json;
use vssl::encoder::foreign::{self, ForeignError, ImportReport, MatchStatus, Request};

use crate::{
    arguments::{Common, Import},
    failure::Failure,
    output::say,
    progress::Meter,
};

pub(super) fn run(arguments: &Import, common: &Common) -> Result<(), Failure> {
    let request = Request {
        architecture: arguments.architecture,
        stem: arguments.stem,
        stem_padding: arguments.stem_padding.map(usize::from),
        size: arguments.size.map(usize::from),
        resize: arguments.resize.map(usize::from),
        normalisation: arguments.normalisation,
        network: arguments.network.into(),
        prefix: arguments.prefix.clone(),
    };
    let meter = Meter::waiting(common);
    meter.set_message(format!("reading {}", arguments.file.display()));
    let found = foreign::read(&arguments.file, &request).map_err(|error| {
        let named = matches!(
            error,
            ForeignError::Io { .. } | ForeignError::Damaged { .. } | ForeignError::Type { .. }
        );
        let error = anyhow::Error::from(error);
        if named { error } else { error.context(arguments.file.display().to_string()) }
    })?;
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
    if !arguments.allow_partial {
        found.check()?;
    }
    found.write(&arguments.to, &arguments.file)?;
    say(&if common.json { event(&found, arguments) } else { result(&found, arguments) })
}

fn event(found: &ImportReport, arguments: &Import) -> String {
    let count = |status| found.count(status);
    json!({
        "event": "imported",
        "path": arguments.to.to_string_lossy(),
        "prefix": found.prefix,
        "backbone": found.config,
        "input": found.input,
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
    format!(
        "{}: {name}, {} tensors, features of {}; images of {} pixels, mean {:?}, std {:?}",
        arguments.to.display(),
        found.count(MatchStatus::Matched),
        config.dim(),
        input.size,
        input.normalisation.mean,
        input.normalisation.std
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
            (_, _, _, Some(reason)) => write!(text, "  {reason}, not part of an encoder"),
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
