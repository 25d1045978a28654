//! Modules and optimisers as named tensors, the files that hold them, and the only module that reads from
//! devices.

pub mod file;
pub(crate) mod paths;
pub mod reading;
pub mod state;

pub(crate) use paths::{Map, PathStack, Visit, map, visit};
pub use paths::{ParameterInfo, parameters};
