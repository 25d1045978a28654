//! The run folder: what a run leaves behind and finds again.
//!
//! ```text
//! recipe.toml      resolved: every setting, defaults included
//! metrics.jsonl    the figures of logged steps and evaluations: see `metrics`
//! events.jsonl     what else happened, for programs: see `history`
//! log.txt          the same for people
//! checkpoints/     see `checkpoint`
//! summary.json     the result
//! events.out.…     the figures for TensorBoard, where the recipe asks for them
//! linear/          the folder of `vssl linear`, which has settings.toml in place of the recipe
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    checkpoint::{self, Store},
    history::{self, Entry},
    json_lines, metrics,
    names::LOG,
    tensorboard::{self, EventFile},
    whole_file,
};
pub use super::{
    error::RunFolderError,
    names::{LINEAR, RECIPE, SETTINGS, SUMMARY},
};

/// How often the lock of a folder is tried: whoever asks [`is_busy`] holds it for a moment, too.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

fn io(path: &Path) -> impl FnOnce(io::Error) -> RunFolderError {
    let path = path.to_owned();
    move |source| RunFolderError::Io { path, source }
}

/// An open run folder.
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    history: File,
    tensorboard: Option<EventFile>,
    log: File,
}

impl RunFolder {
    /// Makes the folder for a new run and writes its resolved recipe. `tensorboard` asks for an
    /// event file as well.
    ///
    /// # Errors
    /// When something is there already and `force` is off, or it cannot be written.
    pub fn create(
        path: &Path,
        recipe: &str,
        force: bool,
        tensorboard: bool,
    ) -> Result<Self, RunFolderError> {
        Self::create_with((RECIPE, recipe), path, force, tensorboard)
    }

    /// The same for a training without a recipe: the name and the text of its settings are given.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub fn create_with(
        (name, settings): (&str, &str),
        path: &Path,
        force: bool,
        tensorboard: bool,
    ) -> Result<Self, RunFolderError> {
        if occupied(path).map_err(io(path))? {
            if !force {
                return Err(RunFolderError::Occupied { path: path.to_owned() });
            }
            if !is_run(path) && !is_on_labels(path) {
                return Err(RunFolderError::Foreign { path: path.to_owned() });
            }
            drop(locked_log(path)?);
            clear(path)?;
        }
        fs::create_dir_all(path).map_err(io(path))?;
        // The lock comes first: of two processes that begin in one folder, only one writes its settings.
        let log = locked_log(path)?;
        if is_run(path) || is_on_labels(path) {
            // The other process has been quick, and is done already.
            return Err(RunFolderError::Occupied { path: path.to_owned() });
        }
        if let Err(error) = write_whole(path, name, settings) {
            // Without its settings the folder is no run: what is left must not stand in the way of the next.
            let _ = fs::remove_file(path.join(LOG));
            return Err(error);
        }
        Self::open(path, log, tensorboard)
    }

    /// Opens the folder of a run that goes on after `step`: figures and events of later steps, and lines that
    /// were cut short or are damaged, are dropped.
    ///
    /// # Errors
    /// When it cannot be read or written.
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
        Ok(Self { path: path.to_owned(), metrics, history, tensorboard, log })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its checkpoints.
    pub fn checkpoints(&self) -> Store {
        Store::of(&self.path)
    }

    /// Appends one line about `step` to `metrics.jsonl`, in a single write, and its figures to the
    /// file for TensorBoard if there is one.
    ///
    /// # Errors
    /// When it cannot be written.
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
    /// When it cannot be written.
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

    /// Appends a line to `log.txt` behind the time (UTC).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn log(&mut self, message: &str) -> Result<(), RunFolderError> {
        let line = format!("{} {message}\n", now());
        self.log.write_all(line.as_bytes()).map_err(io(&self.path.join(LOG)))
    }

    /// Writes `summary.json`, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn summarise(&self, summary: &impl Serialize) -> Result<(), RunFolderError> {
        let mut text = serde_json::to_string_pretty(summary).expect("a summary is plain data");
        text.push('\n');
        self.write(SUMMARY, &text)
    }

    /// Writes the file `name`, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<(), RunFolderError> {
        write_whole(&self.path, name, text)
    }
}

/// The time, UTC, as RFC 3339 writes it.
fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

fn write_whole(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), RunFolderError> {
    let path = folder.join(name);
    whole_file::write(&path, bytes).map_err(io(&path))
}

/// What the run of a recipe is called: `<recipe>-<seed>`, the recipe being called after its path
/// below `recipes/`.
pub fn name(recipe: &Path, seed: u64) -> String {
    let stem = recipe.with_extension("");
    let parts: Vec<_> = stem.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let own = match parts.iter().rposition(|part| part == "recipes") {
        Some(position) if position + 1 < parts.len() => &parts[position + 1..],
        _ => &parts[parts.len().saturating_sub(1)..],
    };
    format!("{}-{seed}", own.join("-"))
}

/// Whether a run was begun in the folder `path`.
pub fn is_run(path: &Path) -> bool {
    path.join(RECIPE).is_file()
}

/// Whether a training on labels was begun in the folder `path`.
pub fn is_on_labels(path: &Path) -> bool {
    path.join(SETTINGS).is_file()
}

/// A number that changes when a file of the run in the folder `path` does, apart from its checkpoints, or
/// when a process begins or ends to work on it.
pub fn revision(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    for name in [RECIPE, metrics::FILE, history::FILE, LOG, SUMMARY] {
        let known = path.join(name).metadata().ok();
        known.map(|file| (file.len(), file.modified().ok())).hash(&mut hasher);
    }
    is_busy(path).unwrap_or(false).hash(&mut hasher);
    hasher.finish()
}

/// Whether a process is at work on the run in the folder `path`.
///
/// # Errors
/// When its log cannot be opened.
pub fn is_busy(path: &Path) -> Result<bool, RunFolderError> {
    if !path.join(LOG).exists() {
        return Ok(false);
    }
    match locked_log(path) {
        Err(RunFolderError::Busy { .. }) => Ok(true),
        log => log.map(|_| false),
    }
}

fn append(file: &Path) -> Result<File, RunFolderError> {
    OpenOptions::new().create(true).append(true).open(file).map_err(io(file))
}

/// Opens the log for as long as the process works on the run. The lock goes with the process, however it
/// ends. On a file system without locks there is no lock.
fn locked_log(path: &Path) -> Result<File, RunFolderError> {
    let log = append(&path.join(LOG))?;
    for _ in 0..TRIES {
        match log.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(log),
        }
    }
    Err(RunFolderError::Busy { path: path.to_owned() })
}

/// Whether a new run can have the folder `path`.
///
/// # Errors
/// When something is in it.
pub fn check_free(path: &Path) -> Result<(), RunFolderError> {
    match occupied(path).map_err(io(path))? {
        true => Err(RunFolderError::Occupied { path: path.to_owned() }),
        false => Ok(()),
    }
}

/// The text of the resolved recipe of the run at `path`.
///
/// # Errors
/// When it is not a run folder or cannot be read.
pub fn recipe_of(path: &Path) -> Result<String, RunFolderError> {
    if !path.exists() {
        return Err(RunFolderError::Missing { path: path.to_owned() });
    }
    let file = path.join(RECIPE);
    match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(RunFolderError::NoRun { path: path.to_owned() })
        }
        text => text.map_err(io(&file)),
    }
}

/// The result in the folder `path`, that of a run or of a training on labels; `None` where there is none yet.
///
/// # Errors
/// When it cannot be read, or is not such a result.
pub fn summary_of<Summary: DeserializeOwned>(
    path: &Path,
) -> Result<Option<Summary>, RunFolderError> {
    let file = path.join(SUMMARY);
    let bytes = match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(io(&file))?,
    };
    let summary = serde_json::from_slice(&bytes);
    summary
        .map(Some)
        .map_err(|error| RunFolderError::Summary { path: file, what: error.to_string() })
}

fn occupied(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the files of an earlier run and the trainings on labels inside it, which are of its encoder, and
/// nothing else. The file that makes the folder a run goes last: a removal that is cut short can be repeated.
fn clear(path: &Path) -> Result<(), RunFolderError> {
    let removed = |file: &Path, result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io(file)(error)),
        _ => Ok(()),
    };
    for entry in fs::read_dir(path).map_err(io(path))? {
        let entry = entry.map_err(io(path))?.path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if tensorboard::is_event_file(&name) {
            removed(&entry, fs::remove_file(&entry))?;
        } else if name == checkpoint::FOLDER || is_on_labels(&entry) {
            removed(&entry, fs::remove_dir_all(&entry))?;
        }
    }
    for name in [metrics::FILE, history::FILE, LOG, SUMMARY, SETTINGS, RECIPE] {
        let file = path.join(name);
        removed(&file, fs::remove_file(&file))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_starts_in_one_folder_one_gets_it_and_its_settings_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let path = path.as_path();
        let texts = ["seed = 0", "seed = 1", "seed = 2", "seed = 3"];
        let begun: Vec<_> = thread::scope(|scope| {
            let start = |text| scope.spawn(move || RunFolder::create(path, text, false, false));
            texts.map(start).into_iter().map(|start| start.join().unwrap()).collect()
        });
        let got = texts.into_iter().zip(&begun).filter(|(_, begun)| begun.is_ok());
        let got: Vec<&str> = got.map(|(text, _)| text).collect();
        assert_eq!(got, [recipe_of(path).unwrap()]);
    }
}
