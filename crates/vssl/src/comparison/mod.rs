//! Runs side by side: one row a method, mean and sample deviation over seeds.
//!
//! `run` finds run folders and reads their figures, `column` says which figures there are, `group` says
//! which runs are seeds of one another and names the rows, `figure` takes means over them, `notes` says
//! what keeps rows from being compared, [`Format`] writes the table. Called by `vssl table`.

mod column;
mod figure;
mod format;
mod group;
mod notes;
mod published;
mod run;

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

pub use column::Column;
pub use figure::{Emphasis, Entry, Figure, Placed};
pub use format::{Format, Layout};
pub use notes::{Note, NoteKind};
pub use published::{Published, Source, Value};
use run::Found;
pub use run::folders;

use crate::run::{
    folder::{self, RunFolderError},
    json_lines::JsonLinesError,
};

/// Finished runs as rows, and all that is to be said about them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Names of the datasets, sorted: a group of columns each.
    pub datasets: Vec<String>,
    /// What each row has on each dataset, in the order of the table.
    #[serde(skip)]
    pub columns: Vec<Column>,
    /// Methods by name, then what they are measured by.
    pub rows: Vec<Row>,
    /// What a reader has to know before drawing conclusions.
    pub notes: Vec<Note>,
    /// Runs that are in no row, and why.
    pub left_out: Vec<LeftOut>,
    /// What others published on these methods and datasets.
    pub published: Published,
}

/// Runs that differ in nothing but seed and dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The method, and what tells this row from others of the same method.
    pub name: String,
    /// The method; empty in reference rows.
    pub method: String,
    /// Whether nothing was learnt here: untrained encoders and raw pixels.
    pub reference: bool,
    /// An entry for each dataset that there are runs on, in the order of [`Comparison::datasets`].
    pub results: Vec<Entry>,
}

impl Row {
    /// The results on `dataset`.
    pub fn on(&self, dataset: &str) -> Option<&Entry> {
        self.results.iter().find(|entry| entry.dataset == dataset)
    }
}

/// A run that is in no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its folder.
    pub run: PathBuf,
    /// The method, where the recipe could be read.
    pub method: Option<String>,
    /// The seed, where the recipe could be read.
    pub seed: Option<u64>,
    /// What became of it.
    pub state: State,
    /// In words.
    pub reason: String,
}

/// What became of a run that is in no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Stopped on request.
    Interrupted,
    /// Killed, or running.
    Unfinished,
    /// Ended with an error.
    Failed,
    /// Its files cannot be read.
    Damaged,
    /// A run of the same recipe and seed is in the table.
    Repeated,
}

impl State {
    /// The name of the state, as tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Unfinished => "unfinished",
            Self::Failed => "failed",
            Self::Damaged => "damaged",
            Self::Repeated => "repeated",
        }
    }
}

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComparisonError {
    /// The operating system refused.
    #[error("reading {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file in the folder of a run.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// The figures of a run.
    #[error(transparent)]
    Lines(#[from] JsonLinesError),
    /// The folder holds no runs.
    #[error(
        "{}: not a run folder, and there is none below it; expected a folder with {}, as vssl pretrain \
         leaves it", path.display(), folder::RECIPE
    )]
    NoRun {
        /// As it was given.
        path: PathBuf,
    },
}

impl Comparison {
    /// Compares the runs in `paths` and in the folders below them. A run that is met twice counts once.
    ///
    /// # Errors
    /// A path that is or has no run folder, a folder that cannot be read. A run whose files are
    /// damaged is no error: it is listed.
    pub fn of(paths: &[PathBuf]) -> Result<Self, ComparisonError> {
        let folders = run::folders(paths)?;
        let found =
            folders.iter().map(|folder| run::read(folder)).collect::<Result<Vec<_>, _>>()?;
        let (mut runs, mut left_out) = (Vec::new(), Vec::new());
        for found in found {
            match found {
                Found::Finished(run) => runs.push(*run),
                Found::LeftOut(run) => left_out.push(run),
            }
        }
        left_out.extend(group::take_repeated(&mut runs));
        let (groups, datasets) = (group::groups(&runs), group::datasets(&runs));
        let columns = column::columns(runs.iter().map(|run| &run.summary));
        let rows = figure::rows(&groups, &datasets, &columns);
        let mut notes = notes::notes(&groups, &rows, &datasets, &columns);
        notes.extend(runs.iter().filter_map(|run| run.remark.clone()).map(Note::missing));
        let published = Published::on(&rows, &datasets);
        Ok(Self { datasets, columns, rows, notes, left_out, published })
    }

    /// Lists a run below the table; what was said about the same folder before is replaced.
    pub fn leave_out(&mut self, run: LeftOut) {
        match self.left_out.iter_mut().find(|known| known.run == run.run) {
            Some(known) => *known = run,
            None => self.left_out.push(run),
        }
    }
}

/// Whether `folder` is a run that was trained to its last step.
///
/// # Errors
/// When its files cannot be read.
pub fn is_finished(folder: &Path) -> Result<bool, ComparisonError> {
    Ok(folder::is_run(folder) && matches!(run::read(folder)?, Found::Finished(_)))
}
