//! Compares runs in a table: a row for each method, with mean and sample deviation over seeds.
//!
//! `run` finds run folders and reads their figures, `identity` tells sets of images of one name apart, `source` names
//! the encoders that runs started from, `column` names the figures, `group` groups runs that differ in the seed only and names the rows, `notes` lists what a
//! fair comparison needs to know, [`Format`] writes the table. Called by `vssl table`.

mod column;
mod figure;
mod format;
mod group;
mod identity;
mod notes;
mod published;
mod run;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
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

use crate::{
    methods,
    run::{
        folder::{self, RunFolderError},
        json_lines::JsonLinesError,
    },
};

/// Finished runs as the rows of a table, with notes on them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Names of the datasets, sorted. Each has a group of columns.
    pub datasets: Vec<String>,
    /// The columns of each dataset, in the order of the table.
    #[serde(skip)]
    pub columns: Vec<Column>,
    /// Rows of methods, by name, then the reference rows.
    pub rows: Vec<Row>,
    /// Notes that a reader needs before drawing conclusions.
    pub notes: Vec<Note>,
    /// Runs that are not in a row, with the reasons.
    pub left_out: Vec<LeftOut>,
    /// Results that others published on these methods and datasets.
    pub published: Published,
}

/// A row: runs that differ only in seed and dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the method, with the settings that tell this row from others of the same method.
    pub name: String,
    /// Name of the method; empty in reference rows.
    pub method: String,
    /// Whether the row is a reference without learning: untrained encoders or raw pixels.
    pub reference: bool,
    /// The results on each dataset that has runs, in the order of [`Comparison::datasets`].
    pub results: Vec<Entry>,
}

impl Row {
    /// The results on `dataset`.
    pub fn on(&self, dataset: &str) -> Option<&Entry> {
        self.results.iter().find(|entry| entry.dataset == dataset)
    }
}

/// A run that is not in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The run folder.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub run: PathBuf,
    /// Name of the method, if the recipe could be read.
    pub method: Option<String>,
    /// Seed, if the recipe could be read.
    pub seed: Option<u64>,
    /// How the run ended.
    pub state: State,
    /// Why the run is not in a row, as a sentence.
    pub reason: String,
}

/// How a run ended that is not in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The run was stopped on request.
    Interrupted,
    /// The run was killed, or is still running.
    Unfinished,
    /// The run ended with an error.
    Failed,
    /// Files of the run cannot be read.
    Damaged,
    /// Another run of the same recipe and seed is in the table.
    Repeated,
}

impl State {
    /// The name of the state in tables.
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

/// Why runs cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComparisonError {
    /// The operating system refused.
    #[error("reading {}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of a run folder cannot be read.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// The figures of a run cannot be read.
    #[error(transparent)]
    Lines(#[from] JsonLinesError),
    /// The folder holds no runs.
    #[error(
        "{}: not a run folder, and there is none below it; expected a folder with {}, as vssl pretrain \
         leaves it", path.display(), folder::RECIPE
    )]
    NoRun {
        /// The folder, as it was given.
        path: PathBuf,
    },
}

impl Comparison {
    /// Compares the runs in `paths` and in the folders below them. A run that is found twice counts once.
    ///
    /// # Errors
    /// A path that neither is nor holds a run folder, a folder that cannot be read. A run whose files are
    /// damaged is not an error: it is listed among the runs left out.
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
        identity::tell_apart(&mut runs);
        left_out.extend(group::take_repeated(&mut runs));
        source::name(&mut runs);
        let (groups, datasets) = (group::groups(&runs), group::datasets(&runs));
        let columns = column::columns(runs.iter().map(|run| &run.summary));
        let rows = figure::rows(&groups, &datasets, &columns);
        let mut notes = notes::notes(&groups, &rows, &datasets, &columns);
        let names: BTreeSet<&String> = rows.iter().map(|row| &row.method).collect();
        let seeing = names.into_iter().filter(|name| methods::sees_labels(name));
        notes.extend(seeing.map(|name| Note::labels(name)));
        notes.extend(runs.iter().filter_map(|run| run.remark.clone()).map(Note::missing));
        notes.extend(runs.iter().filter_map(|run| run.course.clone()).map(Note::course));
        let published = Published::on(&rows, &datasets);
        Ok(Self { datasets, columns, rows, notes, left_out, published })
    }

    /// Adds a run to those left out, in place of an earlier entry for the same folder.
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
/// When files of the run cannot be read.
pub fn is_finished(folder: &Path) -> Result<bool, ComparisonError> {
    Ok(folder::is_run(folder) && matches!(run::read(folder)?, Found::Finished(_)))
}

/// The figures of a run that was trained to its last step.
pub(crate) struct Finished {
    /// The number of steps.
    pub(crate) steps: u64,
    /// The figures of the trained encoder, by the keys of the columns.
    pub(crate) figures: BTreeMap<String, f64>,
}

/// Returns the figures of the run in `folder`; `None` where it was not trained to its last step, or is damaged.
///
/// # Errors
/// When files of the run cannot be read.
pub(crate) fn finished(folder: &Path) -> Result<Option<Finished>, ComparisonError> {
    Ok(match run::read(folder)? {
        Found::Finished(run) => Some(Finished { steps: run.summary.steps, figures: run.values }),
        Found::LeftOut(_) => None,
    })
}
