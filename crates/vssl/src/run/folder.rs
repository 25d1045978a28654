//! The run folder, which a run writes and later reads again.
//!
//! ```text
//! recipe.toml      resolved: every setting, defaults included
//! metrics.jsonl    the figures of logged steps and evaluations: see `metrics`
//! events.jsonl     the other events, for programs: see `history`
//! log.txt          the same for people
//! checkpoints/     see `checkpoint`
//! summary.json     the result
//! start.safetensors    the encoder that the run started from, where its recipe has [init]
//! teacher.safetensors  the frozen teacher, where its recipe has [teacher]
//! classes.json     the accuracy by class, and confusion.csv the classes that images were given
//! recipe-step-….toml, summary-step-….json     of an earlier length: see `earlier`
//! events.out.…     the figures for TensorBoard, where the recipe asks for them
//! encoder.json     of a fine-tuning, beside labels.json: the architecture of its network
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
    earlier,
    history::{self, Entry},
    json_lines, metrics,
    names::LOG,
    place::Place,
    tensorboard::{self, EventFile},
    whole_file,
};
pub use super::{
    error::RunFolderError,
    names::{
        CLASSES, CONFUSION, ENCODER, LABELS, LINEAR, RECIPE, SETTINGS, START, SUMMARY, TEACHER,
    },
};

/// The number of attempts to lock a folder: [`is_busy`] holds the lock for a moment, too.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

fn io(path: &Path) -> impl FnOnce(io::Error) -> RunFolderError {
    let path = path.to_owned();
    move |source| RunFolderError::Io { path, source }
}

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
        if occupied(path).map_err(io(path))? {
            if !force && !failed_before_a_step(path) {
                return Err(RunFolderError::Occupied { path: path.to_owned() });
            }
            if !is_run(path) && !is_on_labels(path) {
                return Err(RunFolderError::Foreign { path: path.to_owned() });
            }
            let lock = locked_log(path)?;
            // Another start may have taken the folder before the lock was had.
            if !force && !failed_before_a_step(path) {
                return Err(RunFolderError::Occupied { path: path.to_owned() });
            }
            check_no_evaluation_is_at_work(path)?;
            clear(path)?;
            drop(lock);
        }
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

/// Returns the name of the run of a recipe: `<recipe>-<seed>`, where `<recipe>` is the recipe's path below
/// `recipes/`.
pub fn name(recipe: &Path, seed: u64) -> String {
    let stem = recipe.with_extension("");
    let parts: Vec<_> = stem.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let own = match parts.iter().rposition(|part| part == "recipes") {
        Some(position) if position + 1 < parts.len() => &parts[position + 1..],
        _ => &parts[parts.len().saturating_sub(1)..],
    };
    format!("{}-{seed}", own.join("-"))
}

/// Returns whether a run was begun in the folder `path`.
pub fn is_run(path: &Path) -> bool {
    path.join(RECIPE).is_file()
}

/// Returns whether a training on labels was begun in the folder `path`.
pub fn is_on_labels(path: &Path) -> bool {
    path.join(SETTINGS).is_file()
}

/// Returns a number that changes when a file of the run in the folder `path` changes, apart from its
/// checkpoints, or when a process begins or ends to work on the run.
pub fn revision(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    for name in [RECIPE, metrics::FILE, history::FILE, LOG, SUMMARY] {
        let known = path.join(name).metadata().ok();
        known.map(|file| (file.len(), file.modified().ok())).hash(&mut hasher);
    }
    is_busy(path).unwrap_or(false).hash(&mut hasher);
    hasher.finish()
}

/// Returns whether a process works on the run in the folder `path`.
///
/// # Errors
/// The log of the run cannot be opened.
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

/// Opens and locks the log for as long as the process works on the run. The lock ends with the process,
/// however the process ends. On a file system without locks the log is not locked.
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

/// Checks that a new run can have the folder `path`: it is empty, or holds only what a start left that failed before
/// its first step.
///
/// # Errors
/// The folder holds anything else.
pub fn check_free(path: &Path) -> Result<(), RunFolderError> {
    match occupied(path).map_err(io(path))? && !failed_before_a_step(path) {
        true => Err(RunFolderError::Occupied { path: path.to_owned() }),
        false => Ok(()),
    }
}

/// Returns the text of the resolved recipe of the run at `path`.
///
/// # Errors
/// The folder is not a run folder, or its recipe cannot be read.
pub fn recipe_of(path: &Path) -> Result<String, RunFolderError> {
    if !path.exists() {
        return Err(RunFolderError::Missing { path: path.to_owned() });
    }
    if path.is_file() {
        return Err(RunFolderError::File { path: path.to_owned() });
    }
    let file = path.join(RECIPE);
    match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(RunFolderError::NoRun { path: path.to_owned() })
        }
        text => text.map_err(io(&file)),
    }
}

/// Returns the result of the run or of the training on labels in the folder `path`; `None` before its end.
///
/// # Errors
/// The result cannot be read, or is of another kind.
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

/// Returns whether the folder holds files. An empty log is none: a start that was killed before it wrote its
/// settings leaves it.
fn occupied(path: &Path) -> io::Result<bool> {
    let counts = |entry: io::Result<fs::DirEntry>| match entry {
        Ok(entry) => entry.file_name() != LOG || entry.metadata().is_ok_and(|log| log.len() > 0),
        Err(_) => true,
    };
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.any(counts)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether all that the folder holds is of a start that failed before its first step, for example because of an
/// image that cannot be read. Nothing is lost with it, so that the corrected command can be given again.
fn failed_before_a_step(path: &Path) -> bool {
    let left =
        [RECIPE, SETTINGS, LOG, START, TEACHER, LABELS, ENCODER, metrics::FILE, history::FILE];
    let is_left = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            left.contains(&&*name) || tensorboard::is_event_file(&name)
        })
    };
    let failed = || match history::read(path).ok()?.pop()? {
        Entry::Failed { step: 0, .. } => Some(()),
        _ => None,
    };
    fs::read_dir(path).is_ok_and(|mut entries| entries.all(is_left)) && failed().is_some()
}

/// Refuses a run folder whose trainings on labels, folders inside it, have a process at work.
fn check_no_evaluation_is_at_work(path: &Path) -> Result<(), RunFolderError> {
    for entry in fs::read_dir(path).map_err(io(path))? {
        let path = entry.map_err(io(path))?.path();
        if is_on_labels(&path) && is_busy(&path)? {
            return Err(RunFolderError::Busy { path });
        }
    }
    Ok(())
}

/// Removes the files of an earlier run and the trainings on labels inside it, which belong to its encoder,
/// and nothing else. The file that makes the folder a run goes last, so that an interrupted removal can be
/// repeated.
fn clear(path: &Path) -> Result<(), RunFolderError> {
    let removed = |file: &Path, result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io(file)(error)),
        _ => Ok(()),
    };
    for entry in fs::read_dir(path).map_err(io(path))? {
        let entry = entry.map_err(io(path))?.path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if tensorboard::is_event_file(&name) || earlier::is_kept(&name) {
            removed(&entry, fs::remove_file(&entry))?;
        } else if name == checkpoint::FOLDER || is_on_labels(&entry) {
            removed(&entry, fs::remove_dir_all(&entry))?;
        }
    }
    let own = [
        metrics::FILE,
        history::FILE,
        LOG,
        SUMMARY,
        CLASSES,
        CONFUSION,
        LABELS,
        ENCODER,
        START,
        TEACHER,
    ];
    for name in own.into_iter().chain([SETTINGS, RECIPE]) {
        let file = path.join(name);
        removed(&file, fs::remove_file(&file))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_encoder_is_being_evaluated_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        drop(RunFolder::create(&path, "seed = 0", false, false).unwrap());
        let linear = path.join("linear");
        let settings = (SETTINGS, "seed = 1");
        let at_work = RunFolder::create_with(settings, &linear, false, false).unwrap();
        let replace = || RunFolder::create(&path, "seed = 2", true, false).map(drop);
        let error = replace().unwrap_err().to_string();
        assert!(error.contains("linear: another process is at work"), "{error}");
        assert_eq!(recipe_of(&path).unwrap(), "seed = 0");
        drop(at_work);
        replace().unwrap();
        assert!(!linear.exists());
    }

    #[test]
    fn a_start_that_failed_before_its_first_step_is_replaced_and_a_later_failure_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let fail = |step| {
            let mut run = RunFolder::create(&path, "seed = 0", true, false).unwrap();
            run.note(&Entry::Failed { step, message: "x.png: damaged".to_owned() }).unwrap();
            for name in [START, TEACHER, LABELS, ENCODER] {
                run.write(name, "").unwrap();
            }
        };
        let again = || RunFolder::create(&path, "seed = 1", false, false).map(drop);
        fail(0);
        check_free(&path).unwrap();
        again().unwrap();
        assert_eq!(recipe_of(&path).unwrap(), "seed = 1");
        assert!(again().is_err(), "a run that did not fail");
        fail(3);
        assert!(check_free(&path).is_err() && again().is_err());
        fail(0);
        fs::write(path.join("notes.txt"), "mine").unwrap();
        assert!(check_free(&path).is_err() && again().is_err());
    }

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
