//! Objectives: pure functions of tensors, one formula a function.
//!
//! No randomness, no memory, no configuration; what is a target is decided (and detached) by the
//! method that calls. Every function here lets gradients through all its tensor arguments.

pub mod cosine;
pub mod cross_entropy;
pub mod gaussian;
pub mod normalise;
pub mod watch;

pub use cosine::cosine_similarity;
pub use cross_entropy::cross_entropy;
pub use normalise::unit_rows;
