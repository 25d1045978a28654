//! Training: the loop, and what it is made of.

pub mod agreement;
pub mod batch;
pub mod bench;
pub mod checkpoint;
mod environment;
mod error;
pub mod evaluate;
pub mod events;
pub mod health;
pub mod learner;
pub mod loss_scale;
pub(crate) mod plan;
mod pretrain;
pub mod probe;
pub mod reading;
mod report;
pub mod run_folder;
pub(crate) mod space;
pub mod state;
mod step;
pub mod stop;
pub mod tensor_file;

pub use environment::Environment;
pub use error::TrainError;
pub(crate) use plan::sizes;
pub use plan::{Plan, binding_differences};
pub use pretrain::pretrain;
