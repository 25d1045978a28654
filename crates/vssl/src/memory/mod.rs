//! What methods remember beside their networks, as modules whose lasting tensors are parameters
//! without gradient: a checkpoint holds them like any weight.

mod queue;
mod recent;

pub use queue::Queue;
pub use recent::Recent;
