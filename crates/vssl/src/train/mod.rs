//! Pretraining: the plan of a run, the training loop, and the parts of the loop.

pub mod agreement;
pub mod batch;
mod beginning;
pub mod bench;
mod disk;
mod environment;
mod error;
mod error_words;
pub mod evaluate;
pub mod evaluation;
mod fit;
pub mod health;
mod initial;
mod kept;
mod loss_head;
pub(crate) mod plan;
mod pretrain;
pub mod probe;
mod recipe_words;
mod remembered;
mod report;
mod restored;
pub mod start;
mod stem;
mod step;
mod teacher;
pub mod watch;

pub use environment::Environment;
pub use error::TrainError;
pub use kept::Role;
pub use plan::Plan;
pub(crate) use plan::sizes;
pub use pretrain::pretrain;
pub use start::Start;
pub use teacher::check_teacher;
