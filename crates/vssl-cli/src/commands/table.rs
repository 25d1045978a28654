//! `vssl table`: compares runs in a table, and runs a grid first if there is one.

use std::path::Path;

use anyhow::{Context, anyhow};
use serde_json::json;
use vssl::{
    comparison::{Comparison, Format},
    grid::Grid,
    run::whole_file,
};

use super::{destination, grid};
use crate::{
    arguments::{Common, Table},
    failure::Failure,
    notes::note,
    output::say,
};

pub(super) fn run(arguments: &Table, common: &Common) -> Result<(), Failure> {
    let format = format(arguments, common)?;
    if let Some(out) = &arguments.out {
        let mut read = Vec::new();
        if let Some(path) = &arguments.grid {
            read.push(path.clone());
            read.extend(Grid::load(path).map(|grid| grid.recipes).unwrap_or_default());
        }
        destination::check("--out", out, &read)?;
    }
    match &arguments.grid {
        None => show(&Comparison::of(&arguments.runs)?, format, arguments, common),
        Some(path) => {
            let ran = grid::run(path, arguments, common)?;
            show(&ran.comparison, format, arguments, common)?;
            ran.end
        }
    }
}

fn format(arguments: &Table, common: &Common) -> Result<Format, Failure> {
    let said = arguments.format.map(|format| format.format());
    let ending = match &arguments.out {
        None => None,
        Some(out) => of_ending(out, said.is_some() || common.json)?,
    };
    let format = match (said, common.json) {
        (None | Some(Format::Json), true) => Some(Format::Json),
        (Some(_), true) => {
            return Err(Failure::usage(anyhow!(
                "--json and --format contradict each other: give one of them"
            )));
        }
        (format, false) => format,
    };
    if let Some(out) = &arguments.out {
        let argument = if common.json { "--json" } else { "--format" };
        destination::agree(("--out", out), (argument, format), ending)?;
    }
    Ok(format.or(ending).unwrap_or_default())
}

/// The format that the ending of `out` names. With another ending the format has to be `said`.
fn of_ending(out: &Path, said: bool) -> Result<Option<Format>, Failure> {
    let Some(ending) = destination::ending(out) else { return Ok(None) };
    match ending.as_str() {
        "md" | "markdown" => Ok(Some(Format::Markdown)),
        "txt" if !said => Ok(Some(Format::Markdown)),
        "csv" => Ok(Some(Format::Csv)),
        "tex" => Ok(Some(Format::Latex)),
        "html" | "htm" => Ok(Some(Format::Html)),
        "json" => Ok(Some(Format::Json)),
        _ if said => Ok(None),
        _ => Err(Failure::usage(anyhow!(
            "--out {}: the ending names no format; expected .md, .csv, .tex, .html or .json, or --format",
            out.display()
        ))),
    }
}

/// Prints the table, or writes it to the file that was asked for.
fn show(
    comparison: &Comparison,
    format: Format,
    arguments: &Table,
    common: &Common,
) -> Result<(), Failure> {
    let text = comparison.write_as(format, arguments.layout.layout());
    if format == Format::Csv && !common.quiet {
        // A spreadsheet has no place for them.
        comparison.notes.iter().for_each(|found| note(&found.text));
    }
    let Some(path) = &arguments.out else { return say(text.trim_end()) };
    whole_file::write(path, &text)
        .with_context(|| format!("writing the table to {}", path.display()))?;
    let rows = comparison.rows.iter().filter(|row| !row.reference).count();
    if common.json {
        say(&json!({ "event": "written", "path": path.to_string_lossy(), "rows": rows })
            .to_string())
    } else if common.quiet {
        Ok(())
    } else {
        let left_out = comparison.left_out.len();
        let more = if left_out > 0 { format!(", {left_out} runs left out") } else { String::new() };
        say(&format!("{}: {rows} rows{more}", path.display()))
    }
}
