//! `vssl table`: compares runs in a table, and runs a grid first if there is one.

use anyhow::{Context, anyhow};
use serde_json::json;
use vssl::{
    comparison::{Comparison, Format},
    run::whole_file,
};

use super::grid;
use crate::{
    arguments::{Common, Table},
    failure::Failure,
    notes::note,
    output::say,
};

pub(super) fn run(arguments: &Table, common: &Common) -> Result<(), Failure> {
    let format = format(arguments, common)?;
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
    match (arguments.format.map(|format| format.format()), common.json) {
        (None | Some(Format::Json), true) => Ok(Format::Json),
        (Some(_), true) => Err(Failure::usage(anyhow!(
            "--json and --format contradict each other: give one of them"
        ))),
        (format, false) => Ok(format.unwrap_or_default()),
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
