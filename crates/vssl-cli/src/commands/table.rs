//! `vssl table`: compares runs in a table, and runs a grid first if there is one.

use std::path::Path;

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    comparison::{Comparison, Format, State},
    grid::Grid,
    run::whole_file,
};

use super::{destination, grid};
use crate::{
    arguments::{Common, Table},
    failure::{Failure, during},
    notes::note,
    output::{counted, say},
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
        None => {
            let comparison = Comparison::of(&arguments.runs)?;
            show(&comparison, format, arguments, common)?;
            some_run(&comparison)
        }
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

/// Refuses a table without a single run, where that is because of damaged files and not because the runs are at work
/// or were stopped.
fn some_run(comparison: &Comparison) -> Result<(), Failure> {
    let damaged: Vec<_> =
        comparison.left_out.iter().filter(|run| run.state == State::Damaged).collect();
    match damaged.first() {
        Some(first) if comparison.rows.iter().all(|row| row.reference) => Err(anyhow!(
            "no run could be compared: {} damaged; the first is {}: {}",
            match damaged.len() {
                1 => "1 run is".to_owned(),
                count => format!("{count} runs are"),
            },
            first.run.display(),
            first.reason
        )
        .into()),
        _ => Ok(()),
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
    whole_file::write(path, &text).map_err(during("writing the table to", path))?;
    let rows = comparison.rows.iter().filter(|row| !row.reference).count();
    if common.json {
        say(&json!({ "event": "written", "path": path.to_string_lossy(), "rows": rows })
            .to_string())
    } else if common.quiet {
        Ok(())
    } else {
        let left_out = comparison.left_out.len();
        let more = match left_out {
            0 => String::new(),
            count => format!(", {} left out", counted(count, "run")),
        };
        say(&format!("{}: {}{more}", path.display(), counted(rows, "row")))
    }
}
