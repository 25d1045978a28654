//! The native part of the Python package `vssl`: its classes and functions take and give numpy arrays, numbers and
//! text. The package around it (`python/vssl/`) checks arguments and has the documentation.

mod command;
mod encoder;
mod errors;
mod evaluation;
mod images;
mod run;
mod training;
mod views;

use pyo3::prelude::*;

/// The native part of the Python package `vssl`.
#[pymodule]
mod _vssl {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};
    #[pymodule_export]
    use super::{
        command::{command, set_threads},
        encoder::Encoder,
        evaluation::{alpha_req, knn, lidar, linear_probe, rank_me, spectrum},
        images::{Images, Reading},
        run::read_run,
        training::pretrain,
        views::{Batches, Views},
    };

    #[pymodule_init]
    fn start(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::errors::leave_caught_panics_alone();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
