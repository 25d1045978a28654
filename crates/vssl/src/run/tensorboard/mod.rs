//! TensorBoard's files: scalars beside `metrics.jsonl`, and features for its embedding projector.
//!
//! `record` frames and checks bytes, `messages` defines their content, `events` writes and shortens event
//! files, `projector` writes a folder for the projector. Called by the run folder
//! (`[log] tensorboard = true`) and by `vssl report --projector`.

mod events;
mod messages;
mod projector;
mod record;

pub use events::{EventFile, is_event_file, shorten};
pub use projector::{Cloud, Sprite, write_projector};
