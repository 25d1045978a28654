//! The run folder: the only part of the library that knows the files of a run and their content.
//!
//! [`folder`] names the files and opens the folder; [`metrics`], [`history`] and [`checkpoint`] each write
//! and read one kind of file; a training loop reports to the [`journal`]; [`resume`] decides which settings
//! and [`images`] may change while a run goes on.

pub mod checkpoint;
pub mod clock;
pub(crate) mod digest;
pub(crate) mod earlier;
mod error;
pub mod events;
pub mod folder;
pub mod history;
pub mod images;
pub mod journal;
pub mod json_lines;
pub mod length;
pub mod losses;
pub mod metrics;
mod names;
pub mod outcome;
pub mod ownership;
pub mod past;
pub(crate) mod path_text;
mod place;
mod replacement;
pub mod resume;
pub(crate) mod space;
mod stand_in;
pub mod stop;
pub mod task;
pub mod tensorboard;
pub mod whole_file;
