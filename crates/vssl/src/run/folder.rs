//! The run folder: what a run leaves behind and finds again.
//!
//! ```text
//! recipe.toml      resolved: every setting, defaults included
//! metrics.jsonl    one JSON object a logged step or evaluation
//! checkpoints/     see `checkpoint`
//! log.txt          what was said, with the time
//! summary.json     the result
//! events.out.…     the figures for TensorBoard, where the recipe asks for them
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::Serialize;

use super::{checkpoint::Store, events::Summary};
use crate::run::{
    metrics,
    tensorboard::{self, EventFile},
    whole_file,
};

/// The resolved recipe of a run.
const RECIPE: &str = "recipe.toml";
/// Its result.
const SUMMARY: &str = "summary.json";

/// The resolved settings of a training on labels, which is no run of a recipe.
pub const SETTINGS: &str = "settings.toml";

/// Who only asks whether a process is at work, [`is_busy`], has the lock for a moment, too.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Why a run folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFolderError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A new run would overwrite what is there.
    #[error(
        "{}: there is already something here; choose another --out, continue it with --resume, \
         or replace it with --force", path.display()
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// The same with `--force`, and what is there is nobody's run.
    #[error(
        "{}: there is something here that is no run; --force replaces runs only, choose another --out",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// Two processes would overwrite each other's files.
    #[error("{}: another process is at work on this run; wait for its end", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// `--resume` or another reader of runs was pointed at nothing.
    #[error("{}: does not exist; expected a run folder, as `vssl pretrain` makes them", path.display())]
    Missing {
        /// The place.
        path: PathBuf,
    },
    /// The same, pointed at something else.
    #[error("{}: not a run folder: there is no recipe.toml in it", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> RunFolderError {
    let path = path.to_owned();
    move |source| RunFolderError::Io { path, source }
}

/// An open run folder.
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    events: Option<EventFile>,
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

    /// The same for what is no run of a recipe: the name and the text of its settings are given.
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
            if !is_run(path) && !path.join(SETTINGS).is_file() {
                return Err(RunFolderError::Foreign { path: path.to_owned() });
            }
            drop(locked_log(path)?);
            clear(path)?;
        }
        fs::create_dir_all(path).map_err(io(path))?;
        write_whole(path, name, settings)?;
        Self::open(path, locked_log(path)?, tensorboard)
    }

    /// Opens the folder of a run that goes on after `step`: lines of metrics and events that come
    /// later, and a last one that was cut short, are dropped.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn resume(path: &Path, step: u64, tensorboard: bool) -> Result<Self, RunFolderError> {
        let log = locked_log(path)?;
        let metrics = path.join("metrics.jsonl");
        if metrics.exists() {
            let kept = lines_until(&metrics, step).map_err(io(&metrics))?;
            write_whole(path, metrics::FILE, kept)?;
        }
        tensorboard::shorten(path, step).map_err(io(path))?;
        Self::open(path, log, tensorboard)
    }

    fn open(path: &Path, log: File, tensorboard: bool) -> Result<Self, RunFolderError> {
        let metrics = append(&path.join(metrics::FILE))?;
        let events = tensorboard.then(|| EventFile::create(path)).transpose().map_err(io(path))?;
        Ok(Self { path: path.to_owned(), metrics, events, log })
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
    /// event file if there is one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(&mut self, step: u64, line: &impl Serialize) -> Result<(), RunFolderError> {
        let mut text = serde_json::to_string(line).expect("metrics are plain data");
        text.push('\n');
        self.metrics.write_all(text.as_bytes()).map_err(io(&self.path.join(metrics::FILE)))?;
        let Some(events) = &mut self.events else { return Ok(()) };
        let value = serde_json::to_value(line).expect("metrics are plain data");
        let written = events.scalars(step, &metrics::figures(&value));
        written.map_err(io(events.path()))
    }

    /// Appends a line to `log.txt` behind the time (UTC).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn log(&mut self, message: &str) -> Result<(), RunFolderError> {
        let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
        let line = format!("{now} {message}\n");
        self.log.write_all(line.as_bytes()).map_err(io(&self.path.join("log.txt")))
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

/// Whether a process is at work on the run in the folder `path`.
///
/// # Errors
/// When its log cannot be opened.
pub fn is_busy(path: &Path) -> Result<bool, RunFolderError> {
    if !path.join("log.txt").exists() {
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

/// Opens the log for as long as the process works on the run. The lock goes with the process,
/// however it ends; a file system that knows no locks has none.
fn locked_log(path: &Path) -> Result<File, RunFolderError> {
    let log = append(&path.join("log.txt"))?;
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
/// When it is no run folder or cannot be read.
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

/// The result of the run at `path`; `None` where there is none, or none that this version reads.
///
/// # Errors
/// When it cannot be read.
pub fn summary_of(path: &Path) -> Result<Option<Summary>, RunFolderError> {
    let file = path.join(SUMMARY);
    match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => Ok(serde_json::from_slice(&bytes.map_err(io(&file))?).ok()),
    }
}

fn occupied(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the files of an earlier run, the trainings on labels inside it, which are of its encoder,
/// and nothing else. What makes the folder a run goes last: a removal that is cut short can be repeated.
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
        } else if name == "checkpoints" || entry.join(SETTINGS).is_file() {
            removed(&entry, fs::remove_dir_all(&entry))?;
        }
    }
    for name in ["metrics.jsonl", "log.txt", SUMMARY, SETTINGS, RECIPE] {
        let file = path.join(name);
        removed(&file, fs::remove_file(&file))?;
    }
    Ok(())
}

fn lines_until(path: &Path, step: u64) -> io::Result<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct Line {
        step: u64,
    }
    let mut kept = Vec::new();
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        let line = line?;
        match serde_json::from_slice::<Line>(&line) {
            Ok(Line { step: at }) if at <= step => {
                kept.extend_from_slice(&line);
                kept.push(b'\n');
            }
            _ => break,
        }
    }
    Ok(kept)
}
