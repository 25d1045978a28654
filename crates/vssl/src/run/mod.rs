//! The run folder: the only part of the library that knows what files a run has and what is in them.

pub mod checkpoint;
pub mod events;
pub mod folder;
pub mod metrics;
pub(crate) mod space;
pub mod stop;
pub mod tensorboard;
pub mod whole_file;
