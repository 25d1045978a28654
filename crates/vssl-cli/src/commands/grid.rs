//! The runs of `vssl table --grid`, one after the other, each in a process of its own, so that a
//! failure of one run, lack of memory included, does not end the grid.
//!
//! A run stops when the pipe to its standard input closes (`--stop-at-eof`). That happens on
//! request and when the grid is killed, so that no run outlives its grid by more than a step.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use serde_json::json;
use vssl::{
    comparison::{self, Comparison, LeftOut, State},
    device::DeviceChoice,
    grid::{Cell, CellState, Grid},
    run::{folder, stop::Stop},
};

use crate::{
    arguments::{Common, Table},
    failure::{Failure, during},
    notes::complain,
    output::{counted, duration},
    program, signals,
};

/// Time between two checks of a run that is at work.
const PAUSE: Duration = Duration::from_millis(50);

/// How the run of a cell ended.
enum Outcome {
    Finished,
    Failed(String),
    /// The grid was stopped during this run or before it.
    Stopped,
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed(_) => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// The table after all runs, and the result of the command once the table is shown.
pub(super) struct Ran {
    pub(super) comparison: Comparison,
    pub(super) end: Result<(), Failure>,
}

/// Runs what is left to do of the grid in the file `path`.
pub(super) fn run(path: &Path, arguments: &Table, common: &Common) -> Result<Ran, Failure> {
    let grid = Grid::load(path).map_err(Failure::usage)?;
    arguments.device.resolve().map_err(Failure::usage)?;
    fs::create_dir_all(&grid.out).map_err(during("making the folder out =", &grid.out))?;
    let stop = Stop::default();
    signals::listen(&stop);
    let runner = Runner { device: arguments.device, common, stop };
    let cells = grid.cells();
    // Cells that cannot run are reported at once, not after the hours that the others take.
    for cell in &cells {
        if let Err(error) = cell.state() {
            runner.tell(&format!("{} will fail: {error}", cell.name));
        }
    }
    let mut outcomes = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        let outcome = runner.cell(cell, &format!("{}/{} {}", index + 1, cells.len(), cell.name));
        if let Outcome::Failed(reason) = &outcome {
            runner.tell(&format!("{} failed: {reason}", cell.name));
        }
        outcomes.push(outcome);
        record(&grid, &cells, &outcomes)?;
    }
    let comparison = compare(&cells, &outcomes)?;
    Ok(Ran { comparison, end: runner.end(&cells, &outcomes) })
}

/// What the runs of a grid share.
struct Runner<'a> {
    device: DeviceChoice,
    common: &'a Common,
    stop: Stop,
}

impl Runner<'_> {
    /// Writes a line to standard error, because standard output is for the table.
    fn tell(&self, text: &str) {
        if !self.is_silent() {
            complain(text);
        }
    }

    fn is_silent(&self) -> bool {
        self.common.quiet || self.common.json
    }

    fn cell(&self, cell: &Cell, title: &str) -> Outcome {
        match self.try_cell(cell, title) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        }
    }

    fn try_cell(&self, cell: &Cell, title: &str) -> anyhow::Result<Outcome> {
        self.wait_for_another(cell, title)?;
        let state = cell.state()?;
        let what = match state {
            CellState::Finished => "is finished already",
            _ if self.stop.requested() => return Ok(Outcome::Stopped),
            CellState::New => "begins",
            CellState::Again => "begins again: it was stopped before its first checkpoint",
            CellState::Halfway => "goes on from its last checkpoint",
        };
        self.tell(&format!("{title} {what}"));
        if state == CellState::Finished {
            return Ok(Outcome::Finished);
        }
        let began = Instant::now();
        let (status, said) = self.attend(self.command(cell, state)?)?;
        let outcome = self.outcome(cell, status, &said)?;
        self.tell(&format!("{title} {} after {}", outcome.name(), duration(began.elapsed())));
        Ok(outcome)
    }

    /// Waits while another process works on the cell: a grid that was killed may have left a run that
    /// still writes its last checkpoint.
    fn wait_for_another(&self, cell: &Cell, title: &str) -> anyhow::Result<()> {
        let mut is_told = false;
        while folder::is_busy(&cell.run)? && !self.stop.requested() {
            if !is_told {
                self.tell(&format!("{title} is at work in another process: waiting for its end"));
            }
            is_told = true;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn command(&self, cell: &Cell, state: CellState) -> anyhow::Result<Command> {
        let mut command = program::command()?;
        command.args(["pretrain", "--stop-at-eof", "--device", &self.device.to_string()]);
        command.arg("--data").arg(&self.common.data);
        if let Some(threads) = self.common.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        if state == CellState::Halfway {
            command.arg("--resume").arg(&cell.run);
        } else {
            command.arg("--out").arg(&cell.run).arg(&cell.recipe);
            for text in &cell.overrides {
                command.args(["--set", text]);
            }
        }
        if state == CellState::Again {
            command.arg("--force");
        }
        let progress = if self.is_silent() { Stdio::null() } else { Stdio::from(io::stderr()) };
        command.stdin(Stdio::piped()).stdout(progress).stderr(Stdio::piped());
        Ok(command)
    }

    /// Runs the process to its end, and asks it to stop when the grid is asked to. Returns its status and
    /// what it wrote to standard error.
    fn attend(&self, mut command: Command) -> anyhow::Result<(ExitStatus, String)> {
        let mut child: Child = command.spawn().context("starting a run")?;
        let mut pipe = child.stdin.take();
        let mut errors = child.stderr.take().context("standard error of the run")?;
        let said = thread::spawn(move || {
            let mut bytes = Vec::new();
            // If reading fails, what was read before is kept.
            let _ = errors.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let status = loop {
            if let Some(status) = child.try_wait().context("waiting for a run")? {
                break status;
            }
            if self.stop.requested() && pipe.take().is_some() {
                self.tell("stopping after this step and a checkpoint");
            }
            thread::sleep(PAUSE);
        };
        let said = said.join().map_err(|_| anyhow!("reading what the run said"))?;
        Ok((status, said))
    }

    fn outcome(&self, cell: &Cell, status: ExitStatus, said: &str) -> anyhow::Result<Outcome> {
        let said = said.trim().trim_start_matches("error:").trim();
        // A signal from the terminal reaches the run as well.
        if matches!(status.code(), Some(130 | 143)) {
            return Ok(match self.stop.requested() {
                true => Outcome::Stopped,
                false => Outcome::Failed("a signal stopped the run before its end".to_owned()),
            });
        }
        if !status.success() {
            let how = if said.is_empty() {
                format!("the run ended with {status}")
            } else {
                said.to_owned()
            };
            return Ok(Outcome::Failed(how));
        }
        self.tell_if_any(said);
        Ok(match comparison::is_finished(&cell.run)? {
            true => Outcome::Finished,
            false => Outcome::Failed("the run ended without a result".to_owned()),
        })
    }

    fn tell_if_any(&self, text: &str) {
        if !text.is_empty() {
            self.tell(text);
        }
    }

    fn end(&self, cells: &[Cell], outcomes: &[Outcome]) -> Result<(), Failure> {
        let named = |wanted: &str| -> Vec<&str> {
            let pairs = cells.iter().zip(outcomes);
            pairs.filter(|(_, o)| o.name() == wanted).map(|(cell, _)| cell.name.as_str()).collect()
        };
        let (failed, stopped) = (named("failed"), named("stopped"));
        if !stopped.is_empty() {
            let left = match stopped.len() {
                1 => "run that is".to_owned(),
                several => format!("{several} runs that are"),
            };
            self.tell(&format!("stopped on request; the same command does the {left} left"));
        }
        if failed.is_empty() {
            return if stopped.is_empty() { Ok(()) } else { Err(Failure::Interrupted) };
        }
        let (count, all, names) = (failed.len(), cells.len(), failed.join(", "));
        Err(anyhow!("{count} of {} failed: {names}; the table says why", counted(all, "run"))
            .into())
    }
}

/// Writes `grid.json` beside the run folders, whole or not at all.
fn record(grid: &Grid, cells: &[Cell], outcomes: &[Outcome]) -> anyhow::Result<()> {
    let lines: Vec<_> = cells
        .iter()
        .enumerate()
        .map(|(index, cell)| {
            let outcome = outcomes.get(index);
            let reason = match outcome {
                Some(Outcome::Failed(reason)) => Some(reason),
                _ => None,
            };
            let state = outcome.map_or("waiting", Outcome::name);
            let [run, recipe] = [&cell.run, &cell.recipe].map(|path| path.to_string_lossy());
            json!({ "name": cell.name, "run": run, "recipe": recipe, "seed": cell.seed,
                    "state": state, "reason": reason })
        })
        .collect();
    let path = grid.out.join("grid.json");
    let text = format!("{:#}\n", json!({ "cells": lines }));
    vssl::run::whole_file::write(&path, text).map_err(during("writing", &path))
}

fn compare(cells: &[Cell], outcomes: &[Outcome]) -> Result<Comparison, Failure> {
    // The folder of a cell that failed may hold a run of another recipe.
    let told = cells.iter().zip(outcomes).filter(|(_, o)| !matches!(o, Outcome::Failed(_)));
    let runs: Vec<_> =
        told.map(|(cell, _)| cell.run.clone()).filter(|run| folder::is_run(run)).collect();
    let mut comparison = Comparison::of(&runs)?;
    for (cell, outcome) in cells.iter().zip(outcomes) {
        let (state, reason) = match outcome {
            Outcome::Failed(reason) => {
                let lines: Vec<&str> = reason.lines().map(str::trim).collect();
                (State::Failed, lines.join(" "))
            }
            // A run that began is listed with the step that it reached.
            Outcome::Stopped if !folder::is_run(&cell.run) => {
                (State::Unfinished, "not begun yet".to_owned())
            }
            _ => continue,
        };
        let (run, seed) = (cell.run.clone(), Some(cell.seed));
        comparison.leave_out(LeftOut { run, method: None, seed, state, reason });
    }
    Ok(comparison)
}
