//! Training: the loop, and what it is made of.

pub mod checkpoint;
pub mod events;
pub mod learner;
pub mod probe;
pub mod run_folder;
pub mod state;
pub mod stop;
pub mod tensor_file;
