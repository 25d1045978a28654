//! `vssl pretrain` from Python: the training runs in a thread of its own, and Python's thread tells of it and attends
//! to signals.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use pyo3::prelude::*;
use vssl::{
    DeviceChoice, Environment, Plan, Recipe,
    collective::Group,
    methods::METHODS,
    recipe::RecipeError,
    run::{
        events::{Event, Observer, Summary},
        folder,
        stop::Stop,
    },
    train::{self, TrainError},
};

use crate::errors::{computing, failed, usage};

/// How long Python's thread waits before it looks for signals.
const PAUSE: Duration = Duration::from_millis(100);

/// What is trained.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Job {
    /// The recipe; `None` for a run that goes on.
    recipe: Option<PathBuf>,
    /// The folder of the run.
    out: Option<PathBuf>,
    /// Changes of the recipe, `a.b=c`.
    overrides: Vec<String>,
    device: String,
    data: PathBuf,
    force: bool,
    allow_changed_data: bool,
    /// Whether the lines of the command are wanted; events otherwise.
    lines: bool,
    verbose: bool,
}

/// Why a training ended without a result.
enum Failed {
    Usage(anyhow::Error),
    Failed(anyhow::Error),
}

impl From<TrainError> for Failed {
    fn from(error: TrainError) -> Self {
        match error.is_usage() {
            true => Self::Usage(error.into()),
            false => Self::Failed(error.into()),
        }
    }
}

/// Trains, calls `tell` with a line of text or with an event as JSON, and returns the result as JSON. What Python
/// raises meanwhile, Ctrl-C above all, stops the training, which saves its state first.
#[pyfunction]
pub fn pretrain(py: Python<'_>, job: Job, tell: Py<PyAny>) -> PyResult<String> {
    computing()?;
    let (sender, mut receiver) = mpsc::channel();
    let stop = Stop::default();
    let own = stop.clone();
    let training = thread::Builder::new()
        .name("training".to_owned())
        .spawn(move || train(&job, &own, &sender))
        .map_err(|error| failed(anyhow::anyhow!("starting a thread: {error}")))?;
    let told = attend(py, &mut receiver, &tell);
    if told.is_err() {
        stop.request();
    }
    let left = py.detach(|| -> Result<_, PyErr> {
        // A second Ctrl-C leaves the training alone.
        while !training.is_finished() {
            thread::sleep(PAUSE / 5);
            if told.is_err() {
                Python::attach(|py| py.check_signals())?;
            }
        }
        Ok(training.join())
    })?;
    told?;
    let ended =
        left.map_err(|_| failed(anyhow::anyhow!("the training panicked; please report this")))?;
    match ended {
        Ok(summary) => Ok(serde_json::to_string(&summary).expect("a summary is plain data")),
        Err(Failed::Usage(error)) => Err(usage(error)),
        Err(Failed::Failed(error)) => Err(failed(error)),
    }
}

/// Hands on what the training tells, until it ends or Python raises.
fn attend(py: Python<'_>, receiver: &mut Receiver<String>, tell: &Py<PyAny>) -> PyResult<()> {
    loop {
        let waiting = &mut *receiver;
        match py.detach(move || waiting.recv_timeout(PAUSE)) {
            Ok(text) => {
                tell.call1(py, (text,))?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        py.check_signals()?;
    }
}

fn train(job: &Job, stop: &Stop, sender: &Sender<String>) -> Result<Summary, Failed> {
    let plan = match &job.recipe {
        Some(recipe) => begun(recipe, job)?,
        None => match resumed(job)? {
            (plan, false) => match plan.result()? {
                Some(summary) => return Ok(summary),
                None => plan,
            },
            (plan, true) => plan,
        },
    };
    let mut observer: Box<dyn Observer> = match job.lines {
        true => vssl_cli::lines(Lines { sender: sender.clone(), line: Vec::new() }, job.verbose),
        false => Box::new(Events(sender.clone())),
    };
    Ok(train::pretrain(&plan, stop, observer.as_mut())?)
}

/// The plan of a new run.
fn begun(path: &Path, job: &Job) -> Result<Plan, Failed> {
    let loaded = Recipe::load(path, &job.overrides, METHODS);
    let (recipe, origins) = loaded.map_err(|error| Failed::Usage(error.into()))?;
    let run = Path::new("runs").join(folder::name(path, recipe.seed));
    let run = job.out.clone().unwrap_or(run);
    let mut environment = environment(job, path.parent())?;
    environment.adapts_batch = !origins.is_given("train.batch");
    let mut plan = Plan::new(recipe, &run, environment)?;
    plan.notes.extend(origins.notes);
    Ok(plan)
}

/// The plan of a run that goes on, and whether settings are asked for that its recipe has not.
fn resumed(job: &Job) -> Result<(Plan, bool), Failed> {
    let run = job.out.as_deref().unwrap_or(Path::new(""));
    folder::recipe_of(run).map_err(|error| Failed::Failed(error.into()))?;
    let path = run.join(folder::RECIPE);
    let loaded = Recipe::load(&path, &job.overrides, METHODS);
    let loaded = loaded.map_err(RecipeError::of_a_run_that_goes_on);
    let (recipe, origins) = loaded.map_err(|error| Failed::Usage(error.into()))?;
    let stored = Recipe::load(&path, &[], METHODS);
    let asks_for_more = stored.map_or(true, |(stored, _)| stored != recipe);
    let mut plan = Plan::resume(recipe, run, "latest", environment(job, None)?)?;
    plan.notes.extend(origins.notes);
    Ok((plan, asks_for_more))
}

fn environment(job: &Job, recipe_folder: Option<&Path>) -> Result<Environment, Failed> {
    let device = job.device.parse::<DeviceChoice>();
    let device = device.map_err(|error| Failed::Usage(anyhow::anyhow!("{error}")))?;
    Ok(Environment {
        group: Group::alone(),
        device: device.resolve().map_err(|error| Failed::Usage(error.into()))?,
        data_root: Some(job.data.clone()),
        recipe_folder: recipe_folder.map(Path::to_owned),
        commit: vssl_cli::COMMIT.map(str::to_owned),
        force: job.force,
        allow_changed_data: job.allow_changed_data,
        adapts_batch: false,
    })
}

/// Sends events as JSON.
struct Events(Sender<String>);

impl Observer for Events {
    fn event(&mut self, event: &Event) {
        let text = serde_json::to_string(event).expect("events are plain data");
        // Python has stopped to listen where it raised an error: the training is about to end.
        let _ = self.0.send(text);
    }
}

/// Sends the text that is written, line by line.
struct Lines {
    sender: Sender<String>,
    /// The line so far.
    line: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend(bytes);
        while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            self.line.pop();
            let text = String::from_utf8_lossy(&self.line).into_owned();
            self.line = rest;
            // As for events.
            let _ = self.sender.send(text);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
