//! Errors of Rust as Python's exceptions, in the words of the command.

use std::{panic, process, sync::OnceLock};

use pyo3::{PyErr, PyResult, Python, import_exception};

import_exception!(vssl._errors, Error);
import_exception!(vssl._errors, UsageError);

/// A request that makes sense but could not be fulfilled.
pub fn failed(error: impl Into<anyhow::Error>) -> PyErr {
    Error::new_err(vssl_cli::message(&error.into()))
}

/// A request that makes no sense.
pub fn usage(error: impl Into<anyhow::Error>) -> PyErr {
    UsageError::new_err(vssl_cli::message(&error.into()))
}

/// Why work without the interpreter's lock ended: it failed, or Python asked for its end.
pub enum Ended {
    Failed(PyErr),
    Python(PyErr),
}

impl<E: Into<anyhow::Error>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(failed(error))
    }
}

impl Ended {
    pub fn into_python(self) -> PyErr {
        match self {
            Self::Failed(error) | Self::Python(error) => error,
        }
    }
}

/// Lets Python handle its signals, in the middle of long work: Ctrl-C becomes an error.
pub fn check_signals() -> Result<(), Ended> {
    Python::attach(|py| py.check_signals()).map_err(Ended::Python)
}

/// Does long work without the interpreter's lock.
pub fn without_lock<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Ended> + Send,
) -> PyResult<T> {
    py.detach(work).map_err(Ended::into_python)
}

/// The process whose threads compute.
static COMPUTES: OnceLock<u32> = OnceLock::new();

/// Notes that this process is about to compute. A process that was forked from one that has computed is refused: it
/// knows of threads that it has not, and would wait for them for ever.
pub fn computing() -> PyResult<()> {
    COMPUTES.get_or_init(process::id);
    unless_forked()
}

/// Refuses a process that was forked from one that has computed.
pub fn unless_forked() -> PyResult<()> {
    match COMPUTES.get() {
        Some(&computes) if computes != process::id() => Err(failed(anyhow::anyhow!(
            "the threads that compute are in the process that this one was forked from; expected a process of \
             its own: begin it with the start method \"spawn\", as in multiprocessing.get_context(\"spawn\")"
        ))),
        _ => Ok(()),
    }
}

/// A decoder that panics on a damaged file becomes an error of that file; nothing is printed of it. Other panics are
/// bugs: they are printed and become Python's `PanicException`.
pub fn leave_caught_panics_alone() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !vssl_data::panics::is_caught() {
            print(panic);
        }
    }));
}
