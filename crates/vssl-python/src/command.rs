//! The command `vssl`, and what holds for the whole process.

use std::{
    ffi::OsString,
    io::{Write, stdout},
};

use pyo3::prelude::*;

use crate::errors::{computing, failed};

/// Runs the command of a command line and returns its exit code; `program` starts it again.
#[pyfunction]
pub fn command(py: Python<'_>, line: Vec<OsString>, program: Vec<OsString>) -> u8 {
    py.detach(|| {
        let code = vssl_cli::main(line, program);
        // A library's output is not flushed when the process ends.
        let _ = stdout().flush();
        code
    })
}

/// Sets the number of threads that compute.
#[pyfunction]
pub fn set_threads(threads: usize) -> PyResult<()> {
    computing()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().map_err(|_| {
        failed(anyhow::anyhow!(
            "the threads have been started already; expected set_threads before anything is computed"
        ))
    })?;
    vssl_kernels::set_threads(threads);
    Ok(())
}
