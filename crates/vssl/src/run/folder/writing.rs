//! An open run folder, to which a run writes.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::Serialize;

use super::{
    RECIPE, RunFolderError, SUMMARY, claim,
    lock::{append, locked_log},
    reading::{is_on_labels, is_run},
};
use crate::run::{
    checkpoint::Store,
    earlier,
    error::io,
    history::{self, Entry},
    json_lines, metrics,
    names::LOG,
    place::Place,
    tensorboard::{self, EventFile},
    whole_file,
};

/// An open run folder.
pub struct RunFolder {
    path: PathBuf,
    place: Place,
    metrics: File,
    history: File,
    tensorboard: Option<EventFile>,
    log: File,
}

impl RunFolder {
    /// Makes the folder for a new run and writes its resolved recipe. With `tensorboard` it makes an event
    /// file as well.
    ///
    /// # Errors
    /// The folder is not empty and `force` is off, or it cannot be written.
    pub fn create(
        path: &Path,
        recipe: &str,
        force: bool,
        tensorboard: bool,
    ) -> Result<Self, RunFolderError> {
        Self::create_with((RECIPE, recipe), path, force, tensorboard)
    }

    /// Makes the folder for a training without a recipe, whose settings have the given file name and text.
    ///
    /// # Errors
    /// The errors of [`RunFolder::create`].
    pub fn create_with(
        (name, settings): (&str, &str),
        path: &Path,
        force: bool,
        tensorboard: bool,
    ) -> Result<Self, RunFolderError> {
        claim::free(path, force)?;
        fs::create_dir_all(path).map_err(io(path))?;
        // The lock comes first: of two processes that begin in one folder, only one writes its settings.
        let log = locked_log(path)?;
        if is_run(path) || is_on_labels(path) {
            // Another process has made a run here meanwhile.
            return Err(RunFolderError::Occupied { path: path.to_owned() });
        }
        if let Err(error) = write_whole(path, name, settings) {
            // Without its settings the folder is not a run: its log must not block the next run.
            let _ = fs::remove_file(path.join(LOG));
            return Err(error);
        }
        Self::open(path, log, tensorboard)
    }

    /// Opens the folder of a run that goes on after `step`. Figures and events of later steps, and lines that
    /// are incomplete or damaged, are dropped.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn resume(path: &Path, step: u64, tensorboard: bool) -> Result<Self, RunFolderError> {
        let log = locked_log(path)?;
        for name in [metrics::FILE, history::FILE] {
            let file = path.join(name);
            if file.exists() {
                let bytes = fs::read(&file).map_err(io(&file))?;
                write_whole(path, name, json_lines::until(&bytes, step))?;
            }
        }
        tensorboard::shorten(path, step).map_err(io(path))?;
        Self::open(path, log, tensorboard)
    }

    fn open(path: &Path, log: File, tensorboard: bool) -> Result<Self, RunFolderError> {
        let metrics = append(&path.join(metrics::FILE))?;
        let history = append(&path.join(history::FILE))?;
        let events = tensorboard.then(|| EventFile::create(path));
        let tensorboard = events.transpose().map_err(io(path))?;
        let place = Place::of(path).map_err(io(path))?;
        Ok(Self { path: path.to_owned(), place, metrics, history, tensorboard, log })
    }

    /// Makes `text` the settings in the file `name` of a run that goes on after `step` steps: see `earlier`.
    ///
    /// # Errors
    /// A file cannot be read, written or renamed.
    pub(crate) fn replace_settings(
        &mut self,
        name: &'static str,
        text: &str,
        step: u64,
    ) -> Result<(), RunFolderError> {
        earlier::replace_settings(&self.path, name, text, step)?;
        self.place.remember(name, text);
        Ok(())
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the checkpoints of the run.
    pub fn checkpoints(&self) -> Store {
        Store::of(&self.path)
    }

    /// Returns the folder in which the state of the run can be saved where somebody has moved or removed the
    /// run folder; `None` while it is in its place.
    pub fn refuge(&self) -> Option<PathBuf> {
        self.place.refuge()
    }

    /// Appends one line about `step` to `metrics.jsonl`, in a single write, and the figures of the line to
    /// TensorBoard's file if there is such a file.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn record(&mut self, step: u64, line: &impl Serialize) -> Result<(), RunFolderError> {
        let mut text = serde_json::to_string(line).expect("metrics are plain data");
        text.push('\n');
        self.metrics.write_all(text.as_bytes()).map_err(io(&self.path.join(metrics::FILE)))?;
        let Some(file) = &mut self.tensorboard else { return Ok(()) };
        let value = serde_json::to_value(line).expect("metrics are plain data");
        let written = file.scalars(step, &metrics::figures(&value));
        written.map_err(io(file.path()))
    }

    /// Appends an event to `events.jsonl`, in a single write, and in words to `log.txt`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn note(&mut self, entry: &Entry) -> Result<(), RunFolderError> {
        #[derive(Serialize)]
        struct Line<'a> {
            time: String,
            #[serde(flatten)]
            entry: &'a Entry,
        }
        let line = Line { time: now(), entry };
        let mut text = serde_json::to_string(&line).expect("events are plain data");
        text.push('\n');
        self.history.write_all(text.as_bytes()).map_err(io(&self.path.join(history::FILE)))?;
        self.log(&entry.in_words())
    }

    /// Appends a line with the time (UTC) to `log.txt`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn log(&mut self, message: &str) -> Result<(), RunFolderError> {
        let line = format!("{} {message}\n", now());
        self.log.write_all(line.as_bytes()).map_err(io(&self.path.join(LOG)))
    }

    /// Writes `summary.json` completely or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn summarise(&self, summary: &impl Serialize) -> Result<(), RunFolderError> {
        let mut text = serde_json::to_string_pretty(summary).expect("a summary is plain data");
        text.push('\n');
        self.write(SUMMARY, &text)
    }

    /// Writes the file `name` completely or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<(), RunFolderError> {
        write_whole(&self.path, name, text)
    }
}

/// Returns the time in UTC in the format of RFC 3339.
fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

fn write_whole(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), RunFolderError> {
    let path = folder.join(name);
    whole_file::write(&path, bytes).map_err(io(&path))
}
